/* ops_dense.c: cases of embedding, norms, linear and feed-forward layers. Backward cases start from numbers of their
 * own, or from what the reference's forward leaves, so that an error shows in the operator that made it. */
#include "tests/cuda/ops.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define NAME(c, ...) snprintf((c)->name, sizeof(c)->name, __VA_ARGS__)

enum { EMBED_TOKENS, EMBED_TABLE, EMBED_OUT, EMBED_D_OUT, EMBED_D_TABLE };

static void call_embed_forward(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    const struct ops_shape *s = &c->shape;
    b->ops->embed_forward(b, &(struct embed_args){.rows = s->rows,
                                                  .dim = s->dim,
                                                  .vocab = s->vocab,
                                                  .tokens = p[EMBED_TOKENS],
                                                  .table = p[EMBED_TABLE],
                                                  .out = p[EMBED_OUT]});
}

static void call_embed_backward(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    const struct ops_shape *s = &c->shape;
    b->ops->embed_backward(b, &(struct embed_args){.rows = s->rows,
                                                   .dim = s->dim,
                                                   .vocab = s->vocab,
                                                   .tokens = p[EMBED_TOKENS],
                                                   .d_out = p[EMBED_D_OUT],
                                                   .d_table = p[EMBED_D_TABLE]});
}

static void make_embed(struct ops_case *c, struct ops_draw *d)
{
    const struct ops_shape *s = &c->shape;
    c->operator_name = s->gradient ? "embed_backward" : "embed_forward";
    NAME(c, "%s %lldx%lld of %lld", c->operator_name, (long long)s->rows, (long long)s->dim, (long long)s->vocab);
    ops_in(c, d, EMBED_TOKENS, "tokens", OPS_INT, s->rows, 0);
    /* Half of them fall on a few ids, as words do. */
    for (int64_t i = 0; i < s->rows; i++)
        ops_set(c, EMBED_TOKENS, i, (double)(ops_below(d, ops_below(d, 2) ? s->vocab : (s->vocab + 9) / 10)));
    if (s->gradient) {
        ops_in(c, d, EMBED_D_OUT, "d_out", OPS_STORAGE, s->rows * s->dim, 1);
        ops_changed(c, d, EMBED_D_TABLE, "d_table", OPS_WIDE, s->vocab * s->dim, 1);
        c->call = call_embed_backward;
        return;
    }
    ops_in(c, d, EMBED_TABLE, "table", OPS_STORAGE, s->vocab * s->dim, 1);
    ops_out(c, EMBED_OUT, "out", OPS_STORAGE, s->rows * s->dim);
    c->call = call_embed_forward;
}

enum {
    NORM_X,
    NORM_ADD0,
    NORM_ADD1,
    NORM_SUM,
    NORM_MEAN,
    NORM_RSTD,
    NORM_WEIGHT0,
    NORM_WEIGHT1,
    NORM_BIAS0,
    NORM_BIAS1,
    NORM_Y0,
    NORM_Y1,
    NORM_D_RESIDUAL,
    NORM_DX,
    NORM_D_WEIGHT0,
    NORM_D_WEIGHT1,
    NORM_D_BIAS0,
    NORM_D_BIAS1,
    NORM_D_ADD_BIAS0,
    NORM_D_ADD_BIAS1
};

static void call_norm_forward(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    const struct ops_shape *s = &c->shape;
    b->ops->norm_forward(b, &(struct norm_forward_args){.kind = s->norm,
                                                        .rows = s->rows,
                                                        .dim = s->dim,
                                                        .eps = 1e-5,
                                                        .x = p[NORM_X],
                                                        .add = {p[NORM_ADD0], p[NORM_ADD1]},
                                                        .sum = s->added ? p[NORM_SUM] : p[NORM_X],
                                                        .mean = p[NORM_MEAN],
                                                        .rstd = p[NORM_RSTD],
                                                        .weight = {p[NORM_WEIGHT0], p[NORM_WEIGHT1]},
                                                        .bias = {p[NORM_BIAS0], p[NORM_BIAS1]},
                                                        .y = {p[NORM_Y0], p[NORM_Y1]}});
}

