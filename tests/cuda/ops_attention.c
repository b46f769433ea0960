/* ops_attention.c: cases of attention. The backward starts from the reference's forward, rounded to storage. */
#include "tests/cuda/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { QKV, FIRST, OUT, LSE, D_OUT, D_QKV, D_BIAS, PAST, KV, PLACES };

static struct attention_args args_of(const struct ops_case *c, void *const *p)
{
    const struct ops_shape *s = &c->shape;
    return (struct attention_args){.batch = s->batch,
                                   .seq = s->seq,
                                   .heads = s->heads,
                                   .head_dim = s->head_dim,
                                   .rotary_dims = s->rotary,
                                   .rotary_base = 10000,
                                   .scale = 1 / sqrt((double)s->head_dim),
                                   .first = p[FIRST],
                                   .qkv = p[QKV],
                                   .out = p[OUT],
                                   .lse = p[LSE],
                                   .d_out = p[D_OUT],
                                   .d_qkv = p[D_QKV],
                                   .d_bias = p[D_BIAS],
                                   .memory = s->memory,
                                   .past = p[PAST],
                                   .kv = p[KV]};
}

static void call_forward(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    struct attention_args a = args_of(c, p);
    b->ops->attention_forward(b, &a);
}

static void call_backward(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    struct attention_args a = args_of(c, p);
    b->ops->attention_backward(b, &a);
}

/* Documents of all lengths, one of a single position. */
static void draw_first(struct ops_case *c, struct ops_draw *d)
{
    const struct ops_shape *s = &c->shape;
    ops_in(c, d, FIRST, "first", OPS_INT, s->batch * s->seq, 0);
    for (int64_t b = 0; b < s->batch; b++) {
        int64_t start = s->memory / 3, length = b % 2 ? 40 : 200;
        for (int64_t t = 0; t < s->seq; t++) {
            if (t == 1 || ops_below(d, length) == 0)
                start = s->memory + t;
            ops_set(c, FIRST, b * s->seq + t, (double)start);
        }
    }
}

static void make_attention(struct ops_case *c, struct ops_draw *d)
{
    const struct ops_shape *s = &c->shape;
    int64_t rows = s->batch * s->seq, width = s->heads * s->head_dim;
    bool gradient = s->gradient;
    c->operator_name = "attention_forward";
    snprintf(c->name, sizeof c->name, "attention_%s %lldx%lld, %lld heads of %lld, rotary %lld, memory %lld%s",
             gradient ? "backward" : "forward", (long long)s->batch, (long long)s->seq, (long long)s->heads,
             (long long)s->head_dim, (long long)s->rotary, (long long)s->memory, s->documents ? ", documents" : "");
    ops_changed(c, d, QKV, "qkv", OPS_STORAGE, rows * 3 * width, 1);
    ops_out(c, OUT, "out", OPS_STORAGE, rows * width);
    ops_out(c, LSE, "lse", OPS_WIDE, s->batch * s->heads * s->seq);
    int64_t past = s->batch * s->memory * 2 * width, keys = past + rows * 2 * width;
    if (s->memory) {
        ops_in(c, d, PAST, "past", OPS_STORAGE, past, 1);
        ops_out(c, KV, "kv", OPS_STORAGE, keys);
    }
    if (s->documents)
        draw_first(c, d);
    c->call = call_forward;
    if (!gradient)
        return;
    struct ops_result forward;
    ops_reference(c, &forward);
    static const int left[] = {QKV, OUT, LSE, KV};
    for (size_t i = 0; i < sizeof left / sizeof *left - (s->memory ? 0 : 1); i++) {
        struct ops_tensor *t = &c->tensor[left[i]];
        free(t->values);
        t->values = calloc((size_t)t->n, sizeof(double));
        t->role = OPS_IN;
        for (int64_t j = 0; j < t->n; j++)
            ops_set(c, left[i], j, forward.values[left[i]][j]);
    }
    ops_result_finish(&forward);
    ops_in(c, d, D_OUT, "d_out", OPS_STORAGE, rows * width, 1);
    ops_out(c, D_QKV, "d_qkv", OPS_STORAGE, rows * 3 * width);
    if (!s->documents)
        ops_changed(c, d, D_BIAS, "d_bias", OPS_WIDE, 3 * width, sqrt((double)rows));
    c->operator_name = "attention_backward";
    c->call = call_backward;
}

