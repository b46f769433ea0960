/* verb_show.c: bakactl show RUN: the story of one run. */
#include "cli/verb.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/json.h"
#include "cli/client.h"
#include "cli/job_view.h"
#include "cli/output.h"
#include "cli/run_view.h"
#include "schema/spec.h"

static void print_safe(const char *text)
{
    output_text(stdout, text, strlen(text));
}

static const char *format_time(double ms, char out[RUN_VIEW_SIZE])
{
    if (!(ms > 0))
        return "-";
    clock_format_utc((int64_t)ms, out);
    /* "2026-11-23 14:05:09": people do not read the T, nor the milliseconds */
    out[10] = ' ';
    out[19] = '\0';
    return out;
}

static void print_head(const cJSON *run)
{
    const char *state = run_text(run, "state"), *reason = run_text(run, "reason");
    enum output_style style = strcmp(state, "finished") == 0  ? STYLE_GREEN
                              : strcmp(state, "running") == 0 ? STYLE_CYAN
                              : run_state_is_ended(state)     ? STYLE_RED
                                                              : STYLE_YELLOW;
    printf("%s%s%s %s  %s%s%s", output_style(stdout, STYLE_BOLD), run_text(run, "name"),
           output_style(stdout, STYLE_PLAIN), run_text(run, "id"), output_style(stdout, style), state,
           output_style(stdout, STYLE_PLAIN));
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(run, "cancelling")))
        fputs(", being cancelled", stdout);
    else if (*run_text(run, "stepping_aside"))
        fputs(", stepping aside", stdout);
    if (*reason) {
        fputs(": ", stdout);
        print_safe(reason);
    }
    putchar('\n');
    if (run_number(run, "priority") != 0 && !isnan(run_number(run, "priority")))
        printf("priority  %.0f\n", run_number(run, "priority"));
    const cJSON *tag, *tags = cJSON_GetObjectItemCaseSensitive(run, "tags");
    if (cJSON_GetArraySize(tags)) {
        fputs("tags      ", stdout);
        cJSON_ArrayForEach(tag, tags)
            printf("%s%s", tag == tags->child ? "" : ", ", cJSON_GetStringValue(tag));
        putchar('\n');
    }
}

/* "newest    perplexity 22.2, word perplexity 61.0, 1.2345 bits a byte": of the newest validation */
static void print_quality(const cJSON *run)
{
    static const struct {
        const char *key, *before, *after;
    } numbers[] = {{"perplexity", "perplexity ", ""},
                   {"word_perplexity", "word perplexity ", ""},
                   {"bits_per_byte", "", " bits a byte"}};
    const char *separator = "newest    ";
    bool any = false;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char text[RUN_VIEW_SIZE];
        double value = run_number(run, numbers[i].key);
        if (isnan(value))
            continue;
        printf("%s%s%s%s", separator, numbers[i].before, run_format_loss(value, text), numbers[i].after);
        separator = ", ";
        any = true;
    }
    if (any)
        putchar('\n');
}

