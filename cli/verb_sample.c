/* verb_sample.c: bakactl sample RUN --prompt TEXT: lets a run's model go on with a text, as a job in the queue, or at
 * once and here. The worker knows ids only: the prompt is encoded and the answer decoded here, by the tokenizer of the
 * run's data set. */
#include "cli/verb.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/json.h"
#include "cli/client.h"
#include "cli/data_tokenizer.h"
#include "cli/job.h"
#include "cli/run_folder.h"
#include "cli/run_view.h"
#include "cli/sample_text.h"
#include "cli/worker_program.h"
#include "schema/job.h"
#include "schema/submission.h"
#include "text/tokenizer.h"

static int print_ids(void *arg, const int32_t *ids, size_t n, uint64_t text_bytes, bool last, struct err *err)
{
    (void)text_bytes, (void)last, (void)err;
    for (size_t i = 0; i < n; i++)
        fprintf(arg, "%d\n", (int)ids[i]);
    return 0;
}

/* The prompt's ids, one a line; the caller frees. */
static int encode(struct tokenizer *t, const char *prompt, char **out, size_t *size, struct err *err)
{
    *out = NULL;
    FILE *lines = open_memstream(out, size);
    if (!lines)
        abort();
    int rc = tokenizer_feed(t, (const unsigned char *)prompt, strlen(prompt), print_ids, lines, err);
    if (rc == 0)
        rc = tokenizer_end_document(t, print_ids, lines, err);
    if (rc == 0)
        rc = tokenizer_flush(t, print_ids, lines, err);
    fclose(lines);
    if (rc == 0 && *size == 0)
        rc = err_set(err, ERR_INVALID, "the prompt has no token: one is needed");
    return rc;
}

struct numbers {
    int64_t tokens, top_k, seed;
    double temperature, top_p;
    char tokens_text[24], top_k_text[24], seed_text[24], temperature_text[32], top_p_text[32], vocab_text[24],
        stop_text[24];
};

static int read_numbers(const struct cli *cli, struct numbers *n, struct err *err)
{
    *n = (struct numbers){.tokens = 200, .temperature = 1, .top_p = 1};
    int rc = args_int64(&cli->args, "--tokens", 1, INT32_MAX, &n->tokens, err);
    if (rc == 0)
        rc = args_int64(&cli->args, "--top-k", 0, INT32_MAX, &n->top_k, err);
    if (rc == 0)
        rc = args_int64(&cli->args, "--seed", 0, INT64_MAX, &n->seed, err);
    if (rc == 0)
        rc = args_double(&cli->args, "--temperature", 0, 1000, &n->temperature, err);
    if (rc == 0 && args_value(&cli->args, "--top-p"))
        rc = args_double(&cli->args, "--top-p", 0, 1.0000000001, &n->top_p, err);
    return rc;
}

static void add_numbers(struct worker_program *w, struct numbers *n, const struct tokenizer_about *about)
{
    const struct {
        const char *option;
        char *text;
    } pairs[] = {{"--sample", n->tokens_text}, {"--top-k", n->top_k_text},
                 {"--seed", n->seed_text},     {"--temperature", n->temperature_text},
                 {"--top-p", n->top_p_text},   {"--vocab", n->vocab_text},
                 {"--stop", n->stop_text}};
    snprintf(n->tokens_text, sizeof n->tokens_text, "%" PRId64, n->tokens);
    snprintf(n->top_k_text, sizeof n->top_k_text, "%" PRId64, n->top_k);
    snprintf(n->seed_text, sizeof n->seed_text, "%" PRId64, n->seed);
    snprintf(n->temperature_text, sizeof n->temperature_text, "%.17g", n->temperature);
    snprintf(n->top_p_text, sizeof n->top_p_text, "%.17g", n->top_p < 1 ? n->top_p : 1);
    snprintf(n->vocab_text, sizeof n->vocab_text, "%" PRIu64, about->vocab);
    snprintf(n->stop_text, sizeof n->stop_text, "%d", (int)about->end_of_text);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs - (about->end_of_text < 0); i++) {
        worker_program_add(w, pairs[i].option);
        worker_program_add(w, pairs[i].text);
    }
}

/* --- at once and here ----------------------------------------------------------------------------------------------
 */

static int generate_here(struct cli *cli, const struct run_folder *folder, struct tokenizer *t, struct numbers *n,
                         struct err *err)
{
    const char *prompt = args_value(&cli->args, "--prompt");
    char *ids;
    size_t size;
    int rc = encode(t, prompt, &ids, &size, err);
    if (rc != 0) {
        free(ids);
        return rc;
    }
    struct sample_text *text = sample_text_create(t, cli->json);
    struct worker_program worker = {.arguments = {"--home", cli->home, "--run-dir", folder->path},
                                    .input = ids,
                                    .input_size = size,
                                    .on_output = sample_text_add,
                                    .arg = text};
    add_numbers(&worker, n, tokenizer_about(t));
    if (args_flag(&cli->args, "--cpu"))
        worker_program_add(&worker, "--on-cpu");
    rc = worker_program_run(&worker, err);
    if (rc == 0)
        sample_text_end(text, prompt);
    sample_text_destroy(text);
    free(ids);
    return rc;
}

