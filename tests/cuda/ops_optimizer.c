/* ops_optimizer.c: cases of the gradient's norm, AdamW and the copies of parameters, over several tensors at once. */
#include "tests/cuda/ops.h"

#include <math.h>
#include <stdio.h>

/* A tensor takes five slots: parameter, gradient, moments, copy. */
enum { TENSORS = 6, FIELDS = 5, PARAM = 0, GRAD, M, V, COPY, NORM = TENSORS * FIELDS, UPDATES };

static struct optimizer_tensor *list_of(const struct ops_case *c, void *const *p, void *keep)
{
    struct optimizer_tensor *list = keep;
    _Static_assert(TENSORS * sizeof(struct optimizer_tensor) <= OPS_KEEP, "the list fits");
    for (int i = 0; i < c->shape.chunk; i++) {
        void *const *t = p + i * FIELDS;
        list[i] = (struct optimizer_tensor){.param = t[PARAM],
                                            .grad = t[GRAD],
                                            .m = t[M],
                                            .v = t[V],
                                            .copy = t[COPY],
                                            .n = c->tensor[i * FIELDS + GRAD].role != OPS_ABSENT
                                                     ? c->tensor[i * FIELDS + GRAD].n
                                                     : c->tensor[i * FIELDS + PARAM].n,
                                            .decay = i % 2 == 0};
    }
    return list;
}

static void call_norm(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    b->ops->grad_norm(
        b, &(struct grad_norm_args){.tensors = list_of(c, p, keep), .count = (int)c->shape.chunk, .norm = p[NORM]});
}

/* As a step has it: the norm, then the update that reads it. */
static void call_update(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    call_norm(c, b, p, keep);
    b->ops->adamw(b, &(struct adamw_args){.tensors = keep,
                                          .count = (int)c->shape.chunk,
                                          .norm = p[NORM],
                                          .updates = p[UPDATES],
                                          .clip = c->shape.clip,
                                          .beta1 = 0.9,
                                          .beta2 = 0.95,
                                          .eps = 1e-8,
                                          .weight_decay = 0.1,
                                          .lr_factor = c->shape.two ? 1 : 0.25});
}

static void call_copy(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    b->ops->copy_parameters(
        b, &(struct copy_parameters_args){.tensors = list_of(c, p, keep), .count = (int)c->shape.chunk});
}

static const int64_t *sizes_of(const struct ops_case *c)
{
    static const int64_t small[TENSORS] = {1, 3, 130, 64, 7, 257}, large[TENSORS] = {1, 3, 70001, 8192, 300000, 8193};
    return c->shape.rows ? large : small;
}

static const char *const names[FIELDS][TENSORS] = {
    {"param[0]", "param[1]", "param[2]", "param[3]", "param[4]", "param[5]"},
    {"grad[0]", "grad[1]", "grad[2]", "grad[3]", "grad[4]", "grad[5]"},
    {"m[0]", "m[1]", "m[2]", "m[3]", "m[4]", "m[5]"},
    {"v[0]", "v[1]", "v[2]", "v[3]", "v[4]", "v[5]"},
    {"copy[0]", "copy[1]", "copy[2]", "copy[3]", "copy[4]", "copy[5]"},
};

static void add_copy(struct ops_case *c, struct ops_draw *d, int i, int64_t n, bool stale)
{
    if (c->storage != DTYPE_BF16)
        return;
    int slot = i * FIELDS + COPY;
    ops_changed(c, d, slot, names[COPY][i], OPS_STORAGE, n, 1);
    c->tensor[slot].copy_of = i * FIELDS + PARAM + 1;
    for (int64_t j = 0; !stale && j < n; j++)
        ops_set(c, slot, j, c->tensor[i * FIELDS + PARAM].values[j]);
}

static void make_norm(struct ops_case *c, struct ops_draw *d)
{
    c->operator_name = "grad_norm";
    snprintf(c->name, sizeof c->name, "grad_norm of %lld tensors%s%s", (long long)c->shape.chunk,
             c->shape.rows ? ", large" : "", c->shape.extreme ? ", huge numbers" : "");
    for (int i = 0; i < c->shape.chunk; i++) /* squares beyond fp32: the sum is in double */
        ops_in(c, d, i * FIELDS + GRAD, names[GRAD][i], OPS_WIDE, sizes_of(c)[i], c->shape.extreme ? 1e25 : 0.1);
    ops_out(c, NORM, "norm", OPS_DOUBLE, 1);
    c->call = call_norm;
}