/* accumulate: dx aliases d_residual. */
static void call_norm_backward(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    const struct ops_shape *s = &c->shape;
    b->ops->norm_backward(b, &(struct norm_backward_args){.kind = s->norm,
                                                          .rows = s->rows,
                                                          .dim = s->dim,
                                                          .sum = p[NORM_SUM],
                                                          .mean = p[NORM_MEAN],
                                                          .rstd = p[NORM_RSTD],
                                                          .weight = {p[NORM_WEIGHT0], p[NORM_WEIGHT1]},
                                                          .dy = {p[NORM_Y0], p[NORM_Y1]},
                                                          .d_residual = s->accumulate ? p[NORM_DX] : p[NORM_D_RESIDUAL],
                                                          .dx = p[NORM_DX],
                                                          .d_weight = {p[NORM_D_WEIGHT0], p[NORM_D_WEIGHT1]},
                                                          .d_bias = {p[NORM_D_BIAS0], p[NORM_D_BIAS1]},
                                                          .d_add_bias = {p[NORM_D_ADD_BIAS0], p[NORM_D_ADD_BIAS1]}});
}

static void make_norm_forward(struct ops_case *c, struct ops_draw *d)
{
    const struct ops_shape *s = &c->shape;
    int64_t n = s->rows * s->dim;
    c->operator_name = "norm_forward";
    NAME(c, "norm_forward %s %lldx%lld%s%s plus %d", s->norm == NORM_RMSNORM ? "rms" : "layer", (long long)s->rows,
         (long long)s->dim, s->two ? " two" : "", s->bias ? " bias" : "", s->added);
    ops_in(c, d, NORM_X, "x", OPS_STORAGE, n, 1);
    if (s->added > 0) {
        ops_in(c, d, NORM_ADD0, "add[0]", OPS_STORAGE, n, 1);
        ops_out(c, NORM_SUM, "sum", OPS_STORAGE, n);
    }
    if (s->added > 1)
        ops_in(c, d, NORM_ADD1, "add[1]", OPS_STORAGE, n, 1);
    if (s->norm == NORM_RMSNORM)
        ops_in(c, d, NORM_MEAN, "mean", OPS_WIDE, s->rows, 1); /* not touched */
    else
        ops_out(c, NORM_MEAN, "mean", OPS_WIDE, s->rows);
    ops_out(c, NORM_RSTD, "rstd", OPS_WIDE, s->rows);
    for (int i = 0; i < (s->two ? 2 : 1); i++) {
        ops_in(c, d, NORM_WEIGHT0 + i, i ? "weight[1]" : "weight[0]", OPS_STORAGE, s->dim, 1);
        if (s->bias)
            ops_in(c, d, NORM_BIAS0 + i, i ? "bias[1]" : "bias[0]", OPS_STORAGE, s->dim, 1);
        ops_out(c, NORM_Y0 + i, i ? "y[1]" : "y[0]", OPS_STORAGE, n);
    }
    c->call = call_norm_forward;
}

