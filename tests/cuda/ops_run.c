/* ops_run.c: runs a case on a backend and judges what came back. */
#include "tests/cuda/ops.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "schema/plan.h"

enum { GAP = 256, REFERENCE_WORKSPACE = 128 << 20, UPLOAD_IN_STEP = 4 << 20, FEW = 64 };

/* Largest relative norm of the error that an operator may show; 0: exact. bf16 rounds an output to 8 bits (1.7e-3 in
 * the norm, 3.9e-3 where one element is nearly all of it); intermediate results that are bf16 too add theirs. */
static const struct {
    const char *operator_name;
    double fp32, bf16;
} tolerances[] = {
    {"embed_forward", 0, 0},
    {"embed_backward", 1e-5, 1e-5},
    {"norm_forward", 1e-5, 1e-2},
    {"norm_backward", 1e-5, 5e-3},
    {"linear_forward", 1e-5, 4e-3},
    {"linear_backward", 1e-5, 4e-3},
    {"activation_forward", 1e-5, 5e-3},
    {"activation_backward", 1e-5, 5e-3},
    {"ffn_up_forward", 1e-5, 1e-2},
    {"ffn_up_backward", 1e-5, 1e-2},
    {"elephant_forward", 1e-5, 5e-3},
    {"elephant_backward", 1e-5, 5e-3},
    {"unit_gate_forward", 1e-5, 5e-3},
    {"unit_gate_backward", 1e-5, 5e-3},
    {"unit_sum_forward", 1e-5, 5e-3},
    {"unit_sum_backward", 1e-5, 5e-3},
    {"lookup_forward", 1e-5, 1e-2},
    {"lookup_backward", 1e-5, 1e-2},
    {"attention_forward", 1e-5, 1e-2},
    {"attention_backward", 1e-5, 1e-2},
    {"remember", 0, 0},
    {"put_rows", 0, 0},
    {"take_rows", 1e-5, 4e-3},
    {"classifier", 1e-5, 1e-2},
    {"grad_squares", 1e-6, 1e-6},
    {"sgd", 1e-5, 1e-5},
    {"lion", 1e-3, 1e-3}, /* a sum near 0 may have another sign in fp32 */
    {"muon", 1e-5, 2e-2}, /* BF16: the iteration's products are */
    {"adalomo", 1e-5, 1e-5},
    {"adamw", 1e-5, 1e-5},
    {"copy_parameters", 0, 0},
    {"tied embeddings", 1e-5, 1e-2},
};

int ops_threads = 1;

static double tolerance_of(const struct ops_case *c)
{
    for (size_t i = 0; i < sizeof tolerances / sizeof *tolerances; i++)
        if (strcmp(tolerances[i].operator_name, c->operator_name) == 0)
            return c->storage == DTYPE_BF16 ? tolerances[i].bf16 : tolerances[i].fp32;
    fprintf(stderr, "test_ops: no tolerance is declared for %s\n", c->operator_name);
    abort();
}

/* A backend with the case's tensors in its arena. */
struct side {
    const struct ops_case *c;
    struct backend *b;
    unsigned char *arena, *before; /* device; host: what every run starts from */
    size_t at[OPS_TENSORS], size[OPS_TENSORS], bytes;
    void *p[OPS_TENSORS];
    void *keep;
};

static size_t element(enum dtype storage, enum ops_kind kind)
{
    switch (kind) {
    case OPS_STORAGE:
        return dtype_size(storage);
    case OPS_WIDE:
        return storage == DTYPE_F64 ? 8 : 4;
    case OPS_INT:
        return 4;
    case OPS_DOUBLE:
    case OPS_COUNT:
        return 8;
    }
    return 0;
}

static bool is_there(const struct ops_case *c, int t, enum dtype storage)
{
    return c->tensor[t].role != OPS_ABSENT && (storage == DTYPE_BF16 || !c->tensor[t].copy_of);
}

static void store(unsigned char *at, enum dtype storage, enum ops_kind kind, double value)
{
    float single = (float)value;
    int32_t integer = kind == OPS_INT ? (int32_t)value : 0;
    int64_t count = kind == OPS_COUNT ? (int64_t)value : 0;
    uint16_t half = ops_bf16(single);
    if (kind == OPS_INT)
        memcpy(at, &integer, sizeof integer);
    else if (kind == OPS_COUNT)
        memcpy(at, &count, sizeof count);
    else if (kind == OPS_DOUBLE || storage == DTYPE_F64)
        memcpy(at, &value, sizeof value);
    else if (kind == OPS_STORAGE && storage == DTYPE_BF16)
        memcpy(at, &half, sizeof half);
    else
        memcpy(at, &single, sizeof single);
}

