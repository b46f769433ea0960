/* verb_eval.c: bakactl eval RUN: the loss of a run's model on any data set, computed at once and here. */
#include "cli/verb.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/json.h"
#include "cli/output.h"
#include "cli/run_folder.h"
#include "cli/run_view.h"
#include "cli/worker_program.h"
#include "schema/job.h"

static double number(const cJSON *answer, const char *key)
{
    double value = NAN;
    json_read_double(cJSON_GetObjectItemCaseSensitive(answer, key), &value);
    return value;
}

static void print(const cJSON *answer)
{
    printf("loss %.4f, perplexity %.4f", number(answer, "loss"), number(answer, "perplexity"));
    if (!isnan(number(answer, "bits_per_byte")))
        printf(", %.4f bits a byte", number(answer, "bits_per_byte"));
    printf("\n%s of %s, %.0f predictions, %s windows of %.0f tokens", run_text(answer, "split"),
           run_text(answer, "data"), number(answer, "predictions"), run_text(answer, "windowing"),
           number(answer, "seq_len"));
    if (number(answer, "memory") > 0)
        printf(" with a memory of %.0f", number(answer, "memory"));
    printf(", step %.0f\n", number(answer, "step"));
}

static int run(struct cli *cli)
{
    struct err err = {0};
    const char *split = args_value(&cli->args, "--split"), *data = args_value(&cli->args, "--data");
    const char *windowing = args_value(&cli->args, "--windowing");
    int64_t stride = 0, memory = 0;
    if (split && strcmp(split, "train") != 0 && strcmp(split, "val") != 0)
        return cli_usage(cli, "--split %s: train or val is needed", split);
    if (windowing && !job_windowing_parse(windowing, &stride))
        return cli_usage(cli, "--windowing %s: disjoint or sliding:STRIDE is needed, as sliding:256", windowing);
    if (cli_check_name(cli, "--data"))
        return CLI_USAGE;
    if (args_int64(&cli->args, "--memory", 1, INT32_MAX, &memory, &err))
        return cli_usage_err(cli, &err);
    struct run_folder folder;
    if (run_folder_find(cli, cli->args.positional[0], &folder, &err))
        return cli_fail(cli, &err);
    struct worker_program worker = {.arguments = {"--home", cli->home, "--run-dir", folder.path, "--eval",
                                                  data ? data : folder.data, "--split", split ? split : "val"}};
    char stride_text[32], memory_text[32];
    snprintf(stride_text, sizeof stride_text, "%" PRId64, stride);
    snprintf(memory_text, sizeof memory_text, "%" PRId64, memory);
    if (stride > 0) {
        worker_program_add(&worker, "--stride");
        worker_program_add(&worker, stride_text);
    }
    if (memory > 0) {
        worker_program_add(&worker, "--memory");
        worker_program_add(&worker, memory_text);
    }
    if (args_flag(&cli->args, "--cpu"))
        worker_program_add(&worker, "--on-cpu");
    cJSON *answer;
    if (worker_program_ask(&worker, &answer, &err))
        return cli_fail(cli, &err);
    if (cli->json)
        output_json(stdout, answer);
    else
        print(answer);
    cJSON_Delete(answer);
    return CLI_DONE;
}

static const struct args_option options[] = {
    {"--data", 0, "NAME", "the data set (default: the run's own)", false},
    {"--split", 0, "train|val", "which part of it (default: val)", false},
    {"--windowing", 0, "disjoint|sliding:STRIDE", "how the text is cut (default: disjoint)", false},
    {"--memory", 0, "N", "length of the xl memory (default: the run's own for evaluations)", false},
    {"--cpu", 0, NULL, "on the CPU in fp32, whatever the run was trained on", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_eval = {
    .name = "eval",
    .path = "eval",
    .arguments = "RUN [--data NAME] [--split train|val] [--windowing disjoint|sliding:STRIDE] [--memory N] "
                 "[--cpu] [--json]",
    .summary = "the loss of a run's model on any data set",
    .help = "Takes the run's newest good checkpoint and computes at once, here and beside\n"
            "whatever the daemon runs. Windows have the run's train.seq_len. disjoint: as a\n"
            "run's own validation, with which it agrees to the last bit. sliding:STRIDE: each\n"
            "window begins STRIDE tokens behind the one before and only what is new in it\n"
            "counts, so that all but the first see at least seq_len - STRIDE tokens before;\n"
            "it takes seq_len / STRIDE times as long. Every prediction counts once in both.\n"
            "--memory lets a model with memory.xl see further back than it did in training:\n"
            "N is at least memory.xl.len.\n"
            "\n"
            "Examples:\n"
            "  bakactl eval elephant --data wiki\n"
            "  bakactl eval with-xl --memory 1024\n"
            "  bakactl eval elephant --windowing sliding:64 --json | jq .loss\n",
    .options = options,
    .min_positional = 1,
    .max_positional = 1,
    .positional_is = "run's id or name",
    .run = run,
};