/* Statistics by their definition; each row has a mean and a size of its own. */
static void make_norm_backward(struct ops_case *c, struct ops_draw *d)
{
    const struct ops_shape *s = &c->shape;
    int64_t n = s->rows * s->dim;
    c->operator_name = "norm_backward";
    NAME(c, "norm_backward %s %lldx%lld%s%s%s%s", s->norm == NORM_RMSNORM ? "rms" : "layer", (long long)s->rows,
         (long long)s->dim, s->two ? " two" : "", s->bias ? " bias" : "", s->added ? " residual" : "",
         s->accumulate ? " aliased" : "");
    ops_in(c, d, NORM_SUM, "sum", OPS_STORAGE, n, 1);
    ops_in(c, d, NORM_MEAN, "mean", OPS_WIDE, s->rows, 1);
    ops_in(c, d, NORM_RSTD, "rstd", OPS_WIDE, s->rows, 1);
    for (int64_t r = 0; r < s->rows; r++) {
        double offset = ops_normal(d), size = ops_uniform(d, 0.5, 3), sum = 0, squares = 0;
        for (int64_t i = r * s->dim; i < (r + 1) * s->dim; i++) {
            ops_set(c, NORM_SUM, i, offset + size * c->tensor[NORM_SUM].values[i]);
            sum += c->tensor[NORM_SUM].values[i];
        }
        double mean = s->norm == NORM_RMSNORM ? 0 : sum / (double)s->dim;
        for (int64_t i = r * s->dim; i < (r + 1) * s->dim; i++)
            squares += pow(c->tensor[NORM_SUM].values[i] - mean, 2);
        ops_set(c, NORM_MEAN, r, mean);
        ops_set(c, NORM_RSTD, r, 1 / sqrt(squares / (double)s->dim + 1e-5));
    }
    if (s->accumulate)
        ops_changed(c, d, NORM_DX, "dx", OPS_STORAGE, n, 1);
    else
        ops_out(c, NORM_DX, "dx", OPS_STORAGE, n);
    if (s->added && !s->accumulate)
        ops_in(c, d, NORM_D_RESIDUAL, "d_residual", OPS_STORAGE, n, 1);
    for (int i = 0; i < (s->two ? 2 : 1); i++) {
        ops_in(c, d, NORM_WEIGHT0 + i, i ? "weight[1]" : "weight[0]", OPS_STORAGE, s->dim, 1);
        ops_in(c, d, NORM_Y0 + i, i ? "dy[1]" : "dy[0]", OPS_STORAGE, n, 1);
        ops_changed(c, d, NORM_D_WEIGHT0 + i, i ? "d_weight[1]" : "d_weight[0]", OPS_WIDE, s->dim, 1);
        if (s->bias)
            ops_changed(c, d, NORM_D_BIAS0 + i, i ? "d_bias[1]" : "d_bias[0]", OPS_WIDE, s->dim, 1);
    }
    for (int i = 0; i < s->added; i++)
        ops_changed(c, d, NORM_D_ADD_BIAS0 + i, i ? "d_add_bias[1]" : "d_add_bias[0]", OPS_WIDE, s->dim, 1);
    c->call = call_norm_backward;
}

enum { LINEAR_X, LINEAR_W, LINEAR_BIAS, LINEAR_Y, LINEAR_PRE, LINEAR_DX, LINEAR_D_W, LINEAR_D_BIAS };

static void call_linear_forward(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    const struct ops_shape *s = &c->shape;
    b->ops->linear_forward(b, &(struct linear_args){.rows = s->rows,
                                                    .in = s->dim,
                                                    .out = s->width,
                                                    .x = p[LINEAR_X],
                                                    .w = p[LINEAR_W],
                                                    .bias = p[LINEAR_BIAS],
                                                    .y = p[LINEAR_Y]});
}

static void call_linear_backward(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    const struct ops_shape *s = &c->shape;
    b->ops->linear_backward(b, &(struct linear_backward_args){.rows = s->rows,
                                                              .in = s->dim,
                                                              .out = s->width,
                                                              .x = p[LINEAR_X],
                                                              .w = p[LINEAR_W],
                                                              .dy = p[LINEAR_Y],
                                                              .dx = p[LINEAR_DX],
                                                              .dx_accumulate = s->accumulate,
                                                              .d_w = p[LINEAR_D_W],
                                                              .d_w_overwrite = !s->accumulate,
                                                              .d_bias = p[LINEAR_D_BIAS]});
}

