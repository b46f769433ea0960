/* verb_verify_resume.c: bakactl verify-resume SPEC.json. Two runs of the spec in a folder of their own below the state
 * directory, by workers that are started here: the queue and its database have no part in what is proved, and a daemon
 * is not needed. One run is left alone; the other is killed at random steps and goes on from its newest checkpoint each
 * time. Then both must have said the same. */
#include "cli/verb.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/philox.h"
#include "cli/assignment.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/run_view.h"
#include "cli/spec_file.h"
#include "cli/verify_curve.h"
#include "cli/verify_run.h"
#include "schema/spec.h"

enum { KILLS_MAX = 1000, KILLS_DEFAULT = 5 };

struct verification {
    struct cli *cli;
    struct spec spec;
    int64_t seed, kills_wanted, steps[KILLS_MAX]; /* at which it is killed, rising */
    int kills;                                    /* so far */
    char folder[PATH_SIZE];
    struct verify_run calm, killed;
    struct verify_curve calm_curve, killed_curve;
    char calm_weights[SHA256_HEX_SIZE], killed_weights[SHA256_HEX_SIZE];
    int64_t differences;
    struct verify_difference first;
};

static int make_run(struct verification *v, const char *name, struct verify_run *run, struct err *err)
{
    char dir[PATH_SIZE];
    int rc = path_format(dir, err, "%s/%s", v->folder, name);
    if (rc != 0)
        return rc;
    cJSON *json = spec_to_json(&v->spec);
    char *text = cJSON_PrintUnformatted(json);
    if (!text)
        abort();
    rc = verify_run_create(run, v->cli->home, dir, text, err);
    free(text);
    cJSON_Delete(json);
    return rc;
}

/* The journals so far; an attempt that said why it failed fails the whole. */
static int read_curve(const struct verify_run *run, struct verify_curve *c, struct err *err)
{
    verify_curve_finish(c);
    int rc = verify_curve_read(run->dir, run->attempts, c, err);
    if (rc == 0 && c->ended && c->end.reason != END_FINISHED)
        rc = err_set(err, ERR_INVALID, "attempt %d ended with %s: %.400s", run->attempts,
                     journal_end_reason_word(c->end.reason), c->end.text);
    return rc;
}

static int must_have_finished(const struct verify_run *run, const struct verify_curve *c, struct err *err)
{
    return c->ended ? 0
                    : err_set(err, ERR_INVALID, "attempt %d ended without a word; see %s/attempts/%d/worker.log",
                              run->attempts, run->dir, run->attempts);
}

