/* verb_list.c: bakactl list: the runs, a line each. Pages are fetched until the last; a plain list leaves out all but
 * the newest ended runs, so that a queue of thousands fits a screen. */
#include "cli/verb.h"

#include <stdlib.h>
#include <string.h>
#include "base/table.h"
#include "cli/client.h"
#include "cli/output.h"
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

static void add_row(struct table *table, const cJSON *run)
{
    char text[RUN_VIEW_SIZE];
    const char *state = run_text(run, "state");
    bool ended = run_state_is_ended(state);
    table_cell(table, "%s", run_text(run, "id"));
    table_cell(table, "%s", run_text(run, "name"));
    table_cell(table, "%s",
               cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(run, "cancelling")) ? "cancelling"
               : strcmp(run_text(run, "kind"), "import") == 0                    ? "imported"
                                                                                 : state);
    table_cell(table, "%s", run_format_share(run, text));
    table_cell(table, "%s", run_format_epoch(run_number(run, "epoch"), text));
    table_cell(table, "%s", run_format_loss(run_number(run, "train_loss"), text));
    table_cell(table, "%s", run_format_loss(run_number(run, "val_loss"), text));
    table_cell(table, "%s", run_format_count(run_number(run, "tok_s"), text));
    table_cell(table, "%s", run_format_seconds(run_number(run, ended ? "seconds" : "eta_s"), text));
    char reason[33];
    snprintf(reason, sizeof reason, "%.32s", run_text(run, "reason"));
    table_cell(table, "%s", reason);
}

static void print_table(const cJSON *runs, int skip_ended)
{
    static const struct {
        const char *title;
        enum table_align align;
    } columns[] = {
        {"ID", TABLE_LEFT},         {"NAME", TABLE_LEFT},   {"STATE", TABLE_LEFT}, {"DONE", TABLE_RIGHT},
        {"EPOCH", TABLE_RIGHT},     {"TRAIN", TABLE_RIGHT}, {"VAL", TABLE_RIGHT},  {"TOK/S", TABLE_RIGHT},
        {"LEFT/TOOK", TABLE_RIGHT}, {"REASON", TABLE_LEFT},
    };
    struct table *table = table_create();
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        table_column(table, columns[i].title, columns[i].align);
    const cJSON *run;
    cJSON_ArrayForEach(run, runs) {
        if (run_state_is_ended(run_text(run, "state")) && skip_ended-- > 0)
            continue;
        add_row(table, run);
    }
    table_print(table, stdout, output_has_colour(stdout));
    table_destroy(table);
}

static int run(struct cli *cli)
{
    struct err err = {0};
    struct client *client;
    cJSON *answer = cJSON_CreateObject(), *runs = cJSON_AddArrayToObject(answer, "runs");
    if (cli_client(cli, &client, &err) || fetch_runs(client, cli, runs, &err)) {
        cJSON_Delete(answer);
        return cli_fail(cli, &err);
    }
    int ended = 0, count = 0;
    const cJSON *each;
    cJSON_ArrayForEach(each, runs) {
        ended += run_state_is_ended(run_text(each, "state"));
        count++;
    }
    bool chosen = args_flag(&cli->args, "--all") || args_value(&cli->args, "--state") ||
                  args_value(&cli->args, "--tag") || cli->args.positional_count;
    int skip = chosen || ended <= ENDED_SHOWN ? 0 : ended - ENDED_SHOWN;
    if (cli->json) {
        output_json(stdout, answer);
    } else if (count == 0) {
        printf(chosen ? "no such runs\n" : "no runs yet: `bakactl submit SPEC.json` queues one\n");
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
            "newest validation loss, LEFT/TOOK the time that a running run still needs or\n"
            "that an ended one took. --json prints {\"runs\":[...]} with all runs that match.\n"
            "\n"
            "Examples:\n"
            "  bakactl list\n"
            "  bakactl list --state failed\n"
            "  bakactl list --tag ffn --json | jq -r '.runs[].id'\n",
    .options = options,
    .max_positional = 1,
    .run = run,
};