static void gradients_of(struct ops_case *c, struct ops_draw *d, int64_t out)
{
    const struct ops_shape *s = &c->shape;
    double spread = sqrt((double)s->rows);
    if (s->accumulate)
        ops_changed(c, d, LINEAR_DX, "dx", OPS_STORAGE, s->rows * s->dim, 1);
    else
        ops_out(c, LINEAR_DX, "dx", OPS_STORAGE, s->rows * s->dim);
    if (s->accumulate)
        ops_changed(c, d, LINEAR_D_W, "d_w", OPS_WIDE, out * s->dim, spread);
    else
        ops_out(c, LINEAR_D_W, "d_w", OPS_WIDE, out * s->dim);
    if (s->bias)
        ops_changed(c, d, LINEAR_D_BIAS, "d_bias", OPS_WIDE, out, spread);
}

/* extreme: only the weights' gradient is asked for, dx is not. */
static void make_linear(struct ops_case *c, struct ops_draw *d)
{
    const struct ops_shape *s = &c->shape;
    c->operator_name = s->gradient ? "linear_backward" : "linear_forward";
    NAME(c, "%s %lldx%lld to %lld%s%s%s", c->operator_name, (long long)s->rows, (long long)s->dim, (long long)s->width,
         s->bias ? " bias" : "", s->accumulate ? " dx+=, d_w+=" : "", s->extreme ? " no dx" : "");
    ops_in(c, d, LINEAR_X, "x", OPS_STORAGE, s->rows * s->dim, 1);
    ops_in(c, d, LINEAR_W, "w", OPS_STORAGE, s->width * s->dim, 1 / sqrt((double)s->dim));
    if (!s->gradient) {
        if (s->bias)
            ops_in(c, d, LINEAR_BIAS, "bias", OPS_STORAGE, s->width, 1);
        ops_out(c, LINEAR_Y, "y", OPS_STORAGE, s->rows * s->width);
        c->call = call_linear_forward;
        return;
    }
    ops_in(c, d, LINEAR_Y, "dy", OPS_STORAGE, s->rows * s->width, 1);
    gradients_of(c, d, s->width);
    if (s->extreme)
        c->tensor[LINEAR_DX].role = OPS_ABSENT;
    c->call = call_linear_backward;
}

static struct ffn_up_args up_args(const struct ops_case *c, void *const *p)
{
    const struct ops_shape *s = &c->shape;
    return (struct ffn_up_args){.rows = s->rows,
                                .in = s->dim,
                                .width = s->width,
                                .act = s->act,
                                .gated = s->gated,
                                .x = p[LINEAR_X],
                                .w = p[LINEAR_W],
                                .bias = p[LINEAR_BIAS],
                                .pre = p[LINEAR_PRE],
                                .h = p[LINEAR_Y]};
}

static struct ffn_up_backward_args up_backward_args(const struct ops_case *c, void *const *p)
{
    const struct ops_shape *s = &c->shape;
    return (struct ffn_up_backward_args){.rows = s->rows,
                                         .in = s->dim,
                                         .width = s->width,
                                         .act = s->act,
                                         .gated = s->gated,
                                         .x = p[LINEAR_X],
                                         .w = p[LINEAR_W],
                                         .bias = p[LINEAR_BIAS],
                                         .pre = p[LINEAR_PRE],
                                         .dh = p[LINEAR_Y],
                                         .dx = p[LINEAR_DX],
                                         .dx_accumulate = s->accumulate,
                                         .d_w = p[LINEAR_D_W],
                                         .d_w_overwrite = !s->accumulate,
                                         .d_bias = p[LINEAR_D_BIAS]};
}

static void call_activation_forward(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    struct ffn_up_args a = up_args(c, p);
    b->ops->activation_forward(b, &a);
}

static void call_activation_backward(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    struct ffn_up_backward_args a = up_backward_args(c, p);
    b->ops->activation_backward(b, &a);
}

static void call_ffn_forward(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    struct ffn_up_args a = up_args(c, p);
    b->ops->ffn_up_forward(b, &a);
}

static void call_ffn_backward(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    struct ffn_up_backward_args a = up_backward_args(c, p);
    b->ops->ffn_up_backward(b, &a);
}

