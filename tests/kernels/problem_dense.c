/* problem_dense.c: embed, norm, linear, feed-forward and classifier as problems. */
#include "problem.h"

#include <stdio.h>
#include <stdlib.h>

/* A buffer for an input's gradient, as the operator expects to find it. */
static void *gradient_buffer(struct kernel_test *k, const struct problem *p, int input)
{
    return p->accumulated[input] ? kernel_test_fill(k, p->start, p->input_n[input])
                                 : kernel_test_poison(k, p->input_n[input]);
}

static void *put(struct kernel_test *k, const struct problem *p, int input)
{
    return kernel_test_put(k, p->input[input], p->input_n[input]);
}

static void get(struct kernel_test *k, const struct problem *p, int input, const void *from, double *const *gradient)
{
    kernel_test_get(k, from, p->input_n[input], gradient[input]);
}

static void run_embed(struct kernel_test *k, const struct problem *p, double *const *output, double *const *gradient)
{
    struct embed_args a = {
        .rows = p->shape.rows,
        .dim = p->shape.dim,
        .vocab = p->shape.vocab,
        .tokens = kernel_test_ints(k, p->ints, p->shape.rows),
        .table = put(k, p, 0),
        .out = kernel_test_poison(k, p->output_n[0]),
    };
    k->ops->embed_forward(k->backend, &a);
    kernel_test_get(k, a.out, p->output_n[0], output[0]);
    if (!gradient)
        return;
    a.d_out = kernel_test_put(k, p->weight[0], p->output_n[0]);
    a.d_table = gradient_buffer(k, p, 0);
    k->ops->embed_backward(k->backend, &a);
    get(k, p, 0, a.d_table, gradient);
}

void problem_embed(struct problem *p, struct draw *d)
{
    const struct problem_shape *s = &p->shape;
    snprintf(p->name, sizeof p->name, "embed %lldx%lld of %lld", (long long)s->rows, (long long)s->dim,
             (long long)s->vocab);
    problem_input(p, d, "table", s->vocab * s->dim, 1, true);
    problem_output(p, d, s->rows * s->dim);
    p->ints = calloc((size_t)s->rows, sizeof *p->ints);
    for (int64_t i = 0; i < s->rows; i++)
        p->ints[i] = (int32_t)draw_below(d, s->vocab);
    p->run = run_embed;
}

/* Rows of `input` + the row `input` + 2: a layer's output, its bias added already. */
static void *put_with_bias(struct kernel_test *k, const struct problem *p, int input)
{
    int64_t n = p->input_n[input], dim = p->input_n[input + 2];
    double *sum = calloc((size_t)n, sizeof *sum);
    for (int64_t i = 0; i < n; i++)
        sum[i] = p->input[input][i] + p->input[input + 2][i % dim];
    void *out = kernel_test_put(k, sum, n);
    free(sum);
    return out;
}

/* Inputs: x, add0, add1, the biases in both of them, weight0, bias0, weight1, bias1; outputs: y0, sum, y1. Without
 * `residual` nothing is added and no gradient comes in besides; with it, two terms and a gradient of the sum. */
static void run_norm(struct kernel_test *k, const struct problem *p, double *const *output, double *const *gradient)
{
    const struct problem_shape *s = &p->shape;
    int64_t n = s->rows * s->dim;
    int outputs = s->two ? 2 : 1;
    struct norm_forward_args f = {
        .kind = s->norm,
        .rows = s->rows,
        .dim = s->dim,
        .eps = 1e-5,
        .x = put(k, p, 0),
        .mean = kernel_test_poison(k, s->rows),
        .rstd = kernel_test_poison(k, s->rows),
    };
    f.sum = s->residual ? kernel_test_poison(k, n) : kernel_test_put(k, p->input[0], n);
    int next = 1;
    for (int i = 0; s->residual && i < 2; i++)
        f.add[i] = put_with_bias(k, p, next++);
    next += s->residual ? 2 : 0;
    for (int i = 0; i < outputs; i++) {
        f.weight[i] = put(k, p, next++);
        f.bias[i] = s->bias ? put(k, p, next++) : NULL;
        f.y[i] = kernel_test_poison(k, n);
    }
    k->ops->norm_forward(k->backend, &f);
    for (int i = 0; i < outputs; i++)
        kernel_test_get(k, f.y[i], n, output[i]);
    if (s->residual)
        kernel_test_get(k, f.sum, n, output[outputs]);
    if (!gradient)
        return;
    struct norm_backward_args b = {
        .kind = s->norm,
        .rows = s->rows,
        .dim = s->dim,
        .sum = f.sum,
        .mean = f.mean,
        .rstd = f.rstd,
        .dx = kernel_test_poison(k, n),
    };
    if (s->residual)
        b.d_residual = b.dx = kernel_test_put(k, p->weight[outputs], n); /* aliased, as the contract allows */
    for (int i = 0; s->residual && i < 2; i++)
        b.d_add_bias[i] = gradient_buffer(k, p, 3 + i);
    next = s->residual ? 5 : 1;
    for (int i = 0; i < outputs; i++) {
        b.weight[i] = f.weight[i];
        b.dy[i] = kernel_test_put(k, p->weight[i], n);
        b.d_weight[i] = gradient_buffer(k, p, next++);
        b.d_bias[i] = s->bias ? gradient_buffer(k, p, next++) : NULL;
    }
    k->ops->norm_backward(k->backend, &b);
    next = 0;
    for (int i = 0; i < (s->residual ? 3 : 1); i++)
        get(k, p, next++, b.dx, gradient);
    for (int i = 0; s->residual && i < 2; i++)
        get(k, p, next++, b.d_add_bias[i], gradient);
    for (int i = 0; i < outputs; i++) {
        get(k, p, next++, b.d_weight[i], gradient);
        if (s->bias)
            get(k, p, next++, b.d_bias[i], gradient);
    }
}