static double load(const unsigned char *at, enum dtype storage, enum ops_kind kind)
{
    double value;
    float single;
    int32_t integer;
    int64_t count;
    uint16_t half;
    if (kind == OPS_INT) {
        memcpy(&integer, at, sizeof integer);
        return integer;
    }
    if (kind == OPS_COUNT) {
        memcpy(&count, at, sizeof count);
        return (double)count;
    }
    if (kind == OPS_DOUBLE || storage == DTYPE_F64) {
        memcpy(&value, at, sizeof value);
        return value;
    }
    if (kind == OPS_STORAGE && storage == DTYPE_BF16) {
        memcpy(&half, at, sizeof half);
        return (double)ops_from_bf16(half);
    }
    memcpy(&single, at, sizeof single);
    return (double)single;
}

/* Tensors at multiples of 256 as in a run, ids one further on as in a run's later micro-batches. */
static void lay_out(struct side *s, enum dtype storage)
{
    size_t end = GAP;
    for (int t = 0; t < OPS_TENSORS; t++) {
        if (!is_there(s->c, t, storage))
            continue;
        const struct ops_tensor *x = &s->c->tensor[t];
        s->at[t] = end + (x->kind == OPS_INT ? 4 : 0);
        s->size[t] = (size_t)x->n * element(storage, x->kind);
        end = (s->at[t] + s->size[t] + GAP - 1) / GAP * GAP + GAP;
    }
    s->bytes = end;
    s->before = malloc(end);
    s->keep = calloc(1, OPS_KEEP);
    if (!s->before || !s->keep)
        abort();
    memset(s->before, 0xFF, end); /* NaN in every floating type */
    for (int t = 0; t < OPS_TENSORS; t++) {
        const struct ops_tensor *x = &s->c->tensor[t];
        for (int64_t i = 0; s->size[t] && x->values && i < x->n; i++)
            store(s->before + s->at[t] + (size_t)i * element(storage, x->kind), storage, x->kind, x->values[i]);
    }
}

static int side_open(struct side *s, const struct ops_case *c, const char *backend, enum dtype storage, struct err *err)
{
    *s = (struct side){.c = c};
    struct backend_options options = {
        .storage = storage, .threads = ops_threads, .workspace_bytes = REFERENCE_WORKSPACE};
    if (strcmp(backend, "cuda") == 0) { /* exactly what a run's plan would give */
        const struct plan_device d = plan_device_cuda(dtype_size(storage));
        const struct ops_shape *h = &c->shape;
        uint64_t rows = (uint64_t)(h->rows ? h->rows : h->batch * h->seq), heads = (uint64_t)(h->heads ? h->heads : 1);
        uint64_t keys = 2 * (uint64_t)(h->keys * h->heads * h->head_dim);
        options.workspace_bytes = d.workspace_bytes + keys * d.workspace_key_bytes +
                                  rows * (d.workspace_row_bytes + heads * d.workspace_head_bytes);
        options.workspace_bytes = (options.workspace_bytes + GAP - 1) / GAP * GAP;
    }
    int rc = backend_open(backend, &options, &s->b, err);
    if (rc != 0)
        return rc;
    lay_out(s, storage);
    void *base;
    rc = s->b->ops->arena(s->b, s->bytes, &base, err);
    if (rc != 0)
        return rc;
    s->arena = base;
    for (int t = 0; t < OPS_TENSORS; t++)
        s->p[t] = s->size[t] ? s->arena + s->at[t] : NULL;
    return 0;
}

static void side_close(struct side *s)
{
    if (s->b)
        s->b->ops->close(s->b);
    free(s->before);
    free(s->keep);
}

static int run_outside(struct side *s, unsigned char *after, struct err *err)
{
    const struct backend_ops *ops = s->b->ops;
    ops->upload(s->b, s->arena, s->before, s->bytes);
    s->c->call(s->c, s->b, s->p, s->keep);
    ops->download(s->b, after, s->arena, s->bytes);
    return ops->sync(s->b, err);
}

