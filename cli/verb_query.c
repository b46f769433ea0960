/* verb_query.c: bakactl query: SQL over what bakad has recorded, read only. */
#include "cli/verb.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "base/table.h"
#include "cli/client.h"
#include "cli/output.h"
#include "cli/run_view.h"

enum { CELL_SIZE = 64, SHOWN_MAX = 60 };

static int ask(struct cli *cli, cJSON **out, struct err *err)
{
    struct client *client;
    int64_t limit = 0;
    double seconds = 0;
    int rc = args_int64(&cli->args, "--limit", 1, 1000000, &limit, err);
    if (rc == 0)
        rc = args_double(&cli->args, "--timeout", 0.001, 10.001, &seconds, err);
    if (rc == 0)
        rc = cli_client(cli, &client, err);
    if (rc)
        return rc;
    if (args_flag(&cli->args, "--views"))
        return client_get(client, "/v1/query", out, err);
    cJSON *body = cJSON_CreateObject();
    if (!body || !cJSON_AddStringToObject(body, "sql", cli->args.positional[0]) ||
        (limit && !cJSON_AddNumberToObject(body, "limit", (double)limit)) ||
        (seconds > 0 && !cJSON_AddNumberToObject(body, "timeout_ms", ceil(seconds * 1000))))
        abort();
    rc = client_post(client, "/v1/query", body, out, err);
    cJSON_Delete(body);
    return rc;
}

/* A value as text, for tables and CSV: doubles in the shortest form that reads back the same. */
static const char *cell_text(const cJSON *value, char out[CELL_SIZE])
{
    int64_t whole;
    double real;
    if (cJSON_IsNull(value))
        return "";
    if (cJSON_IsObject(value))
        return run_text(value, "hex");
    if (cJSON_IsString(value) && !cJSON_IsRaw(value))
        return value->valuestring;
    if (json_read_int64(value, &whole))
        snprintf(out, CELL_SIZE, "%" PRId64, whole);
    else if (json_read_double(value, &real))
        json_number_text(real, out);
    else
        return "";
    return out;
}

/* RFC 4180 */
static void print_csv_cell(const char *text)
{
    if (!text[strcspn(text, ",\"\r\n")]) {
        fputs(text, stdout);
        return;
    }
    putchar('"');
    for (; *text; text++) {
        if (*text == '"')
            putchar('"');
        putchar(*text);
    }
    putchar('"');
}

static void print_csv(const cJSON *answer)
{
    const cJSON *columns = cJSON_GetObjectItemCaseSensitive(answer, "columns"), *row, *item;
    char text[CELL_SIZE];
    cJSON_ArrayForEach(item, columns) {
        if (item != columns->child)
            putchar(',');
        print_csv_cell(item->valuestring);
    }
    putchar('\n');
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(answer, "rows")) {
        cJSON_ArrayForEach(item, row) {
            if (item != row->child)
                putchar(',');
            print_csv_cell(cell_text(item, text));
        }
        putchar('\n');
    }
}

static bool is_number(const cJSON *answer, int column)
{
    const cJSON *row;
    bool any = false;
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(answer, "rows")) {
        const cJSON *value = cJSON_GetArrayItem(row, column);
        if (cJSON_IsNull(value))
            continue;
        if (!cJSON_IsNumber(value) && !cJSON_IsRaw(value))
            return false;
        any = true;
    }
    return any;
}

/* What is long or has line ends is cut; --csv and --json have it whole. */
static const char *short_text(const char *text, char out[4 * SHOWN_MAX + 8])
{
    int columns = 0;
    size_t n = 0;
    for (; text[n] && columns < SHOWN_MAX; n++) {
        out[n] = (unsigned char)text[n] < 0x20 || text[n] == 0x7f ? ' ' : text[n];
        columns += ((unsigned char)text[n + 1] & 0xc0) != 0x80;
    }
    strcpy(out + n, text[n] ? "\u2026" : "");
    return out;
}

