/* run_folder.c: see run_folder.h. */
#include "cli/run_folder.h"

#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "cli/client.h"
#include "cli/reference.h"
#include "cli/run_view.h"
#include "cli/verb.h"

static int read_run(const struct cli *cli, const cJSON *run, struct run_folder *out, struct err *err)
{
    const cJSON *data = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(run, "spec"), "data");
    if (strcmp(run_text(run, "kind"), "train") != 0)
        return strcmp(run_text(run, "kind"), "import") == 0
                   ? err_set(err, ERR_INVALID, "%s is an imported curve: there is no model", run_text(run, "name"))
                   : err_set(err, ERR_INVALID, "%s is a job of kind %s: it has no model of its own",
                             run_text(run, "id"), run_text(run, "kind"));
    snprintf(out->id, sizeof out->id, "%s", run_text(run, "id"));
    snprintf(out->data, sizeof out->data, "%s", run_text(data, "name"));
    return path_format(out->path, err, "%s/runs/%s", cli->home, out->id);
}

int run_folder_find(struct cli *cli, const char *ref, struct run_folder *out, struct err *err)
{
    struct client *client;
    struct client_url url;
    cJSON *run = NULL;
    int rc = cli_client(cli, &client, err);
    if (rc != 0)
        return rc;
    client_url_start(&url, "/v1/runs");
    client_url_segment(&url, ref);
    rc = client_get(client, client_url_text(&url), &run, err);
    client_url_finish(&url);
    if (rc != 0)
        reference_explain(client, ref, err);
    else
        rc = read_run(cli, run, out, err);
    cJSON_Delete(run);
    return rc;
}
