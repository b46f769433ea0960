/* verb_sample.c: bakactl sample RUN --prompt TEXT: lets a run's model go on with a text. The worker knows ids only: the
 * prompt is encoded and the answer decoded here, by the tokenizer of the run's data set. */
#include "cli/verb.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli/data_tokenizer.h"
#include "cli/output.h"
#include "cli/run_folder.h"
#include "cli/worker_program.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

/* What comes from the worker, id by id. */
struct answer {
    struct token_texts texts;
    uint64_t vocab;
    int32_t end_of_text;
    int64_t id; /* of the line that is being read; -1: none yet */
    bool json;
    FILE *text; /* json: all of it */
    cJSON *ids;
};

static int take_id(struct answer *a, struct err *err)
{
    if (a->id < 0 || (uint64_t)a->id >= a->vocab)
        return err_set(err, ERR_INTERNAL, "baka-worker gave an id outside the vocabulary of %" PRIu64, a->vocab);
    size_t size = 0;
    const unsigned char *text = a->texts.text(a->texts.state, (int32_t)a->id, &size);
    if (a->id == a->end_of_text)
        size = 0;
    if (a->json)
        cJSON_AddItemToArray(a->ids, cJSON_CreateNumber((double)a->id));
    if (a->json)
        fwrite(text, 1, size, a->text);
    else if (output_is_terminal(stdout)) /* which a text must not drive */
        output_text(stdout, (const char *)text, size);
    else
        fwrite(text, 1, size, stdout);
    a->id = -1;
    return 0;
}

static int on_output(void *arg, const char *bytes, size_t size, struct err *err)
{
    struct answer *a = arg;
    int rc = 0;
    for (size_t i = 0; i < size && rc == 0; i++) {
        if (bytes[i] == '\n')
            rc = take_id(a, err);
        else if (bytes[i] < '0' || bytes[i] > '9' || a->id > INT32_MAX)
            rc = err_set(err, ERR_INTERNAL, "baka-worker gave something else than ids");
        else
            a->id = (a->id < 0 ? 0 : 10 * a->id) + (bytes[i] - '0');
    }
    fflush(stdout);
    return rc;
}

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

/* Bytes of the character at the beginning of a text; 0 where there is none that JSON could carry. */
static size_t character_size(const char *text, size_t size)
{
    for (size_t n = 1; n <= 4 && n <= size && text[0]; n++) {
        struct utf8_check check = {0};
        if (utf8_check_feed(&check, (const unsigned char *)text, n) && utf8_check_end(&check))
            return n;
    }
    return 0;
}

/* A model may write what is no UTF-8: U+FFFD in JSON, for each byte. */
static char *json_text(const char *text, size_t size)
{
    char *out = NULL;
    size_t out_size;
    FILE *f = open_memstream(&out, &out_size);
    if (!f)
        abort();
    for (size_t i = 0; i < size;) {
        size_t n = character_size(text + i, size - i);
        if (n)
            fwrite(text + i, 1, n, f);
        else
            fputs("\xef\xbf\xbd", f);
        i += n ? n : 1;
    }
    fclose(f);
    return out;
}

static void print_json(const char *prompt, struct answer *a, char **text, const size_t *size)
{
    fflush(a->text);
    char *valid = json_text(*text, *size);
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "prompt", prompt);
    cJSON_AddStringToObject(o, "text", valid);
    cJSON_AddItemToObject(o, "ids", a->ids);
    output_json(stdout, o);
    cJSON_Delete(o);
    free(valid);
}

static int generate(struct cli *cli, const struct run_folder *folder, struct tokenizer *t, struct numbers *n,
                    struct err *err)
{
    const char *prompt = args_value(&cli->args, "--prompt");
    const struct tokenizer_about *about = tokenizer_about(t);
    char *ids, *text = NULL;
    size_t size, text_size = 0;
    int rc = encode(t, prompt, &ids, &size, err);
    if (rc != 0) {
        free(ids);
        return rc;
    }
    struct answer a = {.texts = tokenizer_texts(t),
                       .vocab = about->vocab,
                       .end_of_text = about->end_of_text,
                       .id = -1,
                       .json = cli->json,
                       .text = open_memstream(&text, &text_size),
                       .ids = cJSON_CreateArray()};
    struct worker_program worker = {.arguments = {"--home", cli->home, "--run-dir", folder->path},
                                    .input = ids,
                                    .input_size = size,
                                    .on_output = on_output,
                                    .arg = &a};
    add_numbers(&worker, n, about);
    if (args_flag(&cli->args, "--cpu"))
        worker_program_add(&worker, "--on-cpu");
    rc = worker_program_run(&worker, err);
    if (rc == 0 && cli->json)
        print_json(prompt, &a, &text, &text_size);
    else
        cJSON_Delete(a.ids);
    if (rc == 0 && !cli->json)
        putchar('\n');
    fclose(a.text);
    free(text);
    free(ids);
    return rc;
}

static int run(struct cli *cli)
{
    struct err err = {0};
    struct numbers numbers;
    struct run_folder folder;
    struct tokenizer *t = NULL;
    if (!args_value(&cli->args, "--prompt"))
        return cli_usage(cli, "--prompt TEXT is needed");
    if (read_numbers(cli, &numbers, &err))
        return cli_usage_err(cli, &err);
    int rc = run_folder_find(cli, cli->args.positional[0], &folder, &err);
    if (rc == 0)
        rc = data_tokenizer_open(cli->home, folder.data, &t, &err);
    if (rc == 0)
        rc = generate(cli, &folder, t, &numbers, &err);
    tokenizer_close(t);
    return rc ? cli_fail(cli, &err) : CLI_DONE;
}

static const struct args_option options[] = {
    {"--prompt", 0, "TEXT", "what the model goes on with (needed)", false},
    {"--tokens", 0, "N", "how many tokens at most (default: 200)", false},
    {"--temperature", 0, "T", "below 1 bolder for the likely, 0 the likeliest (default: 1)", false},
    {"--top-k", 0, "K", "only the K likeliest tokens; 0: all (default: 0)", false},
    {"--top-p", 0, "P", "only the likeliest that have the share P together (default: 1)", false},
    {"--seed", 0, "N", "equal seeds give equal texts (default: 0)", false},
    {"--cpu", 0, NULL, "on the CPU in fp32, whatever the run was trained on", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_sample = {
    .name = "sample",
    .path = "sample",
    .arguments = "RUN --prompt TEXT [--tokens N] [--temperature T] [--top-k K] [--top-p P] [--seed N] [--cpu] [--json]",
    .summary = "let a run's model go on with a text",
    .help = "Takes the run's newest good checkpoint and the tokenizer of its data set, and\n"
            "prints what the model writes as it comes, until the tokenizer's end-of-text\n"
            "token. Keys and values of the text so far are kept; one that has filled the\n"
            "window of train.seq_len tokens is read again from its newest half. With --json:\n"
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