/* rows: the tokens among a sequence's positions; all of them where it is 0. */
static void call_remember(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    const struct ops_shape *s = &c->shape;
    const struct remember_args a = {.batch = s->batch,
                                    .seq = s->seq,
                                    .width = s->width,
                                    .memory = s->memory,
                                    .tokens = s->rows ? s->rows : s->seq,
                                    .places = p[PLACES],
                                    .qkv = p[QKV],
                                    .past = p[PAST]};
    b->ops->remember(b, &a);
}

static void make_remember(struct ops_case *c, struct ops_draw *d)
{
    const struct ops_shape *s = &c->shape;
    c->operator_name = "remember";
    snprintf(c->name, sizeof c->name, "remember %lld of %lldx%lld, %lld tokens, width %lld", (long long)s->memory,
             (long long)s->batch, (long long)s->seq, (long long)s->rows, (long long)s->width);
    ops_in(c, d, QKV, "qkv", OPS_STORAGE, s->batch * s->seq * 3 * s->width, 1);
    ops_changed(c, d, PAST, "past", OPS_STORAGE, s->batch * s->memory * 2 * s->width, 1);
    if (s->rows) {
        ops_in(c, d, PLACES, "places", OPS_INT, s->batch * s->rows, 0);
        for (int64_t i = 0; i < s->batch * s->rows; i++)
            ops_set(c, PLACES, i, (double)(i % s->rows + (i % s->rows > s->rows / 2 ? s->seq - s->rows : 0)));
    }
    c->call = call_remember;
}

static void each_memory(struct ops_visitor *v)
{
    static const int64_t shapes[][6] = {
        /* batch, seq, heads, head_dim, rotary dims, memory */
        {2, 70, 2, 16, 8, 5},     {2, 1, 3, 17, 16, 1},     {1, 65, 1, 64, 0, 64},   {2, 64, 2, 64, 16, 63},
        {1, 33, 2, 33, 2, 200},   {2, 128, 2, 32, 32, 128}, {1, 127, 3, 80, 20, 65}, {1, 100, 2, 128, 128, 300},
        {2, 512, 4, 64, 64, 512}, {1, 190, 1, 256, 64, 77},
    };
    for (size_t i = 0; i < (v->small ? 1 : sizeof shapes / sizeof *shapes); i++) {
        struct ops_shape s = {.batch = shapes[i][0],
                              .seq = shapes[i][1],
                              .heads = shapes[i][2],
                              .head_dim = shapes[i][3],
                              .rotary = shapes[i][4],
                              .memory = shapes[i][5]};
        for (int k = 0; k < 4; k++) {
            s.documents = k & 1;
            s.gradient = k & 2;
            ops_visit(v, make_attention, &s);
        }
        s.width = s.heads * s.head_dim;
        ops_visit(v, make_remember, &s);
        s.rows = s.seq - s.seq / 4;
        ops_visit(v, make_remember, &s);
    }
}

void ops_each_attention(struct ops_visitor *v)
{
    static const int64_t shapes[][5] = {
        /* batch, seq, heads, head_dim, rotary dims */
        {2, 70, 2, 16, 8},     {1, 1, 1, 1, 0},      {2, 3, 3, 17, 16},   {1, 65, 1, 64, 0},    {2, 64, 2, 64, 16},
        {1, 129, 2, 33, 2},    {1, 200, 2, 64, 16},  {3, 128, 2, 32, 32}, {1, 127, 3, 80, 20},  {1, 130, 2, 96, 24},
        {1, 100, 2, 128, 128}, {1, 190, 1, 256, 64}, {2, 512, 4, 64, 16}, {1, 1024, 2, 64, 64}, {1, 1000, 1, 128, 32},
        {1, 2049, 1, 64, 16},  {16, 33, 3, 48, 12},
    };
    for (size_t i = 0; i < (v->small ? 1 : sizeof shapes / sizeof *shapes); i++)
        for (int k = 0; k < 4; k++)
            ops_visit(v, make_attention,
                      &(struct ops_shape){.batch = shapes[i][0],
                                          .seq = shapes[i][1],
                                          .heads = shapes[i][2],
                                          .head_dim = shapes[i][3],
                                          .rotary = shapes[i][4],
                                          .documents = k & 1,
                                          .gradient = k & 2});
    each_memory(v);
}
