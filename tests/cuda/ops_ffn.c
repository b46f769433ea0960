/* ops_ffn.c: cases of the operators of single feed-forward layers: shaped elephants, gated units, look-ups in learned
 * keys and values. */
#include "tests/cuda/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME(c, ...) snprintf((c)->name, sizeof(c)->name, __VA_ARGS__)

enum { X, U, LOG_H, LOG_SIGMA, H, DH, D_LOG_H, D_LOG_SIGMA };

static void call_elephant(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    const struct ops_shape *s = &c->shape;
    const struct elephant_args a = {.rows = s->rows,
                                    .width = s->width,
                                    .a = s->act.a,
                                    .p = s->act.p,
                                    .log_h = p[LOG_H],
                                    .log_sigma = p[LOG_SIGMA],
                                    .x = p[X],
                                    .u = p[U],
                                    .h = p[H],
                                    .dh = p[DH],
                                    .d_log_h = p[D_LOG_H],
                                    .d_log_sigma = p[D_LOG_SIGMA]};
    if (s->gradient)
        b->ops->elephant_backward(b, &a);
    else
        b->ops->elephant_forward(b, &a);
}

/* What forward reads and backward turns into its gradient. */
static void add_operand(struct ops_case *c, struct ops_draw *d, int slot, const char *name, int64_t n, double scale)
{
    if (c->shape.gradient)
        ops_changed(c, d, slot, name, OPS_STORAGE, n, scale);
    else
        ops_in(c, d, slot, name, OPS_STORAGE, n, scale);
}

/* two: learned; extreme: numbers of any size. */
static void make_elephant(struct ops_case *c, struct ops_draw *d)
{
    const struct ops_shape *s = &c->shape;
    int64_t n = s->rows * s->width;
    c->operator_name = s->gradient ? "elephant_backward" : "elephant_forward";
    NAME(c, "%s (%g, %g) %lldx%lld%s%s%s", c->operator_name, s->act.a, s->act.p, (long long)s->rows,
         (long long)s->width, s->gated ? " gated" : "", s->two ? " learned" : "", s->extreme ? " extreme" : "");
    add_operand(c, d, X, "x", n, 1);
    for (int64_t i = 0; s->extreme && i < n; i++)
        ops_set(c, X, i, c->tensor[X].values[i] * pow(10, (double)(ops_below(d, 9) - 4)));
    if (s->gated)
        add_operand(c, d, U, "u", n, 1);
    if (s->two) {
        ops_in(c, d, LOG_H, "log_h", OPS_STORAGE, s->width, 0.5);
        ops_in(c, d, LOG_SIGMA, "log_sigma", OPS_STORAGE, s->width, 0.5);
    }
    c->call = call_elephant;
    if (!s->gradient) {
        ops_out(c, H, "h", OPS_STORAGE, n);
        return;
    }
    ops_in(c, d, DH, "dh", OPS_STORAGE, n, 1);
    if (s->two) {
        ops_changed(c, d, D_LOG_H, "d_log_h", OPS_WIDE, s->width, 1);
        ops_changed(c, d, D_LOG_SIGMA, "d_log_sigma", OPS_WIDE, s->width, 1);
    }
}

enum { Z, UNITS_H, UNITS_DH };

static void call_unit_gate(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    const struct ops_shape *s = &c->shape;
    const struct unit_gate_args a = {
        .rows = s->rows, .units = s->heads, .width = s->width, .z = p[Z], .h = p[UNITS_H], .dh = p[UNITS_DH]};
    if (s->gradient)
        b->ops->unit_gate_backward(b, &a);
    else
        b->ops->unit_gate_forward(b, &a);
}

/* heads: units. */
static void make_unit_gate(struct ops_case *c, struct ops_draw *d)
{
    const struct ops_shape *s = &c->shape;
    int64_t gates = s->rows * s->heads, n = gates * s->width;
    c->operator_name = s->gradient ? "unit_gate_backward" : "unit_gate_forward";
    NAME(c, "%s %lld rows, %lld units of %lld", c->operator_name, (long long)s->rows, (long long)s->heads,
         (long long)s->width);
    add_operand(c, d, Z, "z", gates, 2);
    if (s->gradient) {
        ops_in(c, d, UNITS_H, "h", OPS_STORAGE, n, 1);
        ops_changed(c, d, UNITS_DH, "dh", OPS_STORAGE, n, 1);
    } else {
        ops_changed(c, d, UNITS_H, "h", OPS_STORAGE, n, 1);
    }
    c->call = call_unit_gate;
}

enum { SUM_Z, SUM_O, SUM_Y, SUM_DY };

static void call_unit_sum(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    const struct ops_shape *s = &c->shape;
    const struct unit_sum_args a = {
        .units = s->heads, .n = s->rows * s->width, .z = p[SUM_Z], .o = p[SUM_O], .y = p[SUM_Y], .dy = p[SUM_DY]};
    if (s->gradient)
        b->ops->unit_sum_backward(b, &a);
    else
        b->ops->unit_sum_forward(b, &a);
}

static void make_unit_sum(struct ops_case *c, struct ops_draw *d)
{
    const struct ops_shape *s = &c->shape;
    int64_t n = s->rows * s->width;
    c->operator_name = s->gradient ? "unit_sum_backward" : "unit_sum_forward";
    NAME(c, "%s %lld units of %lldx%lld", c->operator_name, (long long)s->heads, (long long)s->rows,
         (long long)s->width);
    add_operand(c, d, SUM_Z, "z", s->heads * n, 2);
    add_operand(c, d, SUM_O, "o", s->heads * n, 1);
    if (s->gradient)
        ops_in(c, d, SUM_DY, "dy", OPS_STORAGE, n, 1);
    else
        ops_out(c, SUM_Y, "y", OPS_STORAGE, n);
    c->call = call_unit_sum;
}