static void name_ffn(struct ops_case *c)
{
    const struct ops_shape *s = &c->shape;
    NAME(c, "%s %s(%g, %g) %lldx%lld to %lld%s%s%s%s", c->operator_name, ops_activation(s->act.kind), s->act.a,
         s->act.p, (long long)s->rows, (long long)s->dim, (long long)s->width, s->gated ? " gated" : "",
         s->bias ? " bias" : "", s->accumulate ? " dx+=, d_w+=" : "", s->extreme ? " extreme" : "");
}

/* extreme: numbers of any size, where a careless formula overflows or cancels. */
static void make_activation(struct ops_case *c, struct ops_draw *d)
{
    const struct ops_shape *s = &c->shape;
    int64_t n = s->rows * s->width, wide = s->gated ? 2 * n : n;
    c->operator_name = s->gradient ? "activation_backward" : "activation_forward";
    name_ffn(c);
    if (s->gradient)
        ops_changed(c, d, LINEAR_PRE, "pre", OPS_STORAGE, wide, 1.5);
    else
        ops_in(c, d, LINEAR_PRE, "pre", OPS_STORAGE, wide, 1.5);
    for (int64_t i = 0; s->extreme && i < wide; i++)
        ops_set(c, LINEAR_PRE, i, c->tensor[LINEAR_PRE].values[i] * pow(10, (double)(ops_below(d, 9) - 4)));
    if (s->gradient)
        ops_in(c, d, LINEAR_Y, "dh", OPS_STORAGE, n, 1);
    else
        ops_out(c, LINEAR_Y, "h", OPS_STORAGE, n);
    c->call = s->gradient ? call_activation_backward : call_activation_forward;
}

static void make_ffn(struct ops_case *c, struct ops_draw *d)
{
    const struct ops_shape *s = &c->shape;
    int64_t out = s->gated ? 2 * s->width : s->width;
    c->operator_name = s->gradient ? "ffn_up_backward" : "ffn_up_forward";
    name_ffn(c);
    ops_in(c, d, LINEAR_X, "x", OPS_STORAGE, s->rows * s->dim, 1);
    ops_in(c, d, LINEAR_W, "w", OPS_STORAGE, out * s->dim, 1.2 / sqrt((double)s->dim));
    if (s->bias)
        ops_in(c, d, LINEAR_BIAS, "bias", OPS_STORAGE, out, 0.5);
    if (s->gradient) {
        ops_changed(c, d, LINEAR_PRE, "pre", OPS_STORAGE, s->rows * out, 1.2);
        ops_in(c, d, LINEAR_Y, "dh", OPS_STORAGE, s->rows * s->width, 1);
        gradients_of(c, d, out);
        c->call = call_ffn_backward;
        return;
    }
    ops_out(c, LINEAR_PRE, "pre", OPS_STORAGE, s->rows * out);
    ops_out(c, LINEAR_Y, "h", OPS_STORAGE, s->rows * s->width);
    c->call = call_ffn_forward;
}

static void each_norm(struct ops_visitor *v, int64_t rows, int64_t dim)
{
    for (int i = 0; i < 12; i++) {
        if (v->small && i / 4 == 1)
            continue;
        struct ops_shape s = {.rows = rows, .dim = dim, .norm = i & 1 ? NORM_RMSNORM : NORM_LAYERNORM};
        s.two = i & 2;
        s.added = i / 4;
        s.bias = s.norm == NORM_LAYERNORM ? s.added != 1 : s.added == 1;
        ops_visit(v, make_norm_forward, &s);
        s.accumulate = s.added == 2;
        ops_visit(v, make_norm_backward, &s);
    }
}

static void each_linear(struct ops_visitor *v, int64_t rows, int64_t dim, int64_t width)
{
    for (int bias = 0; bias < 2; bias++) {
        struct ops_shape s = {.rows = rows, .dim = dim, .width = width, .bias = bias};
        ops_visit(v, make_linear, &s);
        s.gradient = true;
        s.accumulate = bias;
        ops_visit(v, make_linear, &s);
        s.accumulate = !bias;
        ops_visit(v, make_linear, &s);
        s.accumulate = false;
        s.extreme = true;
        ops_visit(v, make_linear, &s);
    }
}