/* Small cases send and fetch inside the step, as a run does with its tokens and results. */
static int run_step(struct side *s, unsigned char *after, struct err *err)
{
    const struct backend_ops *ops = s->b->ops;
    bool inside = s->bytes <= UPLOAD_IN_STEP;
    if (!inside) {
        ops->upload(s->b, s->arena, s->before, s->bytes);
        int rc = ops->sync(s->b, err);
        if (rc != 0)
            return rc;
    }
    ops->step_begin(s->b, &s->c->step);
    if (inside)
        ops->upload(s->b, s->arena, s->before, s->bytes);
    s->c->call(s->c, s->b, s->p, s->keep);
    if (inside)
        ops->download(s->b, after, s->arena, s->bytes);
    ops->step_end(s->b);
    int rc = ops->step_wait(s->b, err);
    if (inside || rc != 0)
        return rc;
    ops->download(s->b, after, s->arena, s->bytes);
    return ops->sync(s->b, err);
}

void ops_reference(const struct ops_case *c, struct ops_result *out)
{
    struct side s;
    struct err err = {0};
    unsigned char *after = NULL;
    *out = (struct ops_result){0};
    int rc = side_open(&s, c, "cpu-fp64", DTYPE_F64, &err);
    if (rc == 0) {
        after = malloc(s.bytes);
        rc = run_step(&s, after, &err);
    }
    if (rc != 0) {
        fprintf(stderr, "test_ops: the reference fails on %s: %s\n", c->name, err.message);
        exit(1);
    }
    for (int t = 0; t < OPS_TENSORS; t++) {
        const struct ops_tensor *x = &c->tensor[t];
        if (!s.size[t])
            continue;
        out->values[t] = calloc((size_t)x->n, sizeof(double));
        for (int64_t i = 0; i < x->n; i++)
            out->values[t][i] = load(after + s.at[t] + (size_t)i * element(DTYPE_F64, x->kind), DTYPE_F64, x->kind);
    }
    free(after);
    side_close(&s);
}

static void __attribute__((format(printf, 2, 3))) fail(struct ops_verdict *v, const char *format, ...)
{
    if (!v->ok)
        return;
    v->ok = false;
    va_list ap;
    va_start(ap, format);
    vsnprintf(v->text, sizeof v->text, format, ap);
    va_end(ap);
}

static void compare(const struct side *s, int t, const unsigned char *after, const double *want, struct ops_verdict *v)
{
    const struct ops_tensor *x = &s->c->tensor[t];
    enum dtype storage = s->b->storage;
    double difference = 0, size = 0, tolerance = tolerance_of(s->c);
    if (x->kind == OPS_COUNT)
        tolerance = 0;
    bool few = storage == DTYPE_BF16 && x->n < FEW && tolerance > 0;
    if (few && x->kind == OPS_STORAGE)
        tolerance = fmax(tolerance, 1e-2); /* rounding does not average out */
    const unsigned char *from = after + s->at[t];
    for (int64_t i = 0; i < x->n; i++) {
        double got = load(from + (size_t)i * element(storage, x->kind), storage, x->kind);
        if (isfinite(got) != isfinite(want[i])) {
            fail(v, "%s: first bad index %lld: %.9g, not %.9g", x->name, (long long)i, got, want[i]);
            return;
        }
        if (!isfinite(got))
            continue;
        difference += (got - want[i]) * (got - want[i]);
        size += want[i] * want[i];
    }
    /* And all of them may be sums that are near zero, of numbers of the size of 1; a loss has the error of two logits.
     */
    if (few)
        size = fmax(size, (x->kind == OPS_DOUBLE ? 1 : 0.25) * (double)x->n);
    double distance = sqrt(difference) / fmax(sqrt(size), 1e-30);
    if (distance > v->distance)
        v->distance = distance;
    if (tolerance > 0 && distance / tolerance > v->worst)
        v->worst = distance / tolerance;
    if (distance <= tolerance)
        return;
    double bound = 4 * tolerance * sqrt(size / (double)x->n);
    int64_t bad = -1, worst = 0, count = 0;
    double largest = -1, at_bad = 0;
    for (int64_t i = 0; i < x->n; i++) {
        double got = load(from + (size_t)i * element(storage, x->kind), storage, x->kind), d = fabs(got - want[i]);
        if (d > bound + 4 * tolerance * fabs(want[i])) {
            count++;
            if (bad < 0) {
                bad = i;
                at_bad = got;
            }
        }
        if (d > largest) {
            largest = d;
            worst = i;
        }
    }
    if (bad < 0) {
        bad = worst;
        at_bad = load(from + (size_t)bad * element(storage, x->kind), storage, x->kind);
    }
    fail(v, "%s: relative distance %.3g is over %.3g; first bad index %lld of %lld (%lld bad): %.9g, not %.9g", x->name,
         distance, tolerance, (long long)bad, (long long)x->n, (long long)count, at_bad, want[bad]);
}

