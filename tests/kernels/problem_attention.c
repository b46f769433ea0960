/* problem_attention.c: attention as a problem. */
#include "problem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Any numbers: no gradient goes to them. */
static void *put_past(struct kernel_test *k, int64_t n)
{
    double *values = calloc((size_t)n, sizeof *values);
    for (int64_t i = 0; i < n; i++)
        values[i] = sin(1.7 * (double)i + 0.3);
    void *past = kernel_test_put(k, values, n);
    free(values);
    return past;
}

/* Rows of q | k | v, the bias of the layer that made them added. */
static void *put_qkv(struct kernel_test *k, const struct problem *p)
{
    const int64_t n = p->input_n[0], width = 3 * p->shape.heads * p->shape.head_dim;
    double *rows = calloc((size_t)n, sizeof *rows);
    for (int64_t i = 0; i < n; i++)
        rows[i] = p->input[0][i] + (p->shape.bias ? p->input[1][i % width] : 0);
    void *qkv = kernel_test_put(k, rows, n);
    free(rows);
    return qkv;
}

static void run_attention(struct kernel_test *k, const struct problem *p, double *const *output,
                          double *const *gradient)
{
    const struct problem_shape *s = &p->shape;
    struct attention_args a = {
        .batch = s->batch,
        .seq = s->seq,
        .heads = s->heads,
        .head_dim = s->head_dim,
        .rotary_dims = s->rotary,
        .rotary_base = 10000,
        .scale = 0.6,
        .first = p->ints ? kernel_test_ints(k, p->ints, s->batch * s->seq) : NULL,
        .qkv = put_qkv(k, p),
        .out = kernel_test_poison(k, p->output_n[0]),
        .lse = kernel_test_poison(k, s->batch * s->heads * s->seq),
    };
    int64_t keys = s->batch * (s->memory + s->seq) * 2 * s->heads * s->head_dim;
    if (s->memory) {
        a.memory = s->memory;
        a.past = put_past(k, s->batch * s->memory * 2 * s->heads * s->head_dim);
        a.kv = kernel_test_poison(k, keys);
    }
    k->ops->attention_forward(k->backend, &a);
    kernel_test_get(k, a.out, p->output_n[0], output[0]);
    if (!gradient)
        return;
    a.d_out = kernel_test_put(k, p->weight[0], p->output_n[0]);
    a.d_qkv = kernel_test_poison(k, p->input_n[0]);
    a.d_bias = s->bias ? kernel_test_fill(k, p->start, p->input_n[1]) : NULL;
    k->ops->attention_backward(k->backend, &a);
    kernel_test_get(k, a.d_qkv, p->input_n[0], gradient[0]);
    if (s->bias)
        kernel_test_get(k, a.d_bias, p->input_n[1], gradient[1]);
}

void problem_attention(struct problem *p, struct draw *d)
{
    const struct problem_shape *s = &p->shape;
    snprintf(p->name, sizeof p->name, "attention %lldx%lld, %lld heads of %lld, rotary %lld, memory %lld%s%s",
             (long long)s->batch, (long long)s->seq, (long long)s->heads, (long long)s->head_dim, (long long)s->rotary,
             (long long)s->memory, s->documents ? ", documents" : "", s->bias ? ", bias" : "");
    problem_input(p, d, "qkv", s->batch * s->seq * 3 * s->heads * s->head_dim, 1, false);
    if (s->bias)
        problem_input(p, d, "bias", 3 * s->heads * s->head_dim, 0.5, true);
    problem_output(p, d, s->batch * s->seq * s->heads * s->head_dim);
    if (s->documents) {
        p->ints = calloc((size_t)(s->batch * s->seq), sizeof *p->ints);
        for (int64_t b = 0; b < s->batch; b++) {
            int32_t start = (int32_t)(s->memory / 3);
            for (int64_t t = 0; t < s->seq; t++) {
                if (t == 1 || draw_below(d, 40) == 0)
                    start = (int32_t)(s->memory + t);
                p->ints[b * s->seq + t] = start;
            }
        }
    }
    p->run = run_attention;
}
