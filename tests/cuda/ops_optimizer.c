/* ops_optimizer.c: cases of the gradient's norm, the optimizers and the copies of parameters, over several tensors at
 * once.
 */
#include "tests/cuda/ops.h"

#include <math.h>
#include <stdio.h>

/* A tensor takes five slots: parameter, gradient, moments, copy. */
enum { TENSORS = 6, FIELDS = 5, PARAM = 0, GRAD, M, V, COPY, NORM = TENSORS * FIELDS, UPDATES, SQUARES, SCRATCH };

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
    int count = (int)c->shape.chunk;
    b->ops->grad_squares(
        b, &(struct grad_squares_args){.tensors = list_of(c, p, keep), .count = count, .squares = p[SQUARES]});
    b->ops->norm_of_squares(b, &(struct norm_of_squares_args){.squares = p[SQUARES], .count = count, .norm = p[NORM]});
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

static void call_sgd(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    call_norm(c, b, p, keep);
    b->ops->sgd(b, &(struct sgd_args){.tensors = keep,
                                      .count = (int)c->shape.chunk,
                                      .norm = c->shape.gated ? NULL : p[NORM],
                                      .updates = p[UPDATES],
                                      .clip = c->shape.clip,
                                      .momentum = c->shape.accumulate ? 0.9 : 0,
                                      .weight_decay = 0.1});
}

static void call_lion(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    call_norm(c, b, p, keep);
    b->ops->lion(b, &(struct lion_args){.tensors = keep,
                                        .count = (int)c->shape.chunk,
                                        .norm = p[NORM],
                                        .updates = p[UPDATES],
                                        .clip = c->shape.clip,
                                        .beta1 = 0.9,
                                        .beta2 = 0.99,
                                        .weight_decay = 0.1});
}

/* rows, cols, parts of the matrices; the last of adalomo's is a vector. */
static const int64_t matrices[TENSORS][3] = {{5, 3, 1},    {24, 40, 1}, {96, 40, 3},
                                             {130, 17, 2}, {16, 16, 1}, {257, 1, 1}};

static void shape_list(const struct ops_case *c, struct optimizer_tensor *list)
{
    for (int i = 0; i < c->shape.chunk; i++) {
        list[i].rows = matrices[i][0];
        list[i].cols = matrices[i][1];
        list[i].parts = matrices[i][2];
    }
}

static void call_muon(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    call_norm(c, b, p, keep);
    shape_list(c, keep);
    b->ops->muon(b, &(struct muon_args){.tensors = keep,
                                        .count = (int)c->shape.chunk,
                                        .norm = p[NORM],
                                        .clip = c->shape.clip,
                                        .momentum = 0.95,
                                        .weight_decay = 0.1,
                                        .scratch = p[SCRATCH]});
}

static void call_adalomo(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    call_norm(c, b, p, keep);
    shape_list(c, keep);
    b->ops->adalomo(b, &(struct adalomo_args){.tensors = keep,
                                              .count = (int)c->shape.chunk,
                                              .norm = c->shape.gated ? NULL : p[NORM],
                                              .updates = p[UPDATES],
                                              .counts = !c->shape.gated,
                                              .clip = c->shape.clip,
                                              .weight_decay = 0.1});
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
    c->operator_name = "grad_squares";
    snprintf(c->name, sizeof c->name, "grad_squares of %lld tensors%s%s", (long long)c->shape.chunk,
             c->shape.rows ? ", large" : "", c->shape.extreme ? ", huge numbers" : "");
    for (int i = 0; i < c->shape.chunk; i++) /* squares beyond fp32: the sum is in double */
        ops_in(c, d, i * FIELDS + GRAD, names[GRAD][i], OPS_WIDE, sizes_of(c)[i], c->shape.extreme ? 1e25 : 0.1);
    ops_out(c, SQUARES, "squares", OPS_DOUBLE, c->shape.chunk);
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
    ops_out(c, SQUARES, "squares", OPS_DOUBLE, s->chunk);
    ops_out(c, NORM, "norm", OPS_DOUBLE, 1);
    ops_changed(c, d, UPDATES, "updates", OPS_COUNT, 1, 0);
    ops_set(c, UPDATES, 0, (double)s->updates);
    c->step.lr = 3e-3;
    c->only_in_step = true;
    c->call = call_update;
}

static void say_update(struct ops_case *c, const char *operator_name)
{
    const struct ops_shape *s = &c->shape;
    c->operator_name = operator_name;
    snprintf(c->name, sizeof c->name, "%s of %lld tensors%s%s%s, update %lld, clip %g%s", operator_name,
             (long long)s->chunk, s->rows ? ", large" : "", s->accumulate ? ", momentum" : "",
             s->gated ? ", no norm" : "", (long long)s->updates + 1, s->clip, s->extreme ? ", a NaN" : "");
}

