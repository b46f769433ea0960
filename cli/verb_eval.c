/* verb_eval.c: bakactl eval RUN: the loss of a run's model on any data set, as a job in the queue, or at once and here.
 */
#include "cli/verb.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/json.h"
#include "cli/client.h"
#include "cli/job.h"
#include "cli/output.h"
#include "cli/run_folder.h"
#include "cli/run_view.h"
#include "cli/worker_program.h"
#include "schema/job.h"

static void print(const struct cli *cli, const cJSON *answer)
{
    if (cli->json) {
        output_json(stdout, answer);
        return;
    }
    printf("loss %.4f, perplexity %.4f", run_number(answer, "loss"), run_number(answer, "perplexity"));
    if (!isnan(run_number(answer, "word_perplexity")))
        printf(", word perplexity %.4f", run_number(answer, "word_perplexity"));
    if (!isnan(run_number(answer, "bits_per_byte")))
        printf(", %.4f bits a byte", run_number(answer, "bits_per_byte"));
    printf("\n%s of %s, %.0f predictions, %s windows of %.0f tokens", run_text(answer, "split"),
           run_text(answer, "data"), run_number(answer, "predictions"), run_text(answer, "windowing"),
           run_number(answer, "seq_len"));
    if (run_number(answer, "memory") > 0)
        printf(" with a memory of %.0f", run_number(answer, "memory"));
    printf(", step %.0f\n", run_number(answer, "step"));
}

struct wish {
    const char *data, *split; /* NULL: the default */
    char windowing[JOB_WINDOWING_SIZE];
    int64_t stride, memory;
    bool cpu;
};

/* CLI_DONE, or the exit status of a usage error. */
static int read_wish(const struct cli *cli, struct wish *w)
{
    struct err err = {0};
    const char *windowing = args_value(&cli->args, "--windowing");
    *w = (struct wish){.data = args_value(&cli->args, "--data"),
                       .split = args_value(&cli->args, "--split"),
                       .cpu = args_flag(&cli->args, "--cpu")};
    if (w->split && strcmp(w->split, "train") != 0 && strcmp(w->split, "val") != 0)
        return cli_usage(cli, "--split %s: train or val is needed", w->split);
    if (windowing && !job_windowing_parse(windowing, &w->stride))
        return cli_usage(cli, "--windowing %s: disjoint or sliding:STRIDE is needed, as sliding:256", windowing);
    if (cli_check_name(cli, "--data"))
        return CLI_USAGE;
    if (args_int64(&cli->args, "--memory", 1, INT32_MAX, &w->memory, &err))
        return cli_usage_err(cli, &err);
    if (args_flag(&cli->args, "--now") && args_flag(&cli->args, "--detach"))
        return cli_usage(cli, "--now and --detach exclude each other");
    job_windowing_text(w->stride, w->windowing);
    return CLI_DONE;
}

static int eval_here(struct cli *cli, const struct wish *w, struct err *err)
{
    struct run_folder folder;
    int rc = run_folder_find(cli, cli->args.positional[0], &folder, err);
    if (rc != 0)
        return rc;
    char stride[32], memory[32];
    struct worker_program worker = {.arguments = {"--home", cli->home, "--run-dir", folder.path, "--eval",
                                                  w->data ? w->data : folder.data, "--split",
                                                  w->split ? w->split : "val"}};
    snprintf(stride, sizeof stride, "%" PRId64, w->stride);
    snprintf(memory, sizeof memory, "%" PRId64, w->memory);
    if (w->stride > 0) {
        worker_program_add(&worker, "--stride");
        worker_program_add(&worker, stride);
    }
    if (w->memory > 0) {
        worker_program_add(&worker, "--memory");
        worker_program_add(&worker, memory);
    }
    if (w->cpu)
        worker_program_add(&worker, "--on-cpu");
    cJSON *answer;
    rc = worker_program_ask(&worker, &answer, err);
    if (rc == 0) {
        print(cli, answer);
        cJSON_Delete(answer);
    }
    return rc;
}

static int wait_and_print(const struct cli *cli, struct client *client, const char *id, struct err *err)
{
    cJSON *run;
    int rc = job_wait(cli, client, id, &(struct job_look){0}, &run, err);
    if (rc != 0)
        return rc;
    print(cli, cJSON_GetObjectItemCaseSensitive(run, "result"));
    cJSON_Delete(run);
    return 0;
}

