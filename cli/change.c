#include "cli/change.h"

#include <string.h>
#include "cli/client.h"
#include "cli/job_view.h"
#include "cli/output.h"
#include "cli/reference.h"
#include "cli/run_view.h"
#include "cli/verb.h"

static int change_one(struct client *client, const char *ref, const char *action, cJSON **out, struct err *err)
{
    struct client_url url;
    client_url_start(&url, "/v1/runs");
    client_url_segment(&url, ref);
    client_url_segment(&url, action);
    int rc = client_post(client, client_url_text(&url), NULL, out, err);
    client_url_finish(&url);
    if (rc)
        reference_explain(client, ref, err);
    return rc;
}

static void print_change(const cJSON *run)
{
    bool cancels = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(run, "cancelling"));
    bool pauses = strcmp(run_text(run, "stepping_aside"), "pause") == 0;
    printf("%s %s: %s\n", run_text(run, "id"), run_text(run, "name"),
           !cancels && !pauses    ? run_text(run, "state")
           : job_view_is_job(run) ? "stops after its batch or token"
           : pauses && !cancels   ? "pauses after its step and a checkpoint"
                                  : "stops after its step and a checkpoint");
}

int change_runs(struct cli *cli, const char *action)
{
    struct err err = {0};
    struct client *client;
    if (cli_client(cli, &client, &err))
        return cli_fail(cli, &err);
    int rc = CLI_DONE;
    cJSON *answer = cJSON_CreateObject(), *runs = cJSON_AddArrayToObject(answer, "runs"), *errors = NULL;
    for (int i = 0; i < cli->args.positional_count && rc != CLI_NO_DAEMON; i++) {
        const char *ref = cli->args.positional[i];
        cJSON *run = NULL;
        if (change_one(client, ref, action, &run, &err) == 0) {
            if (!cli->json)
                print_change(run);
            cJSON_AddItemToArray(runs, run);
            continue;
        }
        rc = cli_complain(&err);
        if (!errors) {
            cJSON_AddItemToObject(answer, "error", cli_error_json(&err));
            errors = cJSON_AddArrayToObject(answer, "errors");
        }
        cJSON *error = cli_error_json(&err);
        cJSON_AddStringToObject(error, "ref", ref);
        cJSON_AddItemToArray(errors, error);
    }
    if (cli->json)
        output_json(stdout, answer);
    cJSON_Delete(answer);
    return rc;
}

static int change_queue(struct cli *cli, const char *action)
{
    struct err err = {0};
    struct client *client;
    struct client_url url;
    cJSON *answer = NULL;
    if (cli_client(cli, &client, &err))
        return cli_fail(cli, &err);
    client_url_start(&url, "/v1/queue");
    client_url_segment(&url, action);
    int rc = client_post(client, client_url_text(&url), NULL, &answer, &err);
    client_url_finish(&url);
    if (rc)
        return cli_fail(cli, &err);
    if (cli->json)
        output_json(stdout, answer);
    else if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(answer, "paused")))
        printf("the queue is paused; %.0f at work step aside after a checkpoint\n",
               run_number(answer, "stepping_aside"));
    else
        printf("the queue goes on; %.0f paused ones are queued again\n", run_number(answer, "resumed"));
    cJSON_Delete(answer);
    return CLI_DONE;
}

int change_runs_or_queue(struct cli *cli, const char *action)
{
    bool all = args_flag(&cli->args, "--all");
    if (all && cli->args.positional_count > 0)
        return cli_usage(cli, "--all: is the whole queue; leave the runs out, or --all");
    if (!all && cli->args.positional_count == 0)
        return cli_usage(cli, "a run's id or name, or --all, is needed");
    return all ? change_queue(cli, action) : change_runs(cli, action);
}
