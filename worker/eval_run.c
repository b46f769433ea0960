/* eval_run.c: see eval_run.h. */
#include "worker/eval_run.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/json.h"
#include "text/token_file.h"
#include "worker/arguments.h"
#include "worker/evaluate.h"
#include "worker/loaded_run.h"

static int check_data(const struct arguments *a, const struct loaded_run *r, const struct token_file *data,
                      struct order_windows *w, struct err *err)
{
    *w = evaluate_windows(&r->spec, &r->plan, a->split, a->stride ? a->stride : r->spec.train.seq_len);
    if (data->header.vocab > (uint64_t)r->plan.vocab)
        return err_set(err, ERR_INVALID, "data set '%s' has a vocabulary of %" PRIu64 ", the model one of %" PRId64,
                       a->data, data->header.vocab, r->plan.vocab);
    if (w->stride > w->seq_len)
        return err_set(err, ERR_INVALID, "a stride of %" PRId64 " leaves out text: at most train.seq_len, %" PRId64,
                       w->stride, w->seq_len);
    if (w->stride < w->seq_len && spec_has_memory(&r->spec))
        return err_set(err, ERR_INVALID,
                       "a stride of %" PRId64 ": with %s each window follows the one before, in train.seq_len",
                       w->stride, spec_memory_field(&r->spec));
    if (order_eval_steps(data, w) == 0)
        return err_set(err, ERR_INVALID, "data set '%s' has no such split to evaluate on", a->data);
    struct err inner;
    int rc = token_file_verify(data, &inner); /* the kernels rely on ids below the vocabulary */
    return rc ? err_set(err, inner.code, "data set '%s': %.500s", a->data, inner.message) : 0;
}

static int evaluate(const struct loaded_run *r, const struct token_file *data, const struct order_windows *w,
                    struct evaluation *found, struct err *err)
{
    size_t n = (size_t)(w->batch * w->seq_len);
    struct order_batch room = {.inputs = calloc(n, sizeof *room.inputs),
                               .targets = calloc(n, sizeof *room.targets),
                               .first = calloc(n, sizeof *room.first)};
    const struct evaluated model = {r->model, &r->spec, &r->plan, checkpoint_get_state(r->checkpoint)->step};
    int rc = room.inputs && room.targets && room.first
                 ? evaluate_split(&model, data, w, &room, found, err)
                 : err_set(err, ERR_NO_MEMORY, "no memory for a batch of %zu tokens", n);
    free(room.inputs);
    free(room.targets);
    free(room.first);
    return rc;
}

static void add_known(cJSON *o, const char *key, double value)
{
    if (isnan(value))
        cJSON_AddNullToObject(o, key);
    else
        json_add_double(o, key, value);
}

static void print(const struct arguments *a, const struct loaded_run *r, const struct order_windows *w,
                  const struct evaluation *found, FILE *out)
{
    cJSON *o = cJSON_CreateObject();
    char windowing[48] = "disjoint";
    if (w->stride < w->seq_len)
        snprintf(windowing, sizeof windowing, "sliding:%" PRId64, w->stride);
    cJSON_AddStringToObject(o, "checkpoint", checkpoint_get_path(r->checkpoint));
    json_add_int64(o, "step", checkpoint_get_state(r->checkpoint)->step);
    cJSON_AddStringToObject(o, "data", a->data);
    cJSON_AddStringToObject(o, "split", a->split == SPLIT_TRAIN ? "train" : "val");
    cJSON_AddStringToObject(o, "windowing", windowing);
    json_add_int64(o, "seq_len", w->seq_len);
    json_add_int64(o, "predictions", found->predictions);
    json_add_double(o, "loss", found->loss);
    json_add_double(o, "perplexity", exp(found->loss));
    add_known(o, "bits_per_byte", found->bits_per_byte);
    add_known(o, "word_perplexity", found->word_perplexity);
    if (found->words)
        json_add_int64(o, "words", (int64_t)found->words);
    else
        cJSON_AddNullToObject(o, "words");
    char *text = json_print(o, false);
    fprintf(out, "%s\n", text);
    free(text);
    cJSON_Delete(o);
}

int eval_run(const struct arguments *a, FILE *out, struct err *err)
{
    struct loaded_run r = {0};
    struct token_file data;
    struct order_windows windows;
    struct evaluation found;
    int rc = token_file_open(a->home, a->data, &data, err);
    if (rc != 0)
        return rc;
    rc = loaded_run_open(&r, a->home, a->run_dir, LOADED_TO_EVALUATE, a->on_cpu, a->threads, err);
    if (rc == 0)
        rc = check_data(a, &r, &data, &windows, err);
    if (rc == 0)
        rc = evaluate(&r, &data, &windows, &found, err);
    if (rc == 0)
        print(a, &r, &windows, &found, out);
    loaded_run_close(&r);
    token_file_close(&data);
    return rc;
}
