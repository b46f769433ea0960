/* verb_evals.c: bakactl evals RUN: the evaluations of a run. */
#include "cli/verb.h"

#include "cli/client.h"
#include "cli/columns.h"
#include "cli/reference.h"

static int run(struct cli *cli)
{
    bool lines = args_flag(&cli->args, "--jsonl");
    if (cli->json + args_flag(&cli->args, "--csv") + lines > 1)
        return cli_usage(cli, "--csv, --json and --jsonl exclude each other");
    struct err err = {0};
    struct client *client;
    if (cli_client(cli, &client, &err))
        return cli_fail(cli, &err);
    struct client_url url;
    client_url_start(&url, "/v1/runs");
    client_url_segment(&url, cli->args.positional[0]);
    client_url_segment(&url, "evals");
    cJSON *page = NULL;
    int rc = client_get(client, client_url_text(&url), &page, &err);
    client_url_finish(&url);
    if (rc) {
        reference_explain(client, cli->args.positional[0], &err);
        return cli_fail(cli, &err);
    }
    struct columns columns = {.out = stdout, .json = cli->json || lines, .lines = lines};
    columns_print_page(&columns, page);
    columns_end(&columns, "step,epoch,tokens,split,loss,perplexity,bits_per_byte,word_perplexity");
    cJSON_Delete(page);
    return CLI_DONE;
}

static const struct args_option options[] = {
    {"--csv", 0, NULL, "comma-separated values (the default)", false},
    {"--jsonl", 0, NULL, "JSON lines: an object a line", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_evals = {
    .name = "evals",
    .path = "evals",
    .arguments = "RUN [--csv|--json|--jsonl]",
    .summary = "each evaluation of a run",
    .help = "Prints step,epoch,tokens,split,loss,perplexity,bits_per_byte,word_perplexity,\n"
            "oldest first; split is val or train, the loss is in nats a prediction, the last\n"
            "is exp(nats a word), words being what white space separates. Doubles have 17\n"
            "digits; nan, inf, -inf are words (strings in JSON); what is not known is\n"
            "empty. Of an evaluation by `bakactl eval`, given its id, also data, windowing and\n"
            "memory; a run's own rows are those of its training, see `bakactl show RUN`.\n"
            "\n"
            "Example:\n"
            "  bakactl evals elephant | column -s, -t\n",
    .options = options,
    .min_positional = 1,
    .max_positional = 1,
    .positional_is = "run's id or name",
    .run = run,
};