static void print_progress(const cJSON *run)
{
    char a[RUN_VIEW_SIZE], b[RUN_VIEW_SIZE], c[RUN_VIEW_SIZE], d[RUN_VIEW_SIZE];
    double step = run_number(run, "step"), total = run_number(run, "total_steps");
    if (!isnan(step)) {
        printf("progress  step %.0f", step);
        if (!isnan(total))
            printf(" of %.0f (%s)", total, run_format_share(run, a));
        printf(", epoch %s, %s tokens\n", run_format_epoch(run_number(run, "epoch"), b),
               run_format_count(run_number(run, "tokens"), c));
    }
    if (!isnan(run_number(run, "params")))
        printf("model     %s parameters, %s FLOPs a token\n", run_format_count(run_number(run, "params"), a),
               run_format_count(run_number(run, "flops_per_token"), b));
    if (!isnan(run_number(run, "train_loss")) || !isnan(run_number(run, "val_loss")))
        printf("loss      training %s, validation %s, best %s\n", run_format_loss(run_number(run, "train_loss"), a),
               run_format_loss(run_number(run, "val_loss"), b), run_format_loss(run_number(run, "best_val_loss"), c));
    print_quality(run);
    if (!isnan(run_number(run, "seconds")))
        printf("time      %s at work%s%s, %s tokens/s, peak memory %s\n",
               run_format_seconds(run_number(run, "seconds"), a), isnan(run_number(run, "eta_s")) ? "" : ", left ",
               isnan(run_number(run, "eta_s")) ? "" : run_format_seconds(run_number(run, "eta_s"), b),
               run_format_count(run_number(run, "tok_s"), c),
               run_format_bytes(run_number(run, "peak_memory_bytes"), d));
    if (!isnan(run_number(run, "mfu")))
        printf("MFU       %s of the GPU's peak\n", run_format_percent(run_number(run, "mfu"), a));
    if (run_number(run, "skipped_steps") > 0)
        printf("skipped   %.0f of the updates: a loss or a gradient norm was not finite\n",
               run_number(run, "skipped_steps"));
    if (run_number(run, "missing_steps") > 0)
        printf("%swarning   %.0f step%s missing: a journal was damaged%s\n", output_style(stdout, STYLE_RED),
               run_number(run, "missing_steps"), run_number(run, "missing_steps") == 1 ? " is" : "s are",
               output_style(stdout, STYLE_PLAIN));
    if (run_number(run, "nondeterminism") > 0)
        printf("%swarning   %.0f replayed steps came out otherwise under an equal numerics id%s\n",
               output_style(stdout, STYLE_RED), run_number(run, "nondeterminism"), output_style(stdout, STYLE_PLAIN));
}

/* "resume certificate: 3 resumes, 41 replayed steps equal, bit for bit" */
static void print_certificate(const cJSON *run)
{
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(run, "certificate");
    double resumes = run_number(found, "resumes"), replayed = run_number(found, "replayed");
    double unequal = run_number(found, "unequal"), other = run_number(found, "replayed_other");
    double drifted = run_number(found, "drifted");
    if (!(resumes > 0))
        return;
    printf("resume certificate: %.0f resume%s", resumes, resumes == 1 ? "" : "s");
    if (unequal > 0)
        printf(", %.0f of %.0f replayed steps not equal", unequal, replayed);
    else if (replayed > 0)
        printf(", %.0f replayed step%s equal, bit for bit", replayed, replayed == 1 ? "" : "s");
    else if (!(other > 0))
        fputs(", no step done twice", stdout);
    if (other > 0)
        printf(", %.0f under another numerics id, %.0f of them off by more than 1e-3", other, drifted);
    putchar('\n');
}

static void print_throttle(const cJSON *reasons)
{
    const cJSON *word;
    cJSON_ArrayForEach(word, reasons) {
        fputs(word == reasons->child ? ", slowed by " : ", ", stdout);
        print_safe(cJSON_IsString(word) ? word->valuestring : "?");
    }
}

/* "gpu       312 W, 64 °C, 1755 MHz, 23.1 GiB of 79.6 GiB in use, slowed by sw_power_cap" */
static void print_sample(const cJSON *sample)
{
    static const struct {
        const char *key, *unit;
    } numbers[] = {{"power_w", "W"}, {"temperature_c", "\u00b0C"}, {"sm_clock_mhz", "MHz"}};
    char used[RUN_VIEW_SIZE], total[RUN_VIEW_SIZE];
    const char *before = "gpu       ";
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!isnan(run_number(sample, numbers[i].key))) {
            printf("%s%.0f %s", before, run_number(sample, numbers[i].key), numbers[i].unit);
            before = ", ";
        }
    printf("%s%s of %s in use", before, run_format_bytes(run_number(sample, "memory_used"), used),
           run_format_bytes(run_number(sample, "memory_total"), total));
    print_throttle(cJSON_GetObjectItemCaseSensitive(sample, "throttle"));
    putchar('\n');
}