void problem_norm(struct problem *p, struct draw *d)
{
    const struct problem_shape *s = &p->shape;
    snprintf(p->name, sizeof p->name, "%s %lldx%lld%s%s%s", s->norm == NORM_LAYERNORM ? "layernorm" : "rmsnorm",
             (long long)s->rows, (long long)s->dim, s->two ? " two" : "", s->bias ? " bias" : "",
             s->residual ? " residual" : "");
    int64_t n = s->rows * s->dim;
    problem_input(p, d, "x", n, 1, false);
    if (s->residual) {
        problem_input(p, d, "add0", n, 1, false);
        problem_input(p, d, "add1", n, 1, false);
        problem_input(p, d, "add_bias0", s->dim, 1, true);
        problem_input(p, d, "add_bias1", s->dim, 1, true);
    }
    for (int i = 0; i < (s->two ? 2 : 1); i++) {
        problem_input(p, d, "weight", s->dim, 1, true);
        if (s->bias)
            problem_input(p, d, "bias", s->dim, 1, true);
        problem_output(p, d, n);
    }
    if (s->residual)
        problem_output(p, d, n);
    p->run = run_norm;
}

static void run_linear(struct kernel_test *k, const struct problem *p, double *const *output, double *const *gradient)
{
    const struct problem_shape *s = &p->shape;
    const struct linear_args f = {
        .rows = s->rows,
        .in = s->dim,
        .out = s->width,
        .x = put(k, p, 0),
        .w = put(k, p, 1),
        .bias = s->bias ? put(k, p, 2) : NULL,
        .y = kernel_test_poison(k, p->output_n[0]),
    };
    k->ops->linear_forward(k->backend, &f);
    kernel_test_get(k, f.y, p->output_n[0], output[0]);
    if (!gradient)
        return;
    const struct linear_backward_args b = {
        .rows = s->rows,
        .in = s->dim,
        .out = s->width,
        .x = f.x,
        .w = f.w,
        .dy = kernel_test_put(k, p->weight[0], p->output_n[0]),
        .dx = gradient_buffer(k, p, 0),
        .dx_accumulate = s->accumulate,
        .d_w = gradient_buffer(k, p, 1),
        .d_w_overwrite = !p->accumulated[1],
        .d_bias = s->bias ? gradient_buffer(k, p, 2) : NULL,
    };
    k->ops->linear_backward(k->backend, &b);
    get(k, p, 0, b.dx, gradient);
    get(k, p, 1, b.d_w, gradient);
    if (s->bias)
        get(k, p, 2, b.d_bias, gradient);
}

void problem_linear(struct problem *p, struct draw *d)
{
    const struct problem_shape *s = &p->shape;
    snprintf(p->name, sizeof p->name, "linear %lldx%lld to %lld%s", (long long)s->rows, (long long)s->dim,
             (long long)s->width, s->bias ? " bias" : "");
    problem_input(p, d, "x", s->rows * s->dim, 1, s->accumulate);
    problem_input(p, d, "w", s->width * s->dim, 1, s->accumulate);
    if (s->bias)
        problem_input(p, d, "bias", s->width, 1, true);
    problem_output(p, d, s->rows * s->width);
    p->run = run_linear;
}