static void check_copy(const struct side *s, int t, const unsigned char *after, struct ops_verdict *v)
{
    const struct ops_tensor *x = &s->c->tensor[t];
    const unsigned char *copy = after + s->at[t], *param = after + s->at[x->copy_of - 1];
    for (int64_t i = 0; i < x->n; i++) {
        uint16_t got;
        float wide;
        memcpy(&got, copy + 2 * i, sizeof got);
        memcpy(&wide, param + 4 * i, sizeof wide);
        if (got != ops_bf16(wide))
            fail(v, "%s: first bad index %lld: %.9g is not %.9g rounded", x->name, (long long)i,
                 (double)ops_from_bf16(got), (double)wide);
    }
}

static void judge(const struct side *s, const unsigned char *after, const struct ops_result *want, const char *mode,
                  struct ops_verdict *v)
{
    size_t end = 0;
    for (int t = 0; t <= OPS_TENSORS; t++) {
        bool last = t == OPS_TENSORS;
        if (!last && !s->size[t])
            continue;
        size_t next = last ? s->bytes : s->at[t];
        for (size_t i = end; i < next; i++)
            if (after[i] != 0xFF) {
                fail(v, "%s: written %zu bytes before the tensor %s, %zu behind the last", mode, next - i,
                     last ? "(end)" : s->c->tensor[t].name, i - end);
                return;
            }
        if (last)
            break;
        const struct ops_tensor *x = &s->c->tensor[t];
        end = s->at[t] + s->size[t];
        for (size_t i = s->at[t]; x->role == OPS_IN && i < end; i++)
            if (after[i] != s->before[i]) {
                fail(v, "%s: the input %s is changed at index %zu", mode, x->name,
                     (i - s->at[t]) / (s->size[t] / (size_t)x->n));
                return;
            }
        if (x->role == OPS_OUT || x->role == OPS_CHANGED) {
            if (x->copy_of)
                check_copy(s, t, after, v);
            else
                compare(s, t, after, want->values[t], v);
        }
    }
}

static void same_bits(const struct side *s, const unsigned char *a, const unsigned char *b, const char *mode,
                      struct ops_verdict *v)
{
    for (int t = 0; t < OPS_TENSORS; t++) {
        const struct ops_tensor *x = &s->c->tensor[t];
        size_t size = s->size[t] ? s->size[t] / (size_t)x->n : 0;
        for (size_t i = 0; x->role != OPS_SCRATCH && i < s->size[t]; i++)
            if (a[s->at[t] + i] != b[s->at[t] + i]) {
                fail(v, "%s: other bits than the first run in %s, first at index %zu", mode, x->name, i / size);
                return;
            }
    }
}

void ops_check(const struct ops_case *c, const char *backend, struct ops_verdict *out)
{
    static const char *const modes[] = {"outside a step", "outside, again", "in a step", "in a captured step",
                                        "in a replayed step"};
    enum { MODES = sizeof modes / sizeof *modes, OUTSIDE = 2 };
    struct side s;
    struct ops_result want;
    struct err err = {0};
    *out = (struct ops_verdict){.ok = true};
    ops_reference(c, &want);
    int rc = side_open(&s, c, backend, c->storage, &err);
    unsigned char *first = NULL, *after = NULL;
    if (rc != 0)
        fail(out, "open: %s", err.message);
    for (int mode = c->only_in_step ? OUTSIDE : 0; mode < MODES && out->ok; mode++) {
        after = after ? after : malloc(s.bytes);
        memset(after, 0xA5, s.bytes);
        rc = mode < OUTSIDE ? run_outside(&s, after, &err) : run_step(&s, after, &err);
        if (rc != 0) {
            fail(out, "%s: %s", modes[mode], err.message);
            break;
        }
        judge(&s, after, &want, modes[mode], out);
        if (first)
            same_bits(&s, after, first, modes[mode], out);
        else {
            first = after;
            after = NULL;
        }
    }
    free(first);
    free(after);
    ops_result_finish(&want);
    side_close(&s);
}