/* Parameter, gradient and copy of tensor i; and what all updates have beside. */
static void add_parameter(struct ops_case *c, struct ops_draw *d, int i, int64_t n)
{
    ops_changed(c, d, i * FIELDS + PARAM, names[PARAM][i], OPS_WIDE, n, 0.5);
    ops_in(c, d, i * FIELDS + GRAD, names[GRAD][i], OPS_WIDE, n, 0.1);
    if (c->shape.extreme && i == c->shape.chunk - 1)
        ops_set(c, i * FIELDS + GRAD, n - 1, NAN);
    add_copy(c, d, i, n, false);
}

static void finish_update(struct ops_case *c, struct ops_draw *d, double lr)
{
    ops_out(c, SQUARES, "squares", OPS_DOUBLE, c->shape.chunk);
    ops_out(c, NORM, "norm", OPS_DOUBLE, 1);
    ops_changed(c, d, UPDATES, "updates", OPS_COUNT, 1, 0);
    ops_set(c, UPDATES, 0, (double)c->shape.updates);
    c->step.lr = lr;
    c->only_in_step = true;
}

static void add_moment(struct ops_case *c, struct ops_draw *d, int i, int field, int64_t n)
{
    ops_changed(c, d, i * FIELDS + field, names[field][i], OPS_WIDE, n, c->shape.updates ? 0.1 : 0);
}

static void make_sgd(struct ops_case *c, struct ops_draw *d)
{
    say_update(c, "sgd");
    for (int i = 0; i < c->shape.chunk; i++) {
        add_parameter(c, d, i, sizes_of(c)[i]);
        if (c->shape.accumulate)
            add_moment(c, d, i, M, sizes_of(c)[i]);
    }
    finish_update(c, d, 3e-2);
    c->call = call_sgd;
}

static void make_lion(struct ops_case *c, struct ops_draw *d)
{
    say_update(c, "lion");
    for (int i = 0; i < c->shape.chunk; i++) {
        add_parameter(c, d, i, sizes_of(c)[i]);
        add_moment(c, d, i, M, sizes_of(c)[i]);
    }
    finish_update(c, d, 3e-3);
    c->call = call_lion;
}

/* The scratch is poisoned: nothing may be read of it that was not written. */
static void make_muon(struct ops_case *c, struct ops_draw *d)
{
    say_update(c, "muon");
    for (int i = 0; i < c->shape.chunk; i++) {
        int64_t n = matrices[i][0] * matrices[i][1];
        add_parameter(c, d, i, n);
        add_moment(c, d, i, M, n);
    }
    ops_scratch(c, SCRATCH, "scratch", OPS_WIDE, 4 * 4096);
    finish_update(c, d, 0.3);
    c->call = call_muon;
}

static void make_adalomo(struct ops_case *c, struct ops_draw *d)
{
    say_update(c, "adalomo");
    for (int i = 0; i < c->shape.chunk; i++) {
        bool vector = matrices[i][1] == 1;
        add_parameter(c, d, i, matrices[i][0] * matrices[i][1]);
        add_moment(c, d, i, V, matrices[i][vector ? 0 : 1]);
        if (!vector)
            add_moment(c, d, i, M, matrices[i][0]);
        for (int field = M; field <= V; field++)
            for (int64_t j = 0; j < c->tensor[i * FIELDS + field].n; j++)
                ops_set(c, i * FIELDS + field, j, fabs(c->tensor[i * FIELDS + field].values[j]));
    }
    finish_update(c, d, 3e-2);
    c->call = call_adalomo;
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

/* Updates of each optimizer beside AdamW: first and later ones, clipped or not, with a norm that is none. */
static void each_update(struct ops_visitor *v, ops_make_fn *make, struct ops_shape s)
{
    for (int i = 0; i < 4; i++) {
        s.updates = i & 1 ? 41 : 0;
        s.clip = i & 2 ? 0.7 : 0;
        ops_visit(v, make, &s);
    }
    s.extreme = true;
    ops_visit(v, make, &s);
}

static void each_other(struct ops_visitor *v, int64_t large, int64_t count)
{
    struct ops_shape s = {.rows = large, .chunk = count};
    each_update(v, make_lion, s);
    each_update(v, make_sgd, s);
    s.accumulate = true;
    each_update(v, make_sgd, s);
    s.accumulate = false;
    s.gated = true; /* one tensor's update within the backward pass: no norm */
    ops_visit(v, make_sgd, &s);
    if (large)
        return; /* muon's and adalomo's matrices have one size */
    ops_visit(v, make_adalomo, &s);
    s.gated = false;
    each_update(v, make_adalomo, s);
    s.chunk = count > 1 ? count - 1 : 1; /* without the vector */
    each_update(v, make_muon, s);
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
            each_other(v, large, count);
        }
}