enum { Q, K, V, OUT, LSE, D_OUT, DQ, D_K, D_V };

static struct lookup_args lookup_of(const struct ops_case *c, void *const *p)
{
    const struct ops_shape *s = &c->shape;
    return (struct lookup_args){.rows = s->rows,
                                .heads = s->heads,
                                .head_dim = s->head_dim,
                                .keys = s->keys,
                                .scale = 1 / sqrt((double)s->head_dim),
                                .q = p[Q],
                                .k = p[K],
                                .v = p[V],
                                .out = p[OUT],
                                .lse = p[LSE],
                                .d_out = p[D_OUT],
                                .dq = p[DQ],
                                .d_k = p[D_K],
                                .d_v = p[D_V]};
}

static void call_lookup_forward(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    const struct lookup_args a = lookup_of(c, p);
    b->ops->lookup_forward(b, &a);
}

static void call_lookup_backward(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    const struct lookup_args a = lookup_of(c, p);
    b->ops->lookup_backward(b, &a);
}

/* The backward starts from the reference's forward, rounded to storage. */
static void make_lookup(struct ops_case *c, struct ops_draw *d)
{
    const struct ops_shape *s = &c->shape;
    int64_t width = s->heads * s->head_dim;
    c->operator_name = "lookup_forward";
    NAME(c, "lookup_%s %lld rows in %lld keys, %lld heads of %lld", s->gradient ? "backward" : "forward",
         (long long)s->rows, (long long)s->keys, (long long)s->heads, (long long)s->head_dim);
    ops_in(c, d, Q, "q", OPS_STORAGE, s->rows * width, 1);
    ops_in(c, d, K, "k", OPS_STORAGE, s->keys * width, 1);
    ops_in(c, d, V, "v", OPS_STORAGE, s->keys * width, 1);
    ops_out(c, OUT, "out", OPS_STORAGE, s->rows * width);
    ops_out(c, LSE, "lse", OPS_WIDE, s->heads * s->rows);
    c->call = call_lookup_forward;
    if (!s->gradient)
        return;
    struct ops_result forward;
    ops_reference(c, &forward);
    static const int left[] = {OUT, LSE};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        struct ops_tensor *t = &c->tensor[left[i]];
        t->values = calloc((size_t)t->n, sizeof(double));
        t->role = OPS_IN;
        for (int64_t j = 0; j < t->n; j++)
            ops_set(c, left[i], j, forward.values[left[i]][j]);
    }
    ops_result_finish(&forward);
    ops_in(c, d, D_OUT, "d_out", OPS_STORAGE, s->rows * width, 1);
    ops_out(c, DQ, "dq", OPS_STORAGE, s->rows * width);
    ops_changed(c, d, D_K, "d_k", OPS_WIDE, s->keys * width, 1);
    ops_changed(c, d, D_V, "d_v", OPS_WIDE, s->keys * width, 1);
    c->operator_name = "lookup_backward";
    c->call = call_lookup_backward;
}

static void each_elephant(struct ops_visitor *v, int64_t rows, int64_t width)
{
    static const struct activation acts[] = {
        {ACT_ELEPHANT, 1, 8}, {ACT_ELEPHANT, 0.1, 4}, {ACT_ELEPHANT, 2, 2.5}, {ACT_ELEPHANT, 1, 1}};
    for (int i = 0; i < (v->small ? 4 : 32); i++)
        ops_visit(v, make_elephant,
                  &(struct ops_shape){.rows = rows,
                                      .width = width,
                                      .act = acts[i / 8],
                                      .gradient = i & 1,
                                      .gated = i & 2,
                                      .two = !(i & 4),
                                      .extreme = (i & 4) && i / 8 < 2});
}

void ops_each_ffn(struct ops_visitor *v)
{
    static const int64_t widths[][2] = {{3, 17}, {1, 1}, {129, 65}, {300, 128}, {700, 1032}, {4100, 264}};
    static const int64_t units[][3] = {{3, 2, 17}, {1, 1, 1}, {129, 3, 65}, {300, 4, 128}, {1000, 8, 384}};
    /* Keys that fill tiles and keys that do not, dimensions of each path, rows beyond one block and before its end. */
    static const int64_t lookups[][4] = {{5, 7, 2, 16},     {1, 1, 1, 1},        {3, 17, 3, 17},    {70, 64, 2, 64},
                                         {65, 128, 3, 32},  {200, 100, 2, 64},   {129, 192, 2, 80}, {130, 64, 1, 128},
                                         {64, 256, 1, 256}, {1024, 3840, 2, 64}, {33, 640, 4, 96},  {2048, 320, 2, 48}};
    for (size_t i = 0; i < (v->small ? 1 : sizeof widths / sizeof *widths); i++)
        each_elephant(v, widths[i][0], widths[i][1]);
    for (size_t i = 0; i < (v->small ? 1 : sizeof units / sizeof *units); i++)
        for (int gradient = 0; gradient < 2; gradient++) {
            struct ops_shape s = {
                .rows = units[i][0], .heads = units[i][1], .width = units[i][2], .gradient = gradient};
            ops_visit(v, make_unit_gate, &s);
            ops_visit(v, make_unit_sum, &s);
        }
    for (size_t i = 0; i < (v->small ? 1 : sizeof lookups / sizeof *lookups); i++)
        for (int gradient = 0; gradient < 2; gradient++)
            ops_visit(v, make_lookup,
                      &(struct ops_shape){.rows = lookups[i][0],
                                          .keys = lookups[i][1],
                                          .heads = lookups[i][2],
                                          .head_dim = lookups[i][3],
                                          .gradient = gradient});
}