/* extreme: one gradient is not a number, or infinite; nothing may change. */
static void make_update(struct ops_case *c, struct ops_draw *d)
{
    const struct ops_shape *s = &c->shape;
    c->operator_name = "adamw";
    snprintf(c->name, sizeof c->name, "adamw of %lld tensors%s, update %lld, clip %g%s", (long long)s->chunk,
             s->rows ? ", large" : "", (long long)s->updates + 1, s->clip,
             !s->extreme ? ""
             : s->two    ? ", a NaN"
                         : ", an infinity");
    for (int i = 0; i < s->chunk; i++) {
        int64_t n = sizes_of(c)[i];
        ops_changed(c, d, i * FIELDS + PARAM, names[PARAM][i], OPS_WIDE, n, 0.5);
        ops_in(c, d, i * FIELDS + GRAD, names[GRAD][i], OPS_WIDE, n, 0.1);
        ops_changed(c, d, i * FIELDS + M, names[M][i], OPS_WIDE, n, s->updates ? 0.1 : 0);
        ops_changed(c, d, i * FIELDS + V, names[V][i], OPS_WIDE, n, s->updates ? 0.1 : 0);
        for (int64_t j = 0; j < n; j++)
            ops_set(c, i * FIELDS + V, j, fabs(c->tensor[i * FIELDS + V].values[j]));
        add_copy(c, d, i, n, false);
    }
    if (s->extreme)
        ops_set(c, (int)(s->chunk - 1) * FIELDS + GRAD, sizes_of(c)[s->chunk - 1] - 1, s->two ? NAN : INFINITY);
    ops_out(c, NORM, "norm", OPS_DOUBLE, 1);
    ops_changed(c, d, UPDATES, "updates", OPS_COUNT, 1, 0);
    ops_set(c, UPDATES, 0, (double)s->updates);
    c->step.lr = 3e-3;
    c->only_in_step = true;
    c->call = call_update;
}

static void make_copy(struct ops_case *c, struct ops_draw *d)
{
    c->operator_name = "copy_parameters";
    snprintf(c->name, sizeof c->name, "copy_parameters of %lld tensors%s", (long long)c->shape.chunk,
             c->shape.rows ? ", large" : "");
    for (int i = 0; i < c->shape.chunk; i++) {
        int64_t n = sizes_of(c)[i];
        ops_in(c, d, i * FIELDS + PARAM, names[PARAM][i], OPS_WIDE, n, 1);
        if (n > 60) { /* halfway between two neighbours, both ways, and what rounds up to the next power */
            ops_set(c, i * FIELDS + PARAM, 50, (double)0x1.01p0f);
            ops_set(c, i * FIELDS + PARAM, 51, (double)0x1.03p0f);
            ops_set(c, i * FIELDS + PARAM, 52, (double)0x1.fffffep3f);
            ops_set(c, i * FIELDS + PARAM, 53, (double)-0x1.010002p0f);
        }
        add_copy(c, d, i, n, true);
    }
    c->call = call_copy;
}

void ops_each_optimizer(struct ops_visitor *v)
{
    for (int large = 0; large < (v->small ? 1 : 2); large++)
        for (int count = 1; count <= TENSORS; count += TENSORS - 1) {
            struct ops_shape s = {.rows = large, .chunk = count};
            ops_visit(v, make_norm, &s);
            s.extreme = true;
            ops_visit(v, make_norm, &s);
            s.extreme = false;
            ops_visit(v, make_copy, &s);
            for (int i = 0; i < 4; i++) {
                s.updates = i & 1 ? 41 : 0;
                s.clip = i & 2 ? 0.7 : 0;
                ops_visit(v, make_update, &s);
            }
            s.extreme = true;
            ops_visit(v, make_update, &s);
            s.two = true;
            ops_visit(v, make_update, &s);
        }
}
