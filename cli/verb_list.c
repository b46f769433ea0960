/* verb_list.c: bakactl list: the runs, a line each. Pages are fetched until the last; a plain list leaves out all but
 * the newest ended runs, so that a queue of thousands fits a screen. */
#include "cli/verb.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/table.h"
#include "cli/client.h"
#include "cli/job_view.h"
#include "cli/output.h"
#include "cli/reference.h"
#include "cli/run_view.h"

enum { ENDED_SHOWN = 20, PAGE = 200 };

static int fetch_page(struct client *client, const struct cli *cli, const char *cursor, cJSON **out, struct err *err)
{
    const char *state = args_value(&cli->args, "--state"), *tag = args_value(&cli->args, "--tag");
    struct client_url url;
    client_url_start(&url, "/v1/runs");
    if (state)
        client_url_param(&url, "state", "%s", state);
    if (tag)
        client_url_param(&url, "tag", "%s", tag);
    if (cli->args.positional_count)
        client_url_param(&url, "ref", "%s", cli->args.positional[0]);
    if (*cursor)
        client_url_param(&url, "cursor", "%s", cursor);
    client_url_param(&url, "limit", "%d", PAGE);
    int rc = client_get(client, client_url_text(&url), out, err);
    client_url_finish(&url);
    return rc;
}

/* Moves the runs of all pages into `runs`. */
static int fetch_runs(struct client *client, const struct cli *cli, cJSON *runs, struct err *err)
{
    char cursor[64] = "";
    do {
        cJSON *page = NULL;
        int rc = fetch_page(client, cli, cursor, &page, err);
        if (rc)
            return rc;
        cJSON *list = cJSON_GetObjectItemCaseSensitive(page, "runs");
        for (cJSON *run; (run = cJSON_DetachItemFromArray(list, 0));)
            cJSON_AddItemToArray(runs, run);
        snprintf(cursor, sizeof cursor, "%s", run_text(page, "next"));
        cJSON_Delete(page);
    } while (*cursor);
    return 0;
}

enum column { ID, NAME, KIND, STATE, DONE, EPOCH, TRAIN, VAL, TOK_S, MFU, TIME, REASON, COLUMNS };

static const struct {
    const char *title;
    enum table_align align;
} columns[COLUMNS] = {
    [ID] = {"ID", TABLE_LEFT},        [NAME] = {"NAME", TABLE_LEFT},       [KIND] = {"KIND", TABLE_LEFT},
    [STATE] = {"STATE", TABLE_LEFT},  [DONE] = {"DONE", TABLE_RIGHT},      [EPOCH] = {"EPOCH", TABLE_RIGHT},
    [TRAIN] = {"TRAIN", TABLE_RIGHT}, [VAL] = {"VAL", TABLE_RIGHT},        [TOK_S] = {"TOK/S", TABLE_RIGHT},
    [MFU] = {"MFU", TABLE_RIGHT},     [TIME] = {"LEFT/TOOK", TABLE_RIGHT}, [REASON] = {"REASON", TABLE_LEFT},
};

static const char *state_text(const cJSON *run)
{
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(run, "cancelling")))
        return "cancelling";
    if (strcmp(run_text(run, "stepping_aside"), "pause") == 0)
        return "pausing";
    return run_text(run, "state");
}

/* Where a run came from is no state of it: an import is finished, as the API and --state have it. */
static const char *reason_text(const cJSON *run)
{
    return strcmp(run_text(run, "kind"), "import") == 0 ? "imported" : run_text(run, "reason");
}

static const char *cell_text(const cJSON *run, enum column column, char out[RUN_VIEW_SIZE])
{
    bool ended = run_state_is_ended(run_text(run, "state"));
    switch (column) {
    case ID:
        return run_text(run, "id");
    case NAME:
        return run_text(run, "name");
    case KIND:
        return run_text(run, "kind");
    case STATE:
        return state_text(run);
    case DONE:
        return run_format_share(run, out);
    case EPOCH:
        return run_format_epoch(run_number(run, "epoch"), out);
    case TRAIN:
        return run_format_loss(run_number(run, "train_loss"), out);
    case VAL:
        return run_format_loss(run_number(run, "val_loss"), out);
    case TOK_S:
        return run_format_count(run_number(run, "tok_s"), out);
    case MFU:
        return run_format_percent(run_number(run, "mfu"), out);
    case TIME:
        return run_format_seconds(run_number(run, ended ? "seconds" : "eta_s"), out);
    case REASON:
        snprintf(out, RUN_VIEW_SIZE, "%.32s", reason_text(run));
        return out;
    case COLUMNS:
        break;
    }
    return "";
}

/* Without the columns whose bits are in `hidden`. The caller frees it. */
static char *table_text(const cJSON *runs, int skip_ended, unsigned hidden)
{
    char cell[RUN_VIEW_SIZE], *text;
    size_t size;
    FILE *memory = open_memstream(&text, &size);
    if (!memory)
        abort();
    struct table *table = table_create();
    for (enum column c = 0; c < COLUMNS; c++)
        if (!(hidden & 1u << c))
            table_column(table, columns[c].title, columns[c].align);
    const cJSON *run;
    cJSON_ArrayForEach(run, runs) {
        if (run_state_is_ended(run_text(run, "state")) && skip_ended-- > 0)
            continue;
        for (enum column c = 0; c < COLUMNS; c++)
            if (!(hidden & 1u << c))
                table_cell(table, "%s", cell_text(run, c, cell));
    }
    table_print(table, memory, false);
    table_destroy(table);
    if (fclose(memory) != 0)
        abort();
    return text;
}

