#include "cli/change.h"

#include <string.h>
#include "cli/client.h"
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

int change_runs(struct cli *cli, const char *action)
{
    struct err err = {0}, first = {0};
    struct client *client;
    if (cli_client(cli, &client, &err))
        return cli_fail(cli, &err);
    cJSON *answer = cJSON_CreateObject(), *runs = cJSON_AddArrayToObject(answer, "runs");
    for (int i = 0; i < cli->args.positional_count; i++) {
        cJSON *run = NULL;
        if (change_one(client, cli->args.positional[i], action, &run, &err)) {
            if (first.code)
                fprintf(stderr, "bakactl: %s\n", first.message);
            first = err;
            if (err.code == ERR_UNAVAILABLE)
                break;
            continue;
        }
        if (!cli->json) {
            bool waiting = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(run, "cancelling"));
            printf("%s %s: %s\n", run_text(run, "id"), run_text(run, "name"),
                   waiting ? "stops after its step and a checkpoint" : run_text(run, "state"));
        }
        cJSON_AddItemToArray(runs, run);
    }
    int rc = first.code ? cli_fail(cli, &first) : CLI_DONE;
    if (cli->json && !first.code)
        output_json(stdout, answer);
    cJSON_Delete(answer);
    return rc;
}