static int run_calm(struct verification *v, struct err *err)
{
    bool killed;
    int rc = make_run(v, "undisturbed", &v->calm, err);
    if (rc == 0)
        rc = verify_run_attempt(&v->calm, "", 0, &killed, err);
    if (rc == 0)
        rc = read_curve(&v->calm, &v->calm_curve, err);
    if (rc == 0)
        rc = must_have_finished(&v->calm, &v->calm_curve, err);
    return rc ? rc : verify_run_weights(&v->calm, &v->calm_curve, v->calm_weights, err);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Steps before the last one, each with the same chance; and where the spec leaves checkpoints to the clock, which a
 * short run never meets, two for each kill: they never change a result. */
static void choose_steps(struct verification *v)
{
    struct philox random;
    int64_t total = v->calm_curve.total_steps;
    philox_init(&random, (uint64_t)v->seed, "verify-resume", "steps");
    for (int i = 0; i < v->kills_wanted; i++)
        v->steps[i] = 1 + (int64_t)philox_below(&random, (uint64_t)(total > 2 ? total - 1 : 1));
    qsort(v->steps, (size_t)v->kills_wanted, sizeof *v->steps, by_value);
    if (v->spec.train.checkpoint_every == 0) {
        int64_t every = total / (2 * v->kills_wanted + 1);
        v->spec.train.checkpoint_every = every > 0 ? every : 1;
    }
}

static int run_killed(struct verification *v, struct err *err)
{
    choose_steps(v);
    int rc = make_run(v, "killed", &v->killed, err);
    for (int i = 0; rc == 0 && !v->killed_curve.ended; i++) {
        bool killed = false;
        char checkpoint[64];
        memcpy(checkpoint, v->killed_curve.checkpoint, sizeof checkpoint);
        rc = verify_run_attempt(&v->killed, checkpoint, i < v->kills_wanted ? v->steps[i] : 0, &killed, err);
        if (rc == 0)
            rc = read_curve(&v->killed, &v->killed_curve, err);
        if (rc == 0 && !killed)
            rc = must_have_finished(&v->killed, &v->killed_curve, err);
        v->kills += killed;
    }
    return rc ? rc : verify_run_weights(&v->killed, &v->killed_curve, v->killed_weights, err);
}

static bool is_equal(const struct verification *v)
{
    return v->differences == 0 && v->killed_curve.replay_misses == 0 &&
           strcmp(v->calm_weights, v->killed_weights) == 0 && !v->killed_curve.other_numerics &&
           strcmp(v->calm_curve.numerics_id, v->killed_curve.numerics_id) == 0;
}

static void print_json(const struct verification *v)
{
    cJSON *o = cJSON_CreateObject(), *steps;
    cJSON_AddBoolToObject(o, "equal", is_equal(v));
    json_add_int64(o, "seed", v->seed);
    cJSON_AddNumberToObject(o, "kills", v->kills);
    steps = cJSON_AddArrayToObject(o, "kill_steps");
    for (int i = 0; i < v->kills; i++)
        cJSON_AddItemToArray(steps, cJSON_CreateNumber((double)v->steps[i]));
    cJSON_AddNumberToObject(o, "steps", (double)v->calm_curve.total_steps);
    cJSON_AddNumberToObject(o, "evaluations", (double)v->calm_curve.eval_count);
    cJSON_AddNumberToObject(o, "replayed", (double)v->killed_curve.replayed);
    cJSON_AddNumberToObject(o, "replayed_unequal", (double)v->killed_curve.replay_misses);
    cJSON_AddNumberToObject(o, "differences", (double)v->differences);
    if (v->first.step > 0) {
        cJSON *first = cJSON_AddObjectToObject(o, "first_difference");
        cJSON_AddNumberToObject(first, "step", (double)v->first.step);
        cJSON_AddStringToObject(first, "what", v->first.what);
        json_add_double(first, "undisturbed", v->first.a);
        json_add_double(first, "killed", v->first.b);
    } else {
        cJSON_AddNullToObject(o, "first_difference");
    }
    cJSON_AddStringToObject(o, "weights_undisturbed", v->calm_weights);
    cJSON_AddStringToObject(o, "weights_killed", v->killed_weights);
    cJSON_AddStringToObject(o, "numerics_id", v->calm_curve.numerics_id);
    if (is_equal(v))
        cJSON_AddNullToObject(o, "folder");
    else
        cJSON_AddStringToObject(o, "folder", v->folder);
    output_json(stdout, o);
    cJSON_Delete(o);
}

static void print(const struct verification *v)
{
    printf("undisturbed  %" PRId64 " steps, %zu evaluations, weights %.16s\n", v->calm_curve.total_steps,
           v->calm_curve.eval_count, v->calm_weights);
    printf("killed       %d time%s", v->kills, v->kills == 1 ? "" : "s");
    for (int i = 0; i < v->kills; i++)
        printf("%s %" PRId64, i ? "," : v->kills == 1 ? ", after step" : ", after steps", v->steps[i]);
    printf("; %" PRId64 " steps done again, weights %.16s\n", v->killed_curve.replayed, v->killed_weights);
    if (is_equal(v)) {
        printf("equal bit for bit: losses, gradient norms, evaluations, weights and optimizer (seed %" PRId64 ")\n",
               v->seed);
        return;
    }
    printf("NOT EQUAL (seed %" PRId64 "):", v->seed);
    if (v->first.step > 0)
        printf(" %" PRId64 " values differ, the first at step %" PRId64 ": %s %.17g, undisturbed %.17g;",
               v->differences, v->first.step, v->first.what, v->first.b, v->first.a);
    if (v->killed_curve.replay_misses > 0)
        printf(" %" PRId64 " replayed steps or evaluations came out otherwise;", v->killed_curve.replay_misses);
    if (v->killed_curve.other_numerics || strcmp(v->calm_curve.numerics_id, v->killed_curve.numerics_id) != 0)
        printf(" the numerics id changed;");
    if (strcmp(v->calm_weights, v->killed_weights) != 0)
        printf(" the weights differ;");
    printf(" both runs are kept in %s\n", v->folder);
}

static int verify(struct verification *v, struct err *err)
{
    int rc = path_format(v->folder, err, "%s/verify-resume/%d-%" PRId64, v->cli->home, (int)getpid(), clock_wall_ms());
    if (rc == 0)
        rc = run_calm(v, err);
    if (rc == 0)
        rc = run_killed(v, err);
    if (rc == 0)
        v->differences = verify_curve_compare(&v->calm_curve, &v->killed_curve, &v->first);
    return rc;
}

/* CLI_DONE, or the exit status of what went wrong; the spec in full. */
static int read_spec(struct verification *v, struct err *err)
{
    const struct args *args = &v->cli->args;
    cJSON *json = NULL, *body, *sets, *set;
    v->kills_wanted = KILLS_DEFAULT;
    v->seed = clock_wall_ms() & 0x7fffffff;
    if (args_int64(args, "--kills", 1, KILLS_MAX, &v->kills_wanted, err) ||
        args_int64(args, "--seed", 0, INT64_MAX, &v->seed, err))
        return cli_usage_err(v->cli, err);
    body = cJSON_CreateObject();
    int rc = assignment_add_sets(v->cli, body);
    if (rc != CLI_DONE) {
        cJSON_Delete(body);
        return rc;
    }
    rc = spec_file_read(args->positional[0], &json, err);
    sets = cJSON_GetObjectItemCaseSensitive(body, "set");
    cJSON_ArrayForEach(set, sets)
        if (rc == 0)
            rc = spec_set_text(json, run_text(set, "path"), run_text(set, "text"), err);
    if (rc == 0)
        rc = spec_from_json(json, &v->spec, err);
    cJSON_Delete(json);
    cJSON_Delete(body);
    return rc ? cli_fail(v->cli, err) : CLI_DONE;
}

/* And the one that holds such folders, where this was the last. */
static void remove_folder(const struct verification *v)
{
    char parent[PATH_SIZE];
    file_remove_tree(v->folder, NULL);
    if (path_format(parent, NULL, "%s/verify-resume", v->cli->home) == 0)
        rmdir(parent);
}

static int run(struct cli *cli)
{
    struct err err = {0};
    struct verification *v = calloc(1, sizeof *v);
    if (!v)
        abort();
    v->cli = cli;
    int status = read_spec(v, &err);
    if (status == CLI_DONE) {
        interrupt_catch();
        int rc = verify(v, &err);
        if (rc == 0 && cli->json)
            print_json(v);
        else if (rc == 0)
            print(v);
        status = rc != 0 ? cli_fail(cli, &err) : is_equal(v) ? CLI_DONE : CLI_FAILED;
        if (rc != 0 || status == CLI_DONE)
            remove_folder(v);
    }
    verify_curve_finish(&v->calm_curve);
    verify_curve_finish(&v->killed_curve);
    free(v);
    interrupt_release();
    interrupt_deliver();
    return status;
}

static const struct args_option options[] = {
    {"--kills", 0, "N", "how often it is killed, default 5", false},
    {"--seed", 0, "S", "chooses the steps; default: another each time, printed", false},
    {"--set", 0, "PATH=VALUE", "change a field, as train.steps=200", true},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_verify_resume = {
    .name = "verify-resume",
    .path = "verify-resume",
    .arguments = "SPEC.json|- [--kills N] [--seed S] [--set PATH=VALUE]... [--json]",
    .summary = "prove that killing a run does not change its result",
    .help = "Runs the spec twice, here and now: once undisturbed, once killed by SIGKILL\n"
            "after random steps and resumed from its newest checkpoint. Exit status 0 when\n"
            "losses, gradient norms, evaluations, weights and the optimizer's state are\n"
            "equal bit for bit; 1 when they are not, and then both runs are kept below\n"
            "HOME/verify-resume. It needs no daemon, and as `eval --now` it takes processor\n"
            "and GPU beside the queue: shorten a long spec by --set train.steps=200. Where\n"
            "train.checkpoint_every is 0, the killed run has two checkpoints for each kill.\n"
            "\n"
            "Examples:\n"
            "  bakactl verify-resume configs/study.json --set data.name=book --set train.steps=100\n"
            "  bakactl verify-resume elephant.json --kills 20 --seed 7 --json\n",
    .options = options,
    .min_positional = 1,
    .max_positional = 1,
    .run = run,
};