static int sample_here(struct cli *cli, struct numbers *n, struct err *err)
{
    struct run_folder folder;
    struct tokenizer *t = NULL;
    int rc = run_folder_find(cli, cli->args.positional[0], &folder, err);
    if (rc == 0)
        rc = data_tokenizer_open(cli->home, folder.data, &t, err);
    if (rc == 0)
        rc = generate_here(cli, &folder, t, n, err);
    tokenizer_close(t);
    return rc;
}

/* --- a job's ----------------------------------------------------------------------------------------------------- */

/* Follows attempts/N/sample of the newest attempt. */
struct reader {
    const struct cli *cli;
    struct sample_text *text;
    int fd;
    int attempt; /* of fd, 0: none yet */
};

static int read_more(struct reader *r, struct err *err)
{
    char block[4096];
    ssize_t n = 0;
    while (r->fd >= 0 && ((n = read(r->fd, block, sizeof block)) > 0 || (n < 0 && errno == EINTR))) {
        int rc = n > 0 ? sample_text_add(r->text, block, (size_t)n, err) : 0;
        if (rc != 0)
            return rc;
    }
    return n < 0 ? err_set_errno(err, errno, "cannot read the sample") : 0;
}

static int on_look(void *arg, const cJSON *run, struct err *err)
{
    struct reader *r = arg;
    char path[PATH_SIZE];
    int attempt = (int)run_number(run, "attempts");
    if (attempt < 1)
        return 1;
    if (r->fd < 0 || attempt != r->attempt) {
        int rc = path_format(path, err, "%s/runs/%s/attempts/%d/sample", r->cli->home, run_text(run, "id"), attempt);
        if (rc != 0)
            return rc;
        if (r->fd >= 0)
            close(r->fd);
        r->fd = open(path, O_RDONLY | O_CLOEXEC); /* not there before its model is loaded */
        r->attempt = attempt;
        sample_text_again(r->text);
    }
    int rc = read_more(r, err);
    return rc ? rc : !sample_text_is_shown(r->text);
}

static int wait_and_print(const struct cli *cli, struct client *client, const char *id, struct tokenizer *t,
                          struct err *err)
{
    struct reader reader = {.cli = cli, .text = sample_text_create(t, cli->json), .fd = -1};
    cJSON *run;
    int rc = job_wait(cli, client, id, &(struct job_look){on_look, &reader}, &run, err);
    if (rc == 0) {
        sample_text_end(reader.text, run_text(cJSON_GetObjectItemCaseSensitive(run, "job"), "prompt"));
        cJSON_Delete(run);
    }
    if (reader.fd >= 0)
        close(reader.fd);
    sample_text_destroy(reader.text);
    return rc;
}

static int add_ids(cJSON *body, const char *lines, struct err *err)
{
    cJSON *ids = cJSON_AddArrayToObject(body, "ids");
    int64_t count = 0;
    for (char *end; *lines; lines = *end ? end + 1 : end, count++) {
        if (count == JOB_MAX_IDS)
            return err_set(err, ERR_TOO_LARGE, "the prompt has more than %d tokens", JOB_MAX_IDS);
        cJSON_AddItemToArray(ids, cJSON_CreateNumber((double)strtol(lines, &end, 10)));
    }
    return 0;
}

static int make_body(const struct cli *cli, struct tokenizer *t, const struct numbers *n, cJSON *body, struct err *err)
{
    const char *prompt = args_value(&cli->args, "--prompt");
    const struct tokenizer_about *about = tokenizer_about(t);
    char *lines;
    size_t size;
    int rc = encode(t, prompt, &lines, &size, err);
    if (rc == 0)
        rc = add_ids(body, lines, err);
    free(lines);
    if (rc != 0)
        return rc;
    cJSON_AddStringToObject(body, "prompt", prompt);
    json_add_int64(body, "tokens", n->tokens);
    json_add_double(body, "temperature", n->temperature);
    json_add_int64(body, "top_k", n->top_k);
    json_add_double(body, "top_p", n->top_p < 1 ? n->top_p : 1);
    json_add_int64(body, "seed", n->seed);
    json_add_int64(body, "stop", about->end_of_text < 0 ? -1 : about->end_of_text);
    json_add_int64(body, "vocab", (int64_t)about->vocab);
    cJSON_AddBoolToObject(body, "cpu", args_flag(&cli->args, "--cpu"));
    return 0;
}