static void each_ffn(struct ops_visitor *v, int64_t rows, int64_t dim, int64_t width)
{
    static const struct activation acts[] = {
        {ACT_GELU_ERF, 0, 0}, {ACT_GELU_TANH, 0, 0},  {ACT_RELU2, 0, 0},      {ACT_SILU, 0, 0},
        {ACT_ELEPHANT, 1, 8}, {ACT_ELEPHANT, 0.7, 4}, {ACT_ELEPHANT, 2, 2.5}, {ACT_ELEPHANT, 1, 1},
    };
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        for (int gated = 0; gated < 2 && !(v->small && i % 2); gated++) {
            struct ops_shape s = {.rows = rows, .dim = dim, .width = width, .act = acts[i], .gated = gated};
            for (int gradient = 0; gradient < 2; gradient++) {
                s.gradient = gradient;
                s.bias = (i + (size_t)gated) % 2;
                s.accumulate = gradient && gated;
                ops_visit(v, make_ffn, &s);
                s.bias = s.accumulate = false;
                ops_visit(v, make_activation, &s);
                if (v->small || acts[i].kind == ACT_RELU2) /* whose square leaves the format */
                    continue;
                s.extreme = true;
                ops_visit(v, make_activation, &s);
                s.extreme = false;
            }
        }
}

/* Large enough for the bias's gradient to be summed with the activation's pass. */
static void each_large_ffn(struct ops_visitor *v)
{
    static const struct activation acts[] = {{ACT_SILU, 0, 0}, {ACT_GELU_ERF, 0, 0}, {ACT_ELEPHANT, 1, 8}};
    for (int i = 0; i < 3; i++) {
        bool gated = acts[i].kind != ACT_GELU_ERF;
        struct ops_shape s = {.rows = 4100, .dim = 512, .width = gated ? 2408 : 4816, .act = acts[i]};
        s.gated = gated;
        s.bias = s.gradient = true;
        ops_visit(v, make_ffn, &s);
    }
}

void ops_each_dense(struct ops_visitor *v)
{
    static const int64_t tables[][3] = {{1, 1, 1}, {129, 33, 17}, {7, 64, 300}, {2048, 768, 50304}, {4099, 130, 5}};
    static const int64_t norms[][2] = {{3, 17},     {1, 3},    {129, 65},  {300, 128},
                                       {1024, 768}, {33, 769}, {8200, 64}, {5, 8192}};
    static const int64_t products[][3] = {{5, 17, 24},       {1, 1, 1},        {1, 17, 129},  {3, 1, 17},
                                          {17, 129, 3},      {129, 17, 1},     {129, 64, 65}, {2, 300, 3},
                                          {257, 48, 1100},   {64, 1100, 33},   {1, 768, 768}, {4097, 40, 8},
                                          {1024, 768, 2304}, {1536, 3072, 768}};
    static const int64_t layers[][3] = {{3, 17, 20}, {1, 3, 17}, {17, 1, 3}, {129, 33, 300}, {256, 128, 512}};
    bool small = v->small;
    for (size_t i = 0; i < (small ? 2 : sizeof tables / sizeof *tables); i++)
        for (int gradient = 0; gradient < 2; gradient++)
            ops_visit(v, make_embed,
                      &(struct ops_shape){
                          .rows = tables[i][0], .dim = tables[i][1], .vocab = tables[i][2], .gradient = gradient});
    for (size_t i = 0; i < (small ? 1 : sizeof norms / sizeof *norms); i++)
        each_norm(v, norms[i][0], norms[i][1]);
    for (size_t i = 0; i < (small ? 1 : sizeof products / sizeof *products); i++)
        each_linear(v, products[i][0], products[i][1], products[i][2]);
    for (size_t i = 0; i < (small ? 1 : sizeof layers / sizeof *layers); i++)
        each_ffn(v, layers[i][0], layers[i][1], layers[i][2]);
    if (!small)
        each_large_ffn(v);
}
