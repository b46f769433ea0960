/* assignment.c: see assignment.h. */
#include "cli/assignment.h"

#include <stdlib.h>
#include <string.h>
#include "cli/run_view.h"
#include "cli/verb.h"
#include "schema/spec.h"
#include "schema/submission.h"

cJSON *assignment_add(cJSON *array, const char *given, const char **text)
{
    const char *equals = strchr(given, '=');
    if (!equals || equals == given)
        return NULL;
    char *path = strndup(given, (size_t)(equals - given));
    if (!path)
        abort();
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "path", path);
    cJSON_AddItemToArray(array, item);
    free(path);
    *text = equals + 1;
    return item;
}

int assignment_check(const char *path, const char *text, struct err *err)
{
    cJSON *scratch = cJSON_CreateObject();
    int rc = spec_set_text(scratch, path, text, err);
    cJSON_Delete(scratch);
    return rc;
}

int assignment_add_sets(struct cli *cli, cJSON *body)
{
    struct err err = {0};
    const char *text, *given;
    cJSON *set = cJSON_AddArrayToObject(body, "set");
    if (args_count(&cli->args, "--set") > SUBMISSION_MAX_SETS)
        return cli_usage(cli, "--set: at most %d are allowed", SUBMISSION_MAX_SETS);
    for (int i = 0; (given = args_value_at(&cli->args, "--set", i)); i++) {
        cJSON *item = assignment_add(set, given, &text);
        if (!item)
            return cli_usage(cli, "--set %s: path=value is needed, as train.seed=2", given);
        if (assignment_check(run_text(item, "path"), text, &err))
            return cli_usage(cli, "--set: %s", err.message);
        cJSON_AddStringToObject(item, "text", text);
    }
    return CLI_DONE;
}