static int sample_queued(struct cli *cli, struct client *client, struct tokenizer *t, const struct numbers *n,
                         struct err *err)
{
    cJSON *body = cJSON_CreateObject(), *answer = NULL;
    int rc = make_body(cli, t, n, body, err);
    if (rc == 0)
        rc = job_submit(client, cli->args.positional[0], job_kind_word(JOB_SAMPLE), body, &answer, err);
    cJSON_Delete(body);
    if (rc != 0)
        return rc;
    const cJSON *job = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(answer, "runs"), 0);
    if (args_flag(&cli->args, "--detach"))
        job_print_queued(cli, answer);
    else
        rc = wait_and_print(cli, client, run_text(job, "id"), t, err);
    cJSON_Delete(answer);
    return rc;
}

/* The run is one to sample from, or a sample that was queued before. */
static int sample(struct cli *cli, const struct numbers *n)
{
    struct err err = {0};
    struct client *client;
    struct tokenizer *t = NULL;
    cJSON *run = NULL;
    int status = CLI_DONE, rc = cli_client(cli, &client, &err);
    if (rc == 0)
        rc = run_fetch(client, cli->args.positional[0], &run, &err);
    bool is_job = strcmp(run_text(run, "kind"), job_kind_word(JOB_SAMPLE)) == 0;
    if (rc == 0 && is_job)
        status = job_refuse_options(cli, cli->args.positional[0], "a sample");
    else if (rc == 0 && !args_value(&cli->args, "--prompt"))
        status = cli_usage(cli, "--prompt TEXT is needed");
    if (rc == 0 && status == CLI_DONE) {
        const cJSON *spec = cJSON_GetObjectItemCaseSensitive(run, "spec");
        const char *data = run_text(cJSON_GetObjectItemCaseSensitive(spec, "data"), "name");
        rc = *data ? data_tokenizer_open(cli->home, data, &t, &err)
                   : err_set(&err, ERR_INVALID, "%s is an imported curve: there is no model", run_text(run, "name"));
        if (rc == 0)
            rc = is_job ? wait_and_print(cli, client, run_text(run, "id"), t, &err)
                        : sample_queued(cli, client, t, n, &err);
    }
    tokenizer_close(t);
    cJSON_Delete(run);
    return rc ? cli_fail(cli, &err) : status;
}

static int run(struct cli *cli)
{
    struct err err = {0};
    struct numbers numbers;
    bool now = args_flag(&cli->args, "--now"), may_be_job = !now && name_looks_like_id(cli->args.positional[0]);
    if (now && args_flag(&cli->args, "--detach"))
        return cli_usage(cli, "--now and --detach exclude each other");
    if (!may_be_job && !args_value(&cli->args, "--prompt"))
        return cli_usage(cli, "--prompt TEXT is needed");
    if (read_numbers(cli, &numbers, &err))
        return cli_usage_err(cli, &err);
    if (!now)
        return sample(cli, &numbers);
    return sample_here(cli, &numbers, &err) ? cli_fail(cli, &err) : CLI_DONE;
}

static const struct args_option options[] = {
    {"--prompt", 0, "TEXT", "what the model goes on with (needed)", false},
    {"--tokens", 0, "N", "how many tokens at most (default: 200)", false},
    {"--temperature", 0, "T", "below 1 bolder for the likely, 0 the likeliest (default: 1)", false},
    {"--top-k", 0, "K", "only the K likeliest tokens; 0: all (default: 0)", false},
    {"--top-p", 0, "P", "only the likeliest that have the share P together (default: 1)", false},
    {"--seed", 0, "N", "equal seeds give equal texts (default: 0)", false},
    {"--cpu", 0, NULL, "on the CPU in fp32, whatever the run was trained on", false},
    {"--detach", 0, NULL, "queue it, print its id and do not wait", false},
    {"--now", 0, NULL, "at once and here, outside the queue and recorded nowhere", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_sample = {
    .name = "sample",
    .path = "sample",
    .arguments = "RUN --prompt TEXT [--tokens N] [--temperature T] [--top-k K] [--top-p P] [--seed N] [--cpu] "
                 "[--detach|--now] [--json] | JOB [--json]",
    .summary = "let a run's model go on with a text",
    .help = "Queues a job of kind sample, before training runs that wait, and prints what the\n"
            "model writes as it comes, until the tokenizer's end-of-text token. It takes the\n"
            "run's newest good checkpoint when it starts, and the tokenizer of its data set.\n"
            "The ids stay in the job's run directory, attempts/N/sample: `bakactl sample JOB`\n"
            "prints the text of one that was left by Ctrl-C or queued with --detach. --now\n"
            "computes beside whatever the daemon runs, where no slot is free for long.\n"
            "\n"
            "Keys and values of the text so far are kept; one that has filled the window of\n"
            "train.seq_len tokens is read again from its newest half. With --json:\n"
            "{\"prompt\",\"text\",\"ids\"} at the end.\n"
            "\n"
            "Examples:\n"
            "  bakactl sample elephant --prompt 'In the beginning'\n"
            "  bakactl sample elephant --prompt 'And' --temperature 0.7 --top-p 0.9 --seed 3\n",
    .options = options,
    .min_positional = 1,
    .max_positional = 1,
    .positional_is = "run's id or name",
    .run = run,
};