static size_t longest_line(const char *text)
{
    size_t longest = 0;
    while (*text) {
        size_t size = strcspn(text, "\n");
        longest = size > longest ? size : longest;
        text += size + (text[size] == '\n');
    }
    return longest;
}

/* A terminal that is too narrow is not given the columns that say least. */
static void print_table(const cJSON *runs, int skip_ended)
{
    static const enum column least[] = {MFU, TOK_S, EPOCH, TRAIN, DONE};
    const size_t least_count = output_is_terminal(stdout) ? sizeof least / sizeof *least : 0;
    unsigned hidden = 1u << REASON | 1u << MFU | 1u << KIND;
    const cJSON *run;
    cJSON_ArrayForEach(run, runs) {
        if (*reason_text(run))
            hidden &= ~(1u << REASON);
        if (job_view_is_job(run))
            hidden &= ~(1u << KIND);
        if (!isnan(run_number(run, "mfu")))
            hidden &= ~(1u << MFU);
    }
    char *text = table_text(runs, skip_ended, hidden);
    for (size_t i = 0; i < least_count && longest_line(text) > (size_t)output_width(); i++) {
        free(text);
        hidden |= 1u << least[i];
        text = table_text(runs, skip_ended, hidden);
    }
    size_t header = strcspn(text, "\n");
    printf("%s%.*s%s%s", output_style(stdout, STYLE_BOLD), (int)header, text, output_style(stdout, STYLE_PLAIN),
           text + header);
    free(text);
}

/* A filter may match nothing; a word that stands for no run at all is a mistake, here as with every verb. */
static int check_reference(struct client *client, const char *ref, const cJSON *runs, struct err *err)
{
    int rc = 0;
    if (cJSON_GetArraySize(runs) == 0) {
        cJSON *all = cJSON_CreateArray();
        rc = run_fetch_all(client, &ref, 1, all, err);
        cJSON_Delete(all);
    } else {
        reference_note(client, ref, runs);
    }
    return rc;
}

static int run(struct cli *cli)
{
    struct err err = {0};
    struct client *client;
    const char *state = args_value(&cli->args, "--state");
    if (state && !run_state_is_known(state))
        return cli_usage(cli, "--state \"%s\": no state; allowed: " RUN_STATES, state);
    if (cli_check_name(cli, "--tag"))
        return CLI_USAGE;
    cJSON *answer = cJSON_CreateObject(), *runs = cJSON_AddArrayToObject(answer, "runs");
    if (cli_client(cli, &client, &err) || fetch_runs(client, cli, runs, &err) ||
        (cli->args.positional_count && check_reference(client, cli->args.positional[0], runs, &err))) {
        cJSON_Delete(answer);
        return cli_fail(cli, &err);
    }
    int ended = 0, count = 0;
    const cJSON *each;
    cJSON_ArrayForEach(each, runs) {
        ended += run_state_is_ended(run_text(each, "state"));
        count++;
    }
    bool chosen = state || args_value(&cli->args, "--tag") || cli->args.positional_count;
    int skip = chosen || args_flag(&cli->args, "--all") || ended <= ENDED_SHOWN ? 0 : ended - ENDED_SHOWN;
    if (cli->json) {
        output_json(stdout, answer);
    } else if (count == 0 && !chosen) {
        printf("no runs yet: `bakactl submit SPEC.json` queues one\n");
    } else {
        print_table(runs, skip);
        if (skip)
            printf("%s%d older ended runs are not shown: --all shows them%s\n", output_style(stdout, STYLE_DIM), skip,
                   output_style(stdout, STYLE_PLAIN));
    }
    cJSON_Delete(answer);
    return CLI_DONE;
}

static const struct args_option options[] = {
    {"--state", 0, "STATE", "only runs in this state", false},
    {"--tag", 0, "TAG", "only runs with this tag", false},
    {"--all", 0, NULL, "all ended runs too, not only the newest 20", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_list = {
    .name = "list",
    .path = "list",
    .arguments = "[RUN|TAG] [--state STATE] [--tag TAG] [--all] [--json]",
    .summary = "the runs, oldest first",
    .help = "States: queued, blocked, starting, running, paused, finished, stopped, failed,\n"
            "diverged, cancelled. TRAIN is the mean loss of the last 1/20 epoch, VAL the\n"
            "newest validation loss, MFU the share of the GPU's peak FLOPs that the model\n"
            "takes (only where known), LEFT/TOOK the time that a running run still needs or\n"
            "that an ended one took, KIND train, eval, sample or import (only where there are\n"
            "jobs of eval or sample). A curve from `bakactl import` is finished, with REASON\n"
            "imported. Filters that match nothing leave an empty table; a narrow terminal is\n"
            "not given all columns. --json prints {\"runs\":[...]} with all runs that match.\n"
            "\n" REFERENCE_HELP "\n"
            "Examples:\n"
            "  bakactl list\n"
            "  bakactl list --state failed\n"
            "  bakactl list --tag ffn --json | jq -r '.runs[].id'\n",
    .options = options,
    .max_positional = 1,
    .positional_is = "run's id, name or tag",
    .run = run,
};
