/* verb_submit.c: bakactl submit SPEC.json. The flags are checked here against the field table, and the text for
 * being JSON (line and column); the spec as a whole by the daemon. A request id makes it safe to send again after a
 * connection that broke: the same runs are answered. */
#include "cli/verb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli/assignment.h"
#include "cli/client.h"
#include "cli/follow.h"
#include "cli/output.h"
#include "cli/request_id.h"
#include "cli/run_view.h"
#include "cli/spec_file.h"
#include "schema/submission.h"

/* Cuts at commas outside of brackets and quotes, so that lists can be swept too: betas=[0.9,0.95],[0.9,0.99]. */
static void add_values(cJSON *array, const char *text)
{
    int depth = 0;
    bool quoted = false;
    const char *start = text;
    for (const char *c = text;; c++) {
        if (*c == '"')
            quoted = !quoted;
        else if (*c == '[' && !quoted)
            depth++;
        else if (*c == ']' && !quoted && depth > 0)
            depth--;
        if (*c == '\0' || (*c == ',' && depth == 0 && !quoted)) {
            char *value = strndup(start, (size_t)(c - start));
            if (!value)
                abort();
            cJSON_AddItemToArray(array, cJSON_CreateString(value));
            free(value);
            start = c + 1;
        }
        if (*c == '\0')
            return;
    }
}

/* *runs is multiplied by the number of values, until it is too large. */
static int check_axis(const struct cli *cli, const cJSON *axis, int64_t *runs)
{
    struct err err = {0};
    const cJSON *values = cJSON_GetObjectItemCaseSensitive(axis, "values"), *value;
    int count = cJSON_GetArraySize(values), n = 0;
    const char *path = run_text(axis, "path"), **texts = calloc((size_t)count, sizeof *texts);
    if (!texts)
        abort();
    int rc = 0;
    cJSON_ArrayForEach(value, values)
        texts[n++] = value->valuestring;
    for (int i = 0; i < count && rc == 0; i++)
        rc = assignment_check(path, texts[i], &err);
    if (rc == 0)
        rc = submission_check_axis(path, texts, count, "--sweep", &err);
    free(texts);
    if (rc)
        return cli_usage(cli, "--sweep: %s", err.message);
    if (*runs <= SUBMISSION_MAX_RUNS)
        *runs *= count;
    return CLI_DONE;
}

/* The first axis over this field, or NULL. */
static const cJSON *find_axis(const cJSON *sweep, const char *path)
{
    const cJSON *axis;
    cJSON_ArrayForEach(axis, sweep)
        if (strcmp(run_text(axis, "path"), path) == 0)
            return axis;
    return NULL;
}

static int add_sweep(struct cli *cli, cJSON *body, int64_t *runs)
{
    const char *text, *given;
    cJSON *sweep = cJSON_AddArrayToObject(body, "sweep");
    if (args_count(&cli->args, "--sweep") > SUBMISSION_MAX_AXES)
        return cli_usage(cli, "--sweep: at most %d are allowed", SUBMISSION_MAX_AXES);
    for (int i = 0; (given = args_value_at(&cli->args, "--sweep", i)); i++) {
        cJSON *item = assignment_add(sweep, given, &text);
        if (!item)
            return cli_usage(cli, "--sweep %s: path=value,value is needed, as model.ffn.type=swiglu,elephant", given);
        const char *path = run_text(item, "path");
        if (find_axis(sweep, path) != item)
            return cli_usage(cli, "--sweep: %s is swept twice; give all its values at once", path);
        add_values(cJSON_AddArrayToObject(item, "values"), text);
        if (check_axis(cli, item, runs))
            return CLI_USAGE;
    }
    return CLI_DONE;
}

/* CLI_DONE, or the exit status of a usage error. */
static int add_options(struct cli *cli, cJSON *body)
{
    struct err err = {0};
    const char *given;
    int64_t seeds = 0, runs = 1, priority = 0;
    if (assignment_add_sets(cli, body) || add_sweep(cli, body, &runs) || cli_check_name(cli, "--name") ||
        cli_check_tags(cli))
        return CLI_USAGE;
    if (args_int64(&cli->args, "--seeds", 1, SUBMISSION_MAX_RUNS, &seeds, &err))
        return cli_usage_err(cli, &err);
    if (seeds > 1 && find_axis(cJSON_GetObjectItemCaseSensitive(body, "sweep"), "train.seed"))
        return cli_usage(cli, "--seeds: train.seed is swept already; give one or the other");
    if (runs > SUBMISSION_MAX_RUNS || runs * (seeds ? seeds : 1) > SUBMISSION_MAX_RUNS)
        return cli_usage(cli, "--sweep and --seeds make more than the %d runs that a submission may have",
                         SUBMISSION_MAX_RUNS);
    if (seeds)
        cJSON_AddNumberToObject(body, "seeds", (double)seeds);
    if (args_int64(&cli->args, "--priority", PRIORITY_MIN, PRIORITY_MAX, &priority, &err))
        return cli_usage_err(cli, &err);
    if (priority != 0)
        cJSON_AddNumberToObject(body, "priority", (double)priority);
    if ((given = args_value(&cli->args, "--name")))
        cJSON_AddStringToObject(body, "name", given);
    cJSON *tags = cJSON_AddArrayToObject(body, "tags");
    for (int i = 0; (given = args_value_at(&cli->args, "--tag", i)); i++)
        cJSON_AddItemToArray(tags, cJSON_CreateString(given));
    return CLI_DONE;
}

