/* verb_priority.c: bakactl priority RUN N */
#include "cli/verb.h"

#include <stdlib.h>
#include "cli/client.h"
#include "cli/output.h"
#include "cli/reference.h"
#include "cli/run_view.h"
#include "schema/submission.h"

static int run(struct cli *cli)
{
    struct err err = {0};
    struct client *client;
    struct client_url url;
    const char *ref = cli->args.positional[0], *text = cli->args.positional[1];
    char *end;
    long priority = strtol(text, &end, 10);
    if (!name_is_valid(ref))
        return cli_usage(cli, "'%s' is no run's id or name", ref);
    if (*text == '\0' || *end != '\0' || priority < PRIORITY_MIN || priority > PRIORITY_MAX)
        return cli_usage(cli, "'%s' is no whole number from %d to %d", text, PRIORITY_MIN, PRIORITY_MAX);
    if (cli_client(cli, &client, &err))
        return cli_fail(cli, &err);
    cJSON *body = cJSON_CreateObject(), *answer = NULL;
    cJSON_AddNumberToObject(body, "priority", (double)priority);
    client_url_start(&url, "/v1/runs");
    client_url_segment(&url, ref);
    client_url_segment(&url, "priority");
    int rc = client_post(client, client_url_text(&url), body, &answer, &err);
    client_url_finish(&url);
    cJSON_Delete(body);
    if (rc) {
        reference_explain(client, ref, &err);
        return cli_fail(cli, &err);
    }
    if (cli->json)
        output_json(stdout, answer);
    else
        printf("%s %s: priority %.0f\n", run_text(answer, "id"), run_text(answer, "name"),
               run_number(answer, "priority"));
    cJSON_Delete(answer);
    return CLI_DONE;
}

const struct verb verb_priority = {
    .name = "priority",
    .path = "priority",
    .arguments = "RUN N [--json]",
    .summary = "change a run's place in the queue",
    .help = "RUN is an id or a name (the newest run of that name) that has not ended, N a\n"
            "whole number from -1000 to 1000 (a negative one after \"--\"); runs have 0 unless\n"
            "they were submitted with another. Higher ones start first. Where no slot is free,\n"
            "the lowest of those at work that are strictly lower checkpoint, step aside and go\n"
            "on later without a lost step. With --json: the run.\n"
            "\n"
            "Examples:\n"
            "  bakactl priority b00012 10\n"
            "  bakactl priority b00012 -- -5\n",
    .min_positional = 2,
    .max_positional = 2,
    .run = run,
};
