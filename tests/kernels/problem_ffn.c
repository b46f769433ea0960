/* problem_ffn.c: the operators of single feed-forward layers as problems: shaped elephants, gated units, look-ups in
 * learned keys and values. */
#include "problem.h"

#include <stdio.h>

static void *put(struct kernel_test *k, const struct problem *p, int input)
{
    return kernel_test_put(k, p->input[input], p->input_n[input]);
}

static void get(struct kernel_test *k, const struct problem *p, int input, const void *from, double *const *gradient)
{
    kernel_test_get(k, from, p->input_n[input], gradient[input]);
}

/* Inputs: x, [u], [log_h, log_sigma]. */
static void run_elephant(struct kernel_test *k, const struct problem *p, double *const *output, double *const *gradient)
{
    const struct problem_shape *s = &p->shape;
    int u = s->gated ? 1 : 0, shape = s->gated ? 2 : 1; /* where they are */
    struct elephant_args a = {
        .rows = s->rows,
        .width = s->width,
        .a = s->act.a,
        .p = s->act.p,
        .log_h = s->two ? put(k, p, shape) : NULL,
        .log_sigma = s->two ? put(k, p, shape + 1) : NULL,
        .x = put(k, p, 0),
        .u = s->gated ? put(k, p, u) : NULL,
        .h = kernel_test_poison(k, p->output_n[0]),
    };
    k->ops->elephant_forward(k->backend, &a);
    kernel_test_get(k, a.h, p->output_n[0], output[0]);
    if (!gradient)
        return;
    a.dh = kernel_test_put(k, p->weight[0], p->output_n[0]);
    a.d_log_h = s->two ? kernel_test_fill(k, p->start, s->width) : NULL;
    a.d_log_sigma = s->two ? kernel_test_fill(k, p->start, s->width) : NULL;
    k->ops->elephant_backward(k->backend, &a);
    get(k, p, 0, a.x, gradient);
    if (s->gated)
        get(k, p, u, a.u, gradient);
    if (s->two) {
        get(k, p, shape, a.d_log_h, gradient);
        get(k, p, shape + 1, a.d_log_sigma, gradient);
    }
}

void problem_elephant(struct problem *p, struct draw *d)
{
    const struct problem_shape *s = &p->shape;
    snprintf(p->name, sizeof p->name, "elephant(%g, %g) %lldx%lld%s%s", s->act.a, s->act.p, (long long)s->rows,
             (long long)s->width, s->gated ? " gated" : "", s->two ? " learned" : "");
    problem_input(p, d, "x", s->rows * s->width, 1, false);
    if (s->gated)
        problem_input(p, d, "u", s->rows * s->width, 1, false);
    if (s->two) {
        problem_input(p, d, "log_h", s->width, 0.5, true);
        problem_input(p, d, "log_sigma", s->width, 0.5, true);
    }
    problem_output(p, d, s->rows * s->width);
    p->run = run_elephant;
}

/* Inputs: z, h. */
static void run_unit_gate(struct kernel_test *k, const struct problem *p, double *const *output,
                          double *const *gradient)
{
    const struct problem_shape *s = &p->shape;
    struct unit_gate_args a = {
        .rows = s->rows, .units = s->heads, .width = s->width, .z = put(k, p, 0), .h = put(k, p, 1)};
    k->ops->unit_gate_forward(k->backend, &a);
    kernel_test_get(k, a.h, p->output_n[0], output[0]);
    if (!gradient)
        return;
    a.dh = kernel_test_put(k, p->weight[0], p->output_n[0]);
    k->ops->unit_gate_backward(k->backend, &a);
    get(k, p, 0, a.z, gradient);
    get(k, p, 1, a.dh, gradient);
}

void problem_unit_gate(struct problem *p, struct draw *d)
{
    const struct problem_shape *s = &p->shape;
    int64_t n = s->rows * s->heads * s->width;
    snprintf(p->name, sizeof p->name, "unit_gate %lld rows, %lld units of %lld", (long long)s->rows,
             (long long)s->heads, (long long)s->width);
    problem_input(p, d, "z", s->rows * s->heads, 1, false);
    problem_input(p, d, "h", n, 1, false);
    problem_output(p, d, n);
    p->run = run_unit_gate;
}

/* Inputs: z, o. */
static void run_unit_sum(struct kernel_test *k, const struct problem *p, double *const *output, double *const *gradient)
{
    struct unit_sum_args a = {
        .units = p->shape.heads,
        .n = p->shape.rows,
        .z = put(k, p, 0),
        .o = put(k, p, 1),
        .y = kernel_test_poison(k, p->shape.rows),
    };
    k->ops->unit_sum_forward(k->backend, &a);
    kernel_test_get(k, a.y, p->output_n[0], output[0]);
    if (!gradient)
        return;
    a.dy = kernel_test_put(k, p->weight[0], p->output_n[0]);
    k->ops->unit_sum_backward(k->backend, &a);
    get(k, p, 0, a.z, gradient);
    get(k, p, 1, a.o, gradient);
}

void problem_unit_sum(struct problem *p, struct draw *d)
{
    const struct problem_shape *s = &p->shape;
    snprintf(p->name, sizeof p->name, "unit_sum %lld units of %lld", (long long)s->heads, (long long)s->rows);
    problem_input(p, d, "z", s->heads * s->rows, 1, false);
    problem_input(p, d, "o", s->heads * s->rows, 1, false);
    problem_output(p, d, s->rows);
    p->run = run_unit_sum;
}

/* Inputs: q, k, v. */
static void run_lookup(struct kernel_test *k, const struct problem *p, double *const *output, double *const *gradient)
{
    const struct problem_shape *s = &p->shape;
    struct lookup_args a = {
        .rows = s->rows,
        .heads = s->heads,
        .head_dim = s->head_dim,
        .keys = s->width,
        .scale = 0.6,
        .q = put(k, p, 0),
        .k = put(k, p, 1),
        .v = put(k, p, 2),
        .out = kernel_test_poison(k, p->output_n[0]),
        .lse = kernel_test_poison(k, s->rows * s->heads),
    };
    k->ops->lookup_forward(k->backend, &a);
    kernel_test_get(k, a.out, p->output_n[0], output[0]);
    if (!gradient)
        return;
    a.d_out = kernel_test_put(k, p->weight[0], p->output_n[0]);
    a.dq = kernel_test_poison(k, p->input_n[0]);
    a.d_k = kernel_test_fill(k, p->start, p->input_n[1]);
    a.d_v = kernel_test_fill(k, p->start, p->input_n[2]);
    k->ops->lookup_backward(k->backend, &a);
    get(k, p, 0, a.dq, gradient);
    get(k, p, 1, a.d_k, gradient);
    get(k, p, 2, a.d_v, gradient);
}

void problem_lookup(struct problem *p, struct draw *d)
{
    const struct problem_shape *s = &p->shape;
    int64_t width = s->heads * s->head_dim;
    snprintf(p->name, sizeof p->name, "lookup %lld rows in %lld keys, %lld heads of %lld", (long long)s->rows,
             (long long)s->width, (long long)s->heads, (long long)s->head_dim);
    problem_input(p, d, "q", s->rows * width, 1, false);
    problem_input(p, d, "k", s->width * width, 1, true);
    problem_input(p, d, "v", s->width * width, 1, true);
    problem_output(p, d, s->rows * width);
    p->run = run_lookup;
}