static void print_runs(const cJSON *answer)
{
    const cJSON *run;
    cJSON_ArrayForEach(run, cJSON_GetObjectItemCaseSensitive(answer, "runs"))
        printf("%s %s: %s\n", run_text(run, "id"), run_text(run, "name"), run_text(run, "state"));
    fflush(stdout);
}

static int run(struct cli *cli)
{
    struct err err = {0};
    struct client *client;
    cJSON *body = cJSON_CreateObject(), *spec = NULL, *answer = NULL;
    int rc = add_options(cli, body);
    if (rc) {
        cJSON_Delete(body);
        return rc;
    }
    rc = spec_file_read(cli->args.positional[0], &spec, &err);
    if (!rc) {
        cJSON_AddItemToObject(body, "spec", spec);
        rc = cli_client(cli, &client, &err);
    }
    if (!rc)
        rc = request_post_once(client, "/v1/runs", body, &answer, &err);
    cJSON_Delete(body);
    if (rc)
        return cli_fail(cli, &err);
    bool wait = args_flag(&cli->args, "--wait");
    if (cli->json && !wait)
        output_json(stdout, answer);
    else if (!cli->json)
        print_runs(answer);
    if (wait)
        rc = follow_runs(cli, client, cJSON_GetObjectItemCaseSensitive(answer, "runs"), -1);
    cJSON_Delete(answer);
    return rc;
}

static const struct args_option options[] = {
    {"--set", 0, "PATH=VALUE", "change a field, as model.ffn.type=elephant", true},
    {"--sweep", 0, "PATH=V1,V2", "one run for each value; several --sweep multiply", true},
    {"--seeds", 0, "N", "each of them with N seeds, from train.seed up", false},
    {"--name", 0, "NAME", "name of the run, or the beginning of the names of several", false},
    {"--tag", 0, "TAG", "a word to find the runs by", true},
    {"--priority", 0, "N", "-1000 to 1000: higher ones first, lower ones make room; default 0", false},
    {"--wait", 0, NULL, "follow the runs until they have ended, and exit as `bakactl wait` does", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_submit = {
    .name = "submit",
    .path = "submit",
    .arguments = "SPEC.json|- [--set PATH=VALUE]... [--sweep PATH=V1,V2]... [--seeds N] [--name NAME] [--tag TAG]... "
                 "[--priority N] [--wait] [--json]",
    .summary = "queue one experiment, or a sweep of many",
    .help = "SPEC.json holds what differs from the defaults; docs/spec.md lists every\n"
            "field. \"-\" reads standard input. Values are parsed by the type of the field.\n"
            "All runs of a submission are queued, or none; at most 10000, each value of an\n"
            "axis once. Runs of a sweep are called NAME-VALUE, or NAME-FIELDVALUE where the\n"
            "value is a number, and several seeds add -sSEED: study-swiglu-s2, study-lr0.001.\n"
            "A name or tag is at most 64 letters, digits, '.', '_' and '-', the first a\n"
            "letter or digit, and not of the form of an id (b00012). A run of higher priority\n"
            "starts first, and where no slot is free the lowest of those at work that are\n"
            "strictly lower checkpoint, step aside and come back later. Prints id, name and\n"
            "state of each run; with --json: {\"runs\":[{\"id\",\"name\",\"state\"}]}.\n"
            "\n"
            "Examples:\n"
            "  bakactl submit elephant.json\n"
            "  bakactl submit study.json --set train.epochs=3 --set train.seed=2\n"
            "  bakactl submit study.json --sweep model.ffn.type=gelu,swiglu,elephant_glu \\\n"
            "      --seeds 3 --tag study\n"
            "  bakactl submit study.json --sweep train.optimizer.lr=1e-3,3e-4 --wait\n"
            "  echo '{\"data\":{\"name\":\"kjv\"}}' | bakactl submit - --json | jq -r '.runs[].id'\n",
    .options = options,
    .min_positional = 1,
    .max_positional = 1,
    .run = run,
};
