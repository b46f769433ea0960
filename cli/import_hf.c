/* import_hf.c: see import_hf.h. What can be refused without the model, its tokenizer against the data set's, comes
 * first; a run that the daemon refuses leaves the model, which specs can name and another import finds again. */
#include "cli/import_hf.h"

#include <stdio.h>
#include "base/file.h"
#include "cli/assignment.h"
#include "cli/client.h"
#include "cli/data_tokenizer.h"
#include "cli/output.h"
#include "cli/request_id.h"
#include "cli/run_view.h"
#include "cli/verb.h"
#include "cli/worker_program.h"
#include "text/token_file.h"

/* The data set is there, and where DIR has a tokenizer.json, it is cut by that one. */
static int check_data(const struct cli *cli, const char *dir, const char *data, struct err *err)
{
    char path[PATH_SIZE];
    struct token_file f;
    int rc = token_file_open(cli->home, data, &f, err);
    if (rc == 0)
        token_file_close(&f);
    if (rc == 0)
        rc = path_format(path, err, "%s/tokenizer.json", dir);
    return rc || !file_exists(path) ? rc : data_tokenizer_compare(cli->home, data, path, err);
}

static cJSON *make_spec(const char *name, const char *data, const cJSON *model)
{
    cJSON *spec = cJSON_CreateObject(), *train;
    cJSON_AddStringToObject(cJSON_AddObjectToObject(spec, "data"), "name", data);
    cJSON_AddItemToObject(spec, "model", cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(model, "model"), true));
    train = cJSON_AddObjectToObject(spec, "train");
    cJSON_AddStringToObject(train, "init_from", name);
    cJSON_AddNumberToObject(train, "epochs", 0);
    cJSON_AddItemToObject(train, "seq_len",
                          cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(model, "positions"), true));
    return spec;
}

static int submit(struct cli *cli, const char *dir, cJSON *body, cJSON **answer, struct err *err)
{
    const char *name = args_value(&cli->args, "--name"), *data = args_value(&cli->args, "--data");
    struct client *client;
    struct worker_program worker = {.arguments = {"--home", cli->home, "--import-hf", dir, "--name", name}};
    cJSON *model = NULL; /* model.json */
    int rc = check_data(cli, dir, data, err);
    if (rc == 0)
        rc = cli_client(cli, &client, err);
    if (rc == 0)
        rc = worker_program_ask(&worker, &model, err);
    if (rc != 0)
        return rc;
    cJSON_AddItemToObject(body, "spec", make_spec(name, data, model));
    cJSON_Delete(model);
    return request_post_once(client, "/v1/runs", body, answer, err);
}

int import_hf(struct cli *cli)
{
    struct err err = {0};
    const char *tag, *dir = args_value(&cli->args, "--hf");
    if (!args_value(&cli->args, "--data"))
        return cli_usage(cli, "--hf needs --data NAME: the data set to evaluate the model on");
    cJSON *body = cJSON_CreateObject(), *answer = NULL;
    cJSON_AddStringToObject(body, "name", args_value(&cli->args, "--name"));
    cJSON *tags = cJSON_AddArrayToObject(body, "tags");
    for (int i = 0; (tag = args_value_at(&cli->args, "--tag", i)); i++)
        cJSON_AddItemToArray(tags, cJSON_CreateString(tag));
    int rc = assignment_add_sets(cli, body);
    if (rc == CLI_DONE && submit(cli, dir, body, &answer, &err) != 0)
        rc = cli_fail(cli, &err);
    cJSON_Delete(body);
    if (rc != CLI_DONE)
        return rc;
    if (cli->json) {
        output_json(stdout, answer);
    } else {
        const cJSON *run = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(answer, "runs"), 0);
        printf("%s %s: %s\n", run_text(run, "id"), run_text(run, "name"), run_text(run, "state"));
    }
    cJSON_Delete(answer);
    return CLI_DONE;
}
