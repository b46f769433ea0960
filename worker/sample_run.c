/* sample_run.c: see sample_run.h. */
#include "worker/sample_run.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include "base/err.h"
#include "schema/job.h"
#include "worker/arguments.h"
#include "worker/loaded_run.h"
#include "worker/model.h"
#include "worker/sampler.h"

struct text {
    int32_t *ids;
    int64_t count, capacity;
};

static void text_add(struct text *t, int32_t id)
{
    if (t->count == t->capacity) {
        t->capacity = t->capacity ? 2 * t->capacity : 1024;
        t->ids = realloc(t->ids, (size_t)t->capacity * sizeof *t->ids);
        if (!t->ids)
            abort();
    }
    t->ids[t->count++] = id;
}

static int read_prompt(FILE *in, struct text *t, struct err *err)
{
    long long id;
    int n;
    while ((n = fscanf(in, "%lld", &id)) == 1) {
        if (id < 0 || id > INT32_MAX)
            return err_set(err, ERR_INVALID, "the prompt's id %lld is none", id);
        text_add(t, (int32_t)id);
    }
    if (n != EOF || ferror(in))
        return err_set(err, ERR_INVALID, "the prompt's ids, one a line, are expected on standard input");
    return t->count ? 0 : err_set(err, ERR_INVALID, "a prompt of at least one token is needed");
}

/* Reads the text's newest positions anew; returns how many. */
static int64_t read_tail(struct model *m, const struct text *t, int64_t most, float *logits, int *rc, struct err *err)
{
    int64_t n = t->count < most ? t->count : most;
    *rc = model_read(m, t->ids + t->count - n, n, logits, err);
    return n;
}

static int generate(const struct job *job, const struct loaded_run *r, struct text *t, const struct sample_out *out,
                    float *logits, int32_t *order, struct err *err)
{
    struct sampler s = {.temperature = job->temperature, .top_k = job->top_k, .top_p = job->top_p};
    int64_t window = r->spec.train.seq_len, half = window / 2 > 0 ? window / 2 : 1;
    int64_t known = job->vocab > 0 && job->vocab < r->plan.vocab ? job->vocab : r->plan.vocab;
    int rc;
    philox_init(&s.random, (uint64_t)job->seed, "sample", "");
    int64_t past = read_tail(r->model, t, window, logits, &rc, err);
    for (int64_t i = 0; i < job->tokens && rc == 0; i++) {
        int32_t id;
        rc = sampler_pick(&s, logits, known, order, &id, err);
        if (rc == 0)
            rc = out->take(out->arg, id, err);
        if (rc != 0 || id == job->stop || i + 1 == job->tokens || (out->stopped && out->stopped()))
            break;
        text_add(t, id);
        if (past == window) {
            past = read_tail(r->model, t, half, logits, &rc, err);
        } else {
            rc = model_read_next(r->model, id, logits, err);
            past++;
        }
    }
    return rc;
}

int sample_generate(const struct job *job, const struct loaded_run *r, const int32_t *ids, int64_t count,
                    const struct sample_out *out, struct err *err)
{
    struct text t = {0};
    float *logits = malloc((size_t)r->plan.vocab * sizeof *logits);
    int32_t *order = malloc((size_t)r->plan.vocab * sizeof *order);
    int rc = logits && order ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for the logits");
    for (int64_t i = 0; i < count && rc == 0; i++) {
        if (ids[i] < 0 || ids[i] >= r->plan.vocab)
            rc = err_set_at(err, ERR_INVALID, "ids", "the prompt's id %d is outside the model's vocabulary of %" PRId64,
                            (int)ids[i], r->plan.vocab);
        else
            text_add(&t, ids[i]);
    }
    if (rc == 0)
        rc = generate(job, r, &t, out, logits, order, err);
    free(order);
    free(logits);
    free(t.ids);
    return rc;
}

static int print_id(void *arg, int32_t id, struct err *err)
{
    FILE *out = arg;
    fprintf(out, "%d\n", (int)id);
    return fflush(out) == 0 ? 0 : err_set_errno(err, errno, "cannot write to standard output");
}

int sample_run(const struct arguments *a, FILE *in, FILE *out, struct err *err)
{
    const struct loaded_from from = {
        .home = a->home, .spec_dir = a->run_dir, .run_dir = a->run_dir, .threads = a->threads};
    struct loaded_run r = {0};
    struct text prompt = {0};
    int rc = loaded_run_open(&r, &from, &a->job, err);
    if (rc == 0)
        rc = read_prompt(in, &prompt, err);
    if (rc == 0)
        rc = sample_generate(&a->job, &r, prompt.ids, prompt.count, &(struct sample_out){print_id, NULL, out}, err);
    free(prompt.ids);
    loaded_run_close(&r);
    return rc;
}
