/* eval_run.c: see eval_run.h. */
#include "worker/eval_run.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "schema/job.h"
#include "worker/arguments.h"
#include "worker/loaded_run.h"

/* By the begin of tokenizer.json's SHA-256, where the run's own data set is still there to ask. */
static int check_tokenizer(const char *home, const struct spec *s, const char *name, const struct token_file *data,
                           struct err *err)
{
    struct token_file own;
    if (strcmp(s->data.name, name) == 0 || token_file_open(home, s->data.name, &own, NULL) != 0)
        return 0;
    bool same = strncmp(own.header.tokenizer, data->header.tokenizer, sizeof own.header.tokenizer) == 0;
    int rc = same ? 0
                  : err_set_at(err, ERR_INVALID, "data",
                               "data set '%s' was cut by another tokenizer (%.64s) than the run's '%s' (%.64s)", name,
                               data->header.tokenizer, s->data.name, own.header.tokenizer);
    token_file_close(&own);
    return rc;
}

static int check_data(const char *home, const struct job *job, const struct loaded_run *r,
                      const struct token_file *data, struct order_windows *w, struct err *err)
{
    *w = evaluate_windows(&r->spec, &r->plan, job->train_split ? SPLIT_TRAIN : SPLIT_VAL,
                          job->stride ? job->stride : r->spec.train.seq_len);
    if (data->header.vocab > (uint64_t)r->plan.vocab)
        return err_set_at(err, ERR_INVALID, "data",
                          "data set '%s' has a vocabulary of %" PRIu64 ", the model one of %" PRId64, job->data,
                          data->header.vocab, r->plan.vocab);
    int rc = check_tokenizer(home, &r->spec, job->data, data, err);
    if (rc != 0)
        return rc;
    if (order_eval_steps(data, w) == 0)
        return err_set_at(err, ERR_INVALID, "data", "data set '%s' has no such split to evaluate on", job->data);
    struct err inner;
    rc = token_file_verify(data, &inner);
    return rc ? err_set(err, inner.code, "data set '%s': %.500s", job->data, inner.message) : 0;
}

int eval_open_data(const char *home, const struct job *job, const struct loaded_run *r, struct token_file *data,
                   struct order_windows *windows, struct err *err)
{
    int rc = token_file_open(home, job->data, data, err);
    if (rc != 0)
        return rc;
    rc = check_data(home, job, r, data, windows, err);
    if (rc != 0)
        token_file_close(data);
    return rc;
}

int eval_compute(const struct loaded_run *r, const struct token_file *data, const struct order_windows *w,
                 bool (*stopped)(void), struct evaluation *found, struct err *err)
{
    size_t n = (size_t)(w->batch * w->seq_len);
    struct order_batch room = {.inputs = calloc(n, sizeof *room.inputs),
                               .targets = calloc(n, sizeof *room.targets),
                               .first = calloc(n, sizeof *room.first)};
    const struct evaluated model = {r->model, &r->spec, &r->plan, checkpoint_get_state(r->checkpoint)->step, stopped};
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

static void print(const struct job *job, const struct loaded_run *r, const struct order_windows *w,
                  const struct evaluation *found, FILE *out)
{
    cJSON *o = cJSON_CreateObject();
    char windowing[JOB_WINDOWING_SIZE];
    job_windowing_text(w->stride < w->seq_len ? w->stride : 0, windowing);
    cJSON_AddStringToObject(o, "checkpoint", checkpoint_get_path(r->checkpoint));
    json_add_int64(o, "step", checkpoint_get_state(r->checkpoint)->step);
    cJSON_AddStringToObject(o, "data", job->data);
    cJSON_AddStringToObject(o, "split", job->train_split ? "train" : "val");
    cJSON_AddStringToObject(o, "windowing", windowing);
    json_add_int64(o, "seq_len", w->seq_len);
    json_add_int64(o, "memory", r->plan.xl_eval_len);
    json_add_int64(o, "predictions", found->predictions);
    json_add_double(o, "loss", found->loss);
    json_add_double(o, "perplexity", exp(found->loss));
    add_known(o, "bits_per_byte", found->bits_per_byte);
    add_known(o, "word_perplexity", found->word_perplexity);
    char *text = json_print(o, false);
    fprintf(out, "%s\n", text);
    free(text);
    cJSON_Delete(o);
}

int eval_run(const struct arguments *a, FILE *out, struct err *err)
{
    const struct loaded_from from = {
        .home = a->home, .spec_dir = a->run_dir, .run_dir = a->run_dir, .threads = a->threads};
    struct loaded_run r = {0};
    struct token_file data;
    struct order_windows windows;
    struct evaluation found;
    int rc = loaded_run_open(&r, &from, &a->job, err);
    if (rc != 0)
        return rc;
    rc = eval_open_data(a->home, &a->job, &r, &data, &windows, err);
    if (rc == 0) {
        rc = eval_compute(&r, &data, &windows, NULL, &found, err);
        if (rc == 0)
            print(&a->job, &r, &windows, &found, out);
        token_file_close(&data);
    }
    loaded_run_close(&r);
    return rc;
}