static void run_ffn(struct kernel_test *k, const struct problem *p, double *const *output, double *const *gradient)
{
    const struct problem_shape *s = &p->shape;
    struct backend_ops composed = {0};
    backend_fill_composed(&composed);
    const struct backend_ops *ops = s->composed ? &composed : k->ops;
    const struct ffn_up_args f = {
        .rows = s->rows,
        .in = s->dim,
        .width = s->width,
        .act = s->act,
        .gated = s->gated,
        .x = put(k, p, 0),
        .w = put(k, p, 1),
        .bias = s->bias ? put(k, p, 2) : NULL,
        .pre = kernel_test_poison(k, s->rows * s->width * (s->gated ? 2 : 1)),
        .h = kernel_test_poison(k, p->output_n[0]),
    };
    ops->ffn_up_forward(k->backend, &f);
    kernel_test_get(k, f.h, p->output_n[0], output[0]);
    if (!gradient)
        return;
    const struct ffn_up_backward_args b = {
        .rows = s->rows,
        .in = s->dim,
        .width = s->width,
        .act = s->act,
        .gated = s->gated,
        .x = f.x,
        .w = f.w,
        .bias = f.bias,
        .pre = f.pre,
        .dh = kernel_test_put(k, p->weight[0], p->output_n[0]),
        .dx = gradient_buffer(k, p, 0),
        .dx_accumulate = s->accumulate,
        .d_w = gradient_buffer(k, p, 1),
        .d_w_overwrite = !p->accumulated[1],
        .d_bias = s->bias ? gradient_buffer(k, p, 2) : NULL,
    };
    ops->ffn_up_backward(k->backend, &b);
    get(k, p, 0, b.dx, gradient);
    get(k, p, 1, b.d_w, gradient);
    if (s->bias)
        get(k, p, 2, b.d_bias, gradient);
}

void problem_ffn(struct problem *p, struct draw *d)
{
    const struct problem_shape *s = &p->shape;
    int64_t out = s->gated ? 2 * s->width : s->width;
    snprintf(p->name, sizeof p->name, "ffn %s(%g, %g) %lldx%lld to %lld%s%s%s", activation_name(s->act.kind), s->act.a,
             s->act.p, (long long)s->rows, (long long)s->dim, (long long)s->width, s->gated ? " gated" : "",
             s->bias ? " bias" : "", s->composed ? " composed" : "");
    problem_input(p, d, "x", s->rows * s->dim, 0.7, s->accumulate);
    problem_input(p, d, "w", out * s->dim, 0.5, s->accumulate);
    if (s->bias)
        problem_input(p, d, "bias", out, 1, true);
    problem_output(p, d, s->rows * s->width);
    p->run = run_ffn;
}

/* Output: the loss times loss_scale, whose gradient the operator gives. Every fifth target is not counted. */
static void run_classifier(struct kernel_test *k, const struct problem *p, double *const *output,
                           double *const *gradient)
{
    const struct problem_shape *s = &p->shape;
    double scale = p->weight[0][0];
    const struct classifier_args a = {
        .rows = s->rows,
        .dim = s->dim,
        .vocab = s->vocab,
        .chunk_rows = s->chunk,
        .x = put(k, p, 0),
        .w = put(k, p, 1),
        .targets = kernel_test_ints(k, p->ints, s->rows),
        .logits = kernel_test_poison(k, s->chunk * s->vocab),
        .loss_sum = kernel_test_double(k, p->start),
        .dx = gradient ? gradient_buffer(k, p, 0) : NULL,
        .d_w = gradient ? gradient_buffer(k, p, 1) : NULL,
        .d_w_overwrite = gradient && !p->accumulated[1],
    };
    k->ops->step_begin(k->backend, &(struct step_values){.step = 1, .loss_scale = scale});
    k->ops->classifier(k->backend, &a);
    k->ops->step_end(k->backend);
    output[0][0] = *a.loss_sum;
    if (!gradient)
        return;
    get(k, p, 0, a.dx, gradient);
    get(k, p, 1, a.d_w, gradient);
}

void problem_classifier(struct problem *p, struct draw *d)
{
    const struct problem_shape *s = &p->shape;
    snprintf(p->name, sizeof p->name, "classifier %lldx%lld of %lld by %lld%s", (long long)s->rows, (long long)s->dim,
             (long long)s->vocab, (long long)s->chunk, s->accumulate ? " more" : "");
    problem_input(p, d, "x", s->rows * s->dim, 1, false);
    /* Logits of moderate size: next to certainty, softmax - 1 has no digits left in fp32. */
    problem_input(p, d, "w", s->vocab * s->dim, 0.2, s->accumulate);
    problem_output(p, d, 1);
    p->ints = calloc((size_t)s->rows, sizeof *p->ints);
    for (int64_t i = 0; i < s->rows; i++)
        p->ints[i] = i % 5 == 3 ? -1 : (int32_t)draw_below(d, s->vocab);
    p->run = run_classifier;
}