static int eval_queued(struct cli *cli, struct client *client, const struct wish *w, struct err *err)
{
    cJSON *body = cJSON_CreateObject(), *answer;
    if (w->data)
        cJSON_AddStringToObject(body, "data", w->data);
    if (w->split)
        cJSON_AddStringToObject(body, "split", w->split);
    cJSON_AddStringToObject(body, "windowing", w->windowing);
    if (w->memory > 0)
        json_add_int64(body, "memory", w->memory);
    cJSON_AddBoolToObject(body, "cpu", w->cpu);
    int rc = job_submit(client, cli->args.positional[0], job_kind_word(JOB_EVAL), body, &answer, err);
    cJSON_Delete(body);
    if (rc != 0)
        return rc;
    const cJSON *job = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(answer, "runs"), 0);
    if (args_flag(&cli->args, "--detach"))
        job_print_queued(cli, answer);
    else
        rc = wait_and_print(cli, client, run_text(job, "id"), err);
    cJSON_Delete(answer);
    return rc;
}

static int run(struct cli *cli)
{
    struct err err = {0};
    struct wish wish;
    struct client *client;
    cJSON *run = NULL;
    if (read_wish(cli, &wish))
        return CLI_USAGE;
    if (args_flag(&cli->args, "--now"))
        return eval_here(cli, &wish, &err) ? cli_fail(cli, &err) : CLI_DONE;
    if (cli_client(cli, &client, &err) || run_fetch(client, cli->args.positional[0], &run, &err))
        return cli_fail(cli, &err);
    bool is_job = strcmp(run_text(run, "kind"), job_kind_word(JOB_EVAL)) == 0;
    cJSON_Delete(run);
    if (is_job && job_refuse_options(cli, cli->args.positional[0], "an evaluation"))
        return CLI_USAGE;
    int rc =
        is_job ? wait_and_print(cli, client, cli->args.positional[0], &err) : eval_queued(cli, client, &wish, &err);
    return rc ? cli_fail(cli, &err) : CLI_DONE;
}

static const struct args_option options[] = {
    {"--data", 0, "NAME", "the data set (default: the run's own)", false},
    {"--split", 0, "train|val", "which part of it (default: val)", false},
    {"--windowing", 0, "disjoint|sliding:STRIDE", "how the text is cut (default: disjoint)", false},
    {"--memory", 0, "N", "length of the xl memory (default: the run's own for evaluations)", false},
    {"--cpu", 0, NULL, "on the CPU in fp32, whatever the run was trained on", false},
    {"--detach", 0, NULL, "queue it, print its id and do not wait", false},
    {"--now", 0, NULL, "at once and here, outside the queue and recorded nowhere", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_eval = {
    .name = "eval",
    .path = "eval",
    .arguments = "RUN|JOB [--data NAME] [--split train|val] [--windowing disjoint|sliding:STRIDE] [--memory N] "
                 "[--cpu] [--detach|--now] [--json]",
    .summary = "the loss of a run's model on any data set",
    .help = "Queues a job of kind eval, before training runs that wait, and waits for it. It\n"
            "takes the run's newest good checkpoint when it starts, and as many slots as the\n"
            "run. What it finds is printed, and stays with the run: `bakactl show RUN` and\n"
            "`compare`. Leaving with Ctrl-C leaves the job; RUN may be its id then, or that\n"
            "of one queued with --detach: it is waited for and printed. --now computes beside\n"
            "whatever the daemon runs, where no slot is free for long.\n"
            "\n"
            "Windows have the run's train.seq_len. disjoint: as a run's own validation, with\n"
            "which it agrees to the last bit. sliding:STRIDE: each window begins STRIDE\n"
            "tokens behind the one before and only what is new in it counts, so that all but\n"
            "the first see at least seq_len - STRIDE tokens before; it takes seq_len / STRIDE\n"
            "times as long. Every prediction counts once in both. --memory lets a model with\n"
            "memory.xl see further back than it did in training: at least memory.xl.len.\n"
            "\n"
            "Word perplexity is exp(nats of the part / its words): words are what white space\n"
            "separates, a line's end is none. A data set made before words were counted has\n"
            "none; `data prepare` it again, its hash stays.\n"
            "\n"
            "Examples:\n"
            "  bakactl eval elephant --data wiki\n"
            "  bakactl eval with-xl --memory 1024\n"
            "  bakactl eval elephant --windowing sliding:64 --json | jq .loss\n"
            "  id=$(bakactl eval elephant --detach --json | jq -r '.runs[0].id')\n"
            "  bakactl eval $id\n",
    .options = options,
    .min_positional = 1,
    .max_positional = 1,
    .positional_is = "run's id or name",
    .run = run,
};
