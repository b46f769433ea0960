/* verb_steps.c: bakactl steps RUN: every recorded step once, oldest first. Pages stream through: memory is one page. */
#include "cli/verb.h"

#include <inttypes.h>
#include "base/json.h"
#include "cli/client.h"
#include "cli/columns.h"
#include "cli/run_view.h"

enum { PAGE = 16384 };

static int fetch_page(struct client *client, const char *ref, int64_t after, cJSON **out, struct err *err)
{
    struct client_url url;
    client_url_start(&url, "/v1/runs");
    client_url_segment(&url, ref);
    client_url_segment(&url, "steps");
    client_url_param(&url, "after", "%" PRId64, after);
    client_url_param(&url, "limit", "%d", PAGE);
    int rc = client_get(client, client_url_text(&url), out, err);
    client_url_finish(&url);
    return rc;
}

/* By id: a name might stand for another run by the time of the next page. */
static int print_steps(struct client *client, const char *id, struct columns *columns, struct err *err)
{
    int64_t after = 0;
    for (bool more = true; more;) {
        cJSON *page = NULL;
        int rc = fetch_page(client, id, after, &page, err);
        if (rc)
            return rc;
        columns_print_page(columns, page);
        more = json_read_int64(cJSON_GetObjectItemCaseSensitive(page, "next"), &after) && !ferror(columns->out);
        cJSON_Delete(page);
    }
    return 0;
}

static int run(struct cli *cli)
{
    bool lines = args_flag(&cli->args, "--jsonl");
    if (cli->json + args_flag(&cli->args, "--csv") + lines > 1)
        return cli_usage(cli, "--csv, --json and --jsonl exclude each other");
    struct err err = {0};
    struct client *client;
    cJSON *found = NULL;
    if (cli_client(cli, &client, &err) || run_fetch(client, cli->args.positional[0], &found, &err))
        return cli_fail(cli, &err);
    struct columns columns = {.out = stdout, .json = cli->json || lines, .lines = lines};
    run_warn_missing(found);
    int rc = print_steps(client, run_text(found, "id"), &columns, &err);
    cJSON_Delete(found);
    if (rc)
        return cli_fail(cli, &err);
    columns_end(&columns, "step,epoch,tokens,loss,lr,grad_norm,ms,tok_s,mfu");
    return CLI_DONE;
}

static const struct args_option options[] = {
    {"--csv", 0, NULL, "comma-separated values (the default)", false},
    {"--jsonl", 0, NULL, "JSON lines: an object a line", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_steps = {
    .name = "steps",
    .path = "steps",
    .arguments = "RUN [--csv|--json|--jsonl]",
    .summary = "each step of a run: loss, learning rate, gradient norm, speed",
    .help = "Prints step,epoch,tokens,loss,lr,grad_norm,ms,tok_s,mfu, every step once,\n"
            "oldest first, also of a run that was interrupted and resumed. Steps count from\n"
            "1; a step's loss is that before its update; tokens are the predictions counted\n"
            "so far; epoch = tokens / tokens an epoch; mfu is the share of the device's peak\n"
            "FLOPs that the model takes, empty (null) where the peak is not known, as on a\n"
            "CPU. Doubles have 17 digits; nan, inf, -inf are words (strings in JSON, which is\n"
            "an array of objects); what an imported curve does not have is nan.\n"
            "\n"
            "Examples:\n"
            "  bakactl steps elephant > elephant.csv\n"
            "  bakactl steps b00012 --json | jq '.[-1].loss'\n",
    .options = options,
    .min_positional = 1,
    .max_positional = 1,
    .positional_is = "run's id or name",
    .run = run,
};
