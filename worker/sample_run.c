/* sample_run.c: see sample_run.h. */
#include "worker/sample_run.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include "base/err.h"
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

static int read_prompt(FILE *in, int64_t vocab, struct text *t, struct err *err)
{
    long long id;
    int n;
    while ((n = fscanf(in, "%lld", &id)) == 1) {
        if (id < 0 || id >= vocab)
            return err_set(err, ERR_INVALID, "the prompt's id %lld is outside the model's vocabulary of %" PRId64, id,
                           vocab);
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

static int generate(const struct arguments *a, struct loaded_run *r, struct text *t, FILE *out, float *logits,
                    int32_t *order, struct err *err)
{
    struct sampler s = {.temperature = a->temperature, .top_k = a->top_k, .top_p = a->top_p};
    int64_t window = r->spec.train.seq_len, half = window / 2 > 0 ? window / 2 : 1;
    int64_t known = a->vocab > 0 && a->vocab < r->plan.vocab ? a->vocab : r->plan.vocab;
    int rc;
    philox_init(&s.random, (uint64_t)a->seed, "sample", "");
    int64_t past = read_tail(r->model, t, window, logits, &rc, err);
    for (int i = 0; i < a->tokens && rc == 0; i++) {
        int32_t id;
        rc = sampler_pick(&s, logits, known, order, &id, err);
        if (rc != 0)
            break;
        fprintf(out, "%d\n", (int)id);
        if (fflush(out) != 0)
            return err_set_errno(err, errno, "cannot write to standard output");
        if (id == a->stop || i + 1 == a->tokens)
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

int sample_run(const struct arguments *a, FILE *in, FILE *out, struct err *err)
{
    struct loaded_run r = {0};
    struct text t = {0};
    float *logits = NULL;
    int32_t *order = NULL;
    int rc = loaded_run_open(&r, a->home, a->run_dir, LOADED_TO_READ, a->on_cpu, a->threads, err);
    if (rc == 0)
        rc = read_prompt(in, r.plan.vocab, &t, err);
    if (rc == 0) {
        logits = malloc((size_t)r.plan.vocab * sizeof *logits);
        order = malloc((size_t)r.plan.vocab * sizeof *order);
        rc = logits && order ? generate(a, &r, &t, out, logits, order, err)
                             : err_set(err, ERR_NO_MEMORY, "no memory for the logits");
    }
    free(order);
    free(logits);
    free(t.ids);
    loaded_run_close(&r);
    return rc;
}
