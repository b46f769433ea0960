/* verb_wait.c: bakactl wait RUN... */
#include "cli/verb.h"

#include "cli/client.h"
#include "cli/follow.h"
#include "cli/reference.h"
#include "cli/run_view.h"

static int run(struct cli *cli)
{
    struct err err = {0};
    double timeout_s = -1;
    if (args_double(&cli->args, "--timeout", 0, 1e9, &timeout_s, &err))
        return cli_usage_err(cli, &err);
    struct client *client;
    cJSON *runs = cJSON_CreateArray();
    int rc = cli_client(cli, &client, &err);
    if (!rc)
        rc = run_fetch_all(client, cli->args.positional, cli->args.positional_count, runs, &err);
    for (int i = 0; i < cli->args.positional_count && rc == 0; i++)
        reference_note(client, cli->args.positional[i], runs);
    rc = rc ? cli_fail(cli, &err) : follow_runs(cli, client, runs, timeout_s);
    cJSON_Delete(runs);
    return rc;
}

static const struct args_option options[] = {
    {"--timeout", 0, "SECONDS", "give up after this time, exit status 1", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_wait = {
    .name = "wait",
    .path = "wait",
    .arguments = "RUN|TAG... [--timeout SECONDS] [--json]",
    .summary = "wait until runs have ended",
    .help = "Exits 0 when all of them finished, 1 when one ended otherwise (failed,\n"
            "diverged, stopped, cancelled) or when the time is over. All are waited for,\n"
            "also when one has failed. Prints a line as each ends; on a terminal, live\n"
            "lines with loss, speed and the time left, elsewhere a line now and then on\n"
            "standard error (not with --json). A daemon that is restarted meanwhile\n"
            "is waited for. With --json: {\"runs\":[...],\"timed_out\":false} at the end.\n"
            "\n" REFERENCE_HELP "\n"
            "Examples:\n"
            "  bakactl wait elephant swiglu && bakactl compare elephant swiglu\n"
            "  bakactl wait b00012 --timeout 3600\n",
    .options = options,
    .min_positional = 1,
    .max_positional = -1,
    .positional_is = "run's id, name or tag",
    .run = run,
};