/* An error of one attempt stays worth knowing when the next one runs well. */
static void print_gpu(const cJSON *run)
{
    const cJSON *sample, *newest = NULL;
    char text[RUN_VIEW_SIZE];
    cJSON_ArrayForEach(sample, cJSON_GetObjectItemCaseSensitive(run, "gpu"))
        newest = sample;
    if (newest)
        print_sample(newest);
    if (!isnan(run_number(run, "energy_j")))
        printf("energy    %s\n", run_format_energy(run_number(run, "energy_j"), text));
    cJSON_ArrayForEach(sample, cJSON_GetObjectItemCaseSensitive(run, "gpu")) {
        double xid = run_number(sample, "xid"), ecc = run_number(sample, "ecc_uncorrected");
        if (!(xid > 0) && !(ecc > 0))
            continue;
        printf("%swarning   attempt %.0f:", output_style(stdout, STYLE_RED), run_number(sample, "attempt"));
        if (xid > 0)
            printf(" the GPU reported Xid %.0f%s", xid, ecc > 0 ? "," : "");
        if (ecc > 0)
            printf(" the GPU has %.0f uncorrected memory errors", ecc);
        printf("%s\n", output_style(stdout, STYLE_PLAIN));
    }
}

static void on_difference(void *arg, const char *path, const char *default_text, const char *text)
{
    int *count = arg;
    if (strcmp(path, "name") == 0 || strcmp(path, "data.name") == 0)
        return;
    printf("%s  %s = %s", (*count)++ ? "\n" : "\nspec, where it differs from the defaults\n", path, text);
    if (*default_text)
        printf(" %s(%s)%s", output_style(stdout, STYLE_DIM), default_text, output_style(stdout, STYLE_PLAIN));
}

/* The defaults are those of a spec that names the same data and preset. */
static void print_spec(const cJSON *json)
{
    struct spec spec, defaults;
    struct err err;
    if (!cJSON_IsObject(json) || spec_from_json(json, &spec, &err))
        return;
    char preset[64] = "";
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(cJSON_AddObjectToObject(object, "data"), "name", spec.data.name);
    if (spec.model.preset != PRESET_NONE && spec_get_text(&spec, "model.preset", preset, sizeof preset, &err) == 0)
        cJSON_AddStringToObject(cJSON_AddObjectToObject(object, "model"), "preset", preset);
    int count = 0;
    printf("data      %s\n", spec.data.name);
    if (*preset)
        printf("preset    %s\n", preset);
    if (spec_from_json(object, &defaults, &err) == 0)
        spec_diff(&defaults, &spec, on_difference, &count);
    if (count)
        putchar('\n');
    cJSON_Delete(object);
}

/* "  1  finished  steps 1 to 892  cpu-avx512, 2 threads, 24.5 MiB  2026-11-23 14:05:09 (7.7s)" */
static void print_attempt(const cJSON *attempt, bool of_job)
{
    char text[RUN_VIEW_SIZE];
    const char *outcome = run_text(attempt, "outcome"), *device = run_text(attempt, "device");
    const char *resume = run_text(attempt, "resume");
    double from = run_number(attempt, "resume_step"), to = run_number(attempt, "last_step");
    double began = run_number(attempt, "claimed_ms"), ended = run_number(attempt, "ended_ms");
    printf("  %.0f  ", run_number(attempt, "attempt"));
    print_safe(*outcome ? outcome : "at work");
    if (of_job)
        printf("  by %s", *resume ? resume : "no checkpoint");
    else if (to > from)
        printf("  steps %.0f to %.0f", from + 1, to);
    else
        fputs("  no steps", stdout);
    if (*device) {
        fputs("  ", stdout);
        print_safe(device);
    }
    if (run_number(attempt, "threads") > 0)
        printf(", %.0f thread%s", run_number(attempt, "threads"), run_number(attempt, "threads") == 1 ? "" : "s");
    if (run_number(attempt, "maxrss_bytes") > 0)
        printf(", %s", run_format_bytes(run_number(attempt, "maxrss_bytes"), text));
    printf("  %s%s%s", output_style(stdout, STYLE_DIM), format_time(began, text), output_style(stdout, STYLE_PLAIN));
    if (ended > 0)
        printf(" (%s)", run_format_seconds((ended - began) / 1000, text));
    putchar('\n');
}