static void print_table(const cJSON *answer)
{
    const cJSON *columns = cJSON_GetObjectItemCaseSensitive(answer, "columns"), *row, *item;
    struct table *table = table_create();
    char text[CELL_SIZE], shown[4 * SHOWN_MAX + 8];
    int i = 0;
    cJSON_ArrayForEach(item, columns)
        table_column(table, item->valuestring, is_number(answer, i++) ? TABLE_RIGHT : TABLE_LEFT);
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(answer, "rows"))
        cJSON_ArrayForEach(item, row)
            table_cell(table, "%s", short_text(cJSON_IsNull(item) ? "-" : cell_text(item, text), shown));
    table_print(table, stdout, output_has_colour(stdout));
    table_destroy(table);
}

static void print_views(const cJSON *answer)
{
    const cJSON *view, *column;
    cJSON_ArrayForEach(view, cJSON_GetObjectItemCaseSensitive(answer, "views")) {
        char *text;
        size_t size;
        FILE *memory = open_memstream(&text, &size);
        if (!memory)
            abort();
        fputs("   ", memory);
        cJSON_ArrayForEach(column, cJSON_GetObjectItemCaseSensitive(view, "columns"))
            fprintf(memory, " %s", column->valuestring);
        if (fclose(memory) != 0)
            abort();
        printf("%s%s%s  %s\n", output_style(stdout, STYLE_BOLD), run_text(view, "name"),
               output_style(stdout, STYLE_PLAIN), run_text(view, "about"));
        output_line(stdout, text);
        free(text);
    }
}

static int run(struct cli *cli)
{
    bool csv = args_flag(&cli->args, "--csv"), views = args_flag(&cli->args, "--views");
    if (csv && cli->json)
        return cli_usage(cli, "--csv and --json exclude each other");
    if (views == (cli->args.positional_count > 0))
        return cli_usage(cli, views ? "--views takes no SQL" : "too few arguments: a SELECT is needed, or --views");
    struct err err = {0};
    cJSON *answer = NULL;
    if (ask(cli, &answer, &err))
        return cli_fail(cli, &err);
    if (cli->json)
        output_json(stdout, answer);
    else if (views)
        print_views(answer);
    else if (csv)
        print_csv(answer);
    else
        print_table(answer);
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(answer, "truncated")))
        fprintf(stderr, "bakactl: there are more rows than these %d: --limit takes up to 1000000\n",
                cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(answer, "rows")));
    cJSON_Delete(answer);
    return CLI_DONE;
}

static const struct args_option options[] = {
    {"--views", 0, NULL, "list what can be asked of", false},
    {"--csv", 0, NULL, "comma-separated values", false},
    {"--limit", 0, "ROWS", "at most so many rows (default: 1000)", false},
    {"--timeout", 0, "SECONDS", "stop a query that takes longer (default and most: 10)", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_query = {
    .name = "query",
    .path = "query",
    .arguments = "SQL | --views [--csv|--json] [--limit ROWS]",
    .summary = "SQL over all that was recorded, read only",
    .help = "One SELECT in SQLite's dialect, over views that `bakactl query --views` lists and\n"
            "docs/query.md explains. Nothing can be changed by it: the database is opened read\n"
            "only, and ATTACH, PRAGMA, extensions and the tables behind the views are refused.\n"
            "A query has 10 seconds and 512 MiB. What is not known or not a number is NULL.\n"
            "\n"
            "Tables cut long texts; --csv and --json have them whole, numbers with all their\n"
            "digits.\n"
            "\n"
            "Examples:\n"
            "  bakactl query \"select name, best_val_loss from runs order by 2 limit 10\"\n"
            "  bakactl query \"select min(loss), avg(grad_norm) from steps('elephant')\"\n"
            "  bakactl query \"select r.name, s.step from runs r, steps(r.id) s\n"
            "                 where s.grad_norm > 10\" --csv\n",
    .options = options,
    .min_positional = 0,
    .max_positional = 1,
    .positional_is = NULL,
    .run = run,
};