static void print_attempts(const cJSON *attempts, bool of_job)
{
    const cJSON *attempt;
    if (cJSON_GetArraySize(attempts))
        printf("\nattempts\n");
    cJSON_ArrayForEach(attempt, attempts)
        print_attempt(attempt, of_job);
}

static void print_checkpoints(const cJSON *checkpoints)
{
    const cJSON *checkpoint;
    int shown = 0, count = cJSON_GetArraySize(checkpoints);
    if (count)
        printf("\ncheckpoints\n");
    cJSON_ArrayForEach(checkpoint, checkpoints) {
        char bytes[RUN_VIEW_SIZE];
        if (shown++ == 5) {
            printf("  and %d older\n", count - 5);
            break;
        }
        printf("  %s  %s  %s\n", run_text(checkpoint, "path"), run_format_bytes(run_number(checkpoint, "bytes"), bytes),
               run_text(checkpoint, "mark"));
    }
}

static void print_events(const cJSON *events)
{
    const cJSON *event;
    if (cJSON_GetArraySize(events))
        printf("\nevents\n");
    cJSON_ArrayForEach(event, events) {
        char time[RUN_VIEW_SIZE];
        const char *from = run_text(event, "from"), *to = run_text(event, "to"), *text = run_text(event, "text");
        printf("  %s%s%s  %s", output_style(stdout, STYLE_DIM), format_time(run_number(event, "time_ms"), time),
               output_style(stdout, STYLE_PLAIN), *to ? "" : run_text(event, "kind"));
        if (*to)
            printf("%s%s%s", from, *from ? " \u2192 " : "", to);
        if (run_number(event, "attempt") > 0)
            printf(" (attempt %.0f)", run_number(event, "attempt"));
        if (*text) {
            fputs(": ", stdout);
            print_safe(text);
        }
        putchar('\n');
    }
}

static int run(struct cli *cli)
{
    struct err err = {0};
    struct client *client;
    cJSON *run = NULL;
    if (cli_client(cli, &client, &err) || run_fetch(client, cli->args.positional[0], &run, &err))
        return cli_fail(cli, &err);
    if (cli->json) {
        output_json(stdout, run);
    } else {
        print_head(run);
        print_progress(run);
        if (!job_view_is_job(run))
            print_certificate(run);
        print_gpu(run);
        if (job_view_is_job(run))
            job_view_print(run);
        else
            print_spec(cJSON_GetObjectItemCaseSensitive(run, "spec"));
        job_view_print_evaluations((const cJSON *const *)&run, 1);
        print_attempts(cJSON_GetObjectItemCaseSensitive(run, "attempt_list"), job_view_is_job(run));
        print_checkpoints(cJSON_GetObjectItemCaseSensitive(run, "checkpoints"));
        print_events(cJSON_GetObjectItemCaseSensitive(run, "events"));
    }
    cJSON_Delete(run);
    return CLI_DONE;
}

const struct verb verb_show = {
    .name = "show",
    .path = "show",
    .arguments = "RUN [--json]",
    .summary = "the story of one run",
    .help = "RUN is an id or a name (the newest run of that name). Prints state and reason,\n"
            "progress, where its spec differs from the defaults, the evaluations that\n"
            "`bakactl eval` made of it, its attempts, checkpoints and events (times are UTC).\n"
            "Of an evaluation or a sample, by its id: what was asked and what was found.\n"
            "\n"
            "Examples:\n"
            "  bakactl show elephant\n"
            "  bakactl show b00012 --json | jq '{state,step,attempts,params}'\n",
    .min_positional = 1,
    .max_positional = 1,
    .positional_is = "run's id or name",
    .run = run,
};
