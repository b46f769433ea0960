#include "schema/plan_layout.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "schema/plan_optimizer.h"

static uint64_t multiply(struct plan_layout *l, uint64_t a, uint64_t b)
{
    uint64_t product = 0;
    if (__builtin_mul_overflow(a, b, &product))
        l->overflow = true;
    return product;
}

static uint64_t add(struct plan_layout *l, uint64_t a, uint64_t b)
{
    uint64_t sum = 0;
    if (__builtin_add_overflow(a, b, &sum))
        l->overflow = true;
    return sum;
}

static uint64_t align(struct plan_layout *l, uint64_t bytes)
{
    return add(l, bytes, PLAN_ALIGNMENT - 1) / PLAN_ALIGNMENT * PLAN_ALIGNMENT;
}

/* In place of a layer. */
enum { NO_LAYER = -1, SHARED = -2 };

/* Names are for both lists. */
static void name_tensor(char out[64], int64_t layer, const char *name)
{
    if (layer == NO_LAYER)
        snprintf(out, 64, "%s", name);
    else if (layer == SHARED)
        snprintf(out, 64, "shared.%s", name);
    else
        snprintf(out, 64, "layers.%lld.%s", (long long)layer, name);
}

enum role { IN_PRODUCT, EMBEDDING, TIED_EMBEDDING, HEAD, VECTOR };

static enum plan_parameter_kind kind_of(enum role role)
{
    return role == VECTOR ? PARAMETER_VECTOR : role == IN_PRODUCT ? PARAMETER_MATRIX : PARAMETER_EMBEDDING;
}

static uint64_t state_count(const struct plan_layout *l, enum plan_state state, uint64_t rows, uint64_t count)
{
    switch (state) {
    case STATE_NONE:
        return 0;
    case STATE_WHOLE:
        return count;
    case STATE_MOMENTUM:
        return l->shape->momentum ? count : 0;
    case STATE_ROWS:
        return rows;
    case STATE_COLUMNS:
        return count / rows;
    }
    return 0;
}

static uint64_t take(struct plan_layout *l, uint64_t *end, uint64_t count)
{
    uint64_t at = *end;
    *end = add(l, at, align(l, multiply(l, count, l->device->wide_bytes)));
    return at;
}

/* Gradients of matrices stand in the shared place where the optimizer is fused; that of a tied embedding has two parts,
 * from the pass's begin and from its end, and a place of its own. */
static uint64_t take_gradient(struct plan_layout *l, enum role role, uint64_t count)
{
    if (!l->shape->optimizer->fused || role == VECTOR || role == TIED_EMBEDDING)
        return take(l, &l->grad_bytes, count);
    uint64_t bytes = 0;
    take(l, &bytes, count);
    if (bytes > l->window_bytes)
        l->window_bytes = bytes;
    return 0;
}

/* Two of the matrix's shape and two of its smaller side squared, each wide and in storage (kernels/backend.h). */
static void count_orthogonal(struct plan_layout *l, uint64_t rows, uint64_t cols)
{
    uint64_t side = rows < cols ? rows : cols;
    uint64_t count = add(l, align(l, multiply(l, rows, cols)), align(l, multiply(l, side, side)));
    uint64_t bytes = multiply(l, count, l->device->wide_bytes + l->device->storage_bytes);
    if (bytes > l->orthogonal_bytes)
        l->orthogonal_bytes = bytes;
}

static void place_parameter(struct plan_layout *l, int64_t layer, const char *name, int64_t rows, int64_t cols,
                            int64_t parts, enum role role, enum plan_init init, double init_std)
{
    const enum plan_state *states = l->shape->optimizer->states[kind_of(role)];
    uint64_t count = multiply(l, (uint64_t)rows, (uint64_t)cols);
    uint64_t m_count = state_count(l, states[0], (uint64_t)rows, count);
    uint64_t v_count = state_count(l, states[1], (uint64_t)rows, count);
    uint64_t grad = take_gradient(l, role, count), m = take(l, &l->m_bytes, m_count), v = take(l, &l->v_bytes, v_count);
    if (role == IN_PRODUCT)
        count_orthogonal(l, (uint64_t)(rows / parts), (uint64_t)cols);
    if (l->parameters) {
        struct plan_parameter *p = &l->parameters[l->parameter_count];
        memset(p, 0, sizeof(*p));
        name_tensor(p->name, layer, name);
        p->rows = rows;
        p->cols = cols;
        p->parts = parts;
        p->kind = kind_of(role);
        p->decay = role != VECTOR;
        p->init = init;
        p->init_std = init_std;
        p->param = l->wide_bytes;
        p->copy = l->copy_bytes;
        p->grad = grad;
        p->m = m;
        p->v = v;
        p->m_count = (int64_t)m_count;
        p->v_count = (int64_t)v_count;
    }
    l->parameter_count++;
    l->params = add(l, l->params, count);
    if (role == EMBEDDING || role == TIED_EMBEDDING || role == HEAD)
        l->params_embedding = add(l, l->params_embedding, count);
    if (role == IN_PRODUCT || role == TIED_EMBEDDING || role == HEAD)
        l->params_in_products = add(l, l->params_in_products, count);
    take(l, &l->wide_bytes, count);
    if (l->device->storage_bytes < l->device->wide_bytes)
        l->copy_bytes = add(l, l->copy_bytes, align(l, multiply(l, count, l->device->storage_bytes)));
}

static void place_norm(struct plan_layout *l, int64_t layer, const char *weight, const char *bias)
{
    place_parameter(l, layer, weight, l->shape->dim, 1, 1, VECTOR, INIT_ONE, 0);
    if (l->shape->layernorm && l->shape->bias)
        place_parameter(l, layer, bias, l->shape->dim, 1, 1, VECTOR, INIT_ZERO, 0);
}

static void place_linear(struct plan_layout *l, int64_t layer, const char *weight, const char *bias, int64_t out,
                         int64_t in, int64_t parts, double init_std)
{
    place_parameter(l, layer, weight, out, in, parts, IN_PRODUCT, INIT_NORMAL, init_std);
    if (l->shape->bias)
        place_parameter(l, layer, bias, out, 1, 1, VECTOR, INIT_ZERO, 0);
}

void plan_layout_parameters(struct plan_layout *l)
{
    const struct plan_shape *s = l->shape;
    /* GPT-NeoX: small init (Nguyen & Salazar 2019) everywhere, Wang's on what is added to the residual stream. */
    double std = sqrt(2.0 / (5.0 * (double)s->dim));
    double output_std = 2.0 / ((double)s->layers * sqrt((double)s->dim));
    int64_t up = s->ffn_gated ? 2 : 1;

    place_parameter(l, NO_LAYER, "embed.weight", s->vocab, s->dim, 1, s->tied ? TIED_EMBEDDING : EMBEDDING, INIT_NORMAL,
                    std);
    for (int64_t i = 0; i < s->layers; i++) {
        place_norm(l, i, "norm1.weight", "norm1.bias");
        if (s->norms == 2)
            place_norm(l, i, "norm2.weight", "norm2.bias");
        place_linear(l, i, "attn.qkv.weight", "attn.qkv.bias", 3 * s->dim, s->dim, 3, std);
        place_linear(l, i, "attn.out.weight", "attn.out.bias", s->dim, s->dim, 1, output_std);
        place_linear(l, i, "ffn.up.weight", "ffn.up.bias", up * s->d_ff, s->dim, up, std);
        place_linear(l, i, "ffn.down.weight", "ffn.down.bias", s->dim, s->d_ff, 1, output_std);
    }
    place_norm(l, NO_LAYER, "final_norm.weight", "final_norm.bias");
    if (!s->tied)
        place_parameter(l, NO_LAYER, "head.weight", s->vocab, s->dim, 1, HEAD, INIT_NORMAL, std);

    l->by_class[PLAN_PARAMETERS] = l->wide_bytes;
    l->by_class[PLAN_COPIES] = l->copy_bytes;
    l->by_class[PLAN_GRADIENTS] = add(l, l->window_bytes, l->grad_bytes);
    l->by_class[PLAN_MOMENTS] = add(l, l->m_bytes, l->v_bytes);
    uint64_t gradients = add(l, l->wide_bytes, l->copy_bytes);
    uint64_t moments = add(l, gradients, l->by_class[PLAN_GRADIENTS]);
    l->end = add(l, moments, l->by_class[PLAN_MOMENTS]);
    for (int i = 0; l->parameters && i < l->parameter_count; i++) {
        struct plan_parameter *p = &l->parameters[i];
        p->copy = l->copy_bytes ? p->copy + l->wide_bytes : p->param;
        bool shared = l->window_bytes && p->kind != PARAMETER_VECTOR && !(s->tied && p->kind == PARAMETER_EMBEDDING);
        p->grad += gradients + (shared ? 0 : l->window_bytes);
        p->m += moments;
        p->v += moments + l->m_bytes;
    }
}

static void place_buffer(struct plan_layout *l, int64_t layer, const char *name, enum plan_class class, uint64_t bytes)
{
    uint64_t aligned = align(l, bytes);
    if (l->buffers) {
        struct plan_buffer *b = &l->buffers[l->buffer_count];
        memset(b, 0, sizeof(*b));
        name_tensor(b->name, layer, name);
        b->class = class;
        b->offset = l->end;
        b->bytes = bytes;
    }
    l->buffer_count++;
    l->by_class[class] = add(l, l->by_class[class], aligned);
    l->end = add(l, l->end, aligned);
}

/* Rows of `width` elements, one a position of the micro-batch. */
static void place_rows(struct plan_layout *l, int64_t layer, const char *name, uint64_t rows, int64_t width)
{
    uint64_t count = multiply(l, rows, (uint64_t)width);
    place_buffer(l, layer, name, PLAN_ACTIVATIONS, multiply(l, count, l->device->storage_bytes));
}

static void place_statistics(struct plan_layout *l, int64_t layer, const char *name, uint64_t count)
{
    place_buffer(l, layer, name, PLAN_ACTIVATIONS, multiply(l, count, l->device->wide_bytes));
}

/* True when a tensor that is rebuilt from the policy `from` on stands at `layer`: with each layer that keeps it, else
 * once, shared. */
static bool stands_at(const struct plan_layout *l, int64_t layer, enum spec_recompute from)
{
    bool kept = l->shape->recompute < from;
    return kept == (layer != SHARED);
}

static void place_layer(struct plan_layout *l, int64_t i, uint64_t rows)
{
    const struct plan_shape *s = l->shape;
    bool cheap = stands_at(l, i, RECOMPUTE_CHEAP), costly = stands_at(l, i, RECOMPUTE_ALL);
    if (i != SHARED)
        place_rows(l, i, "sum1", rows, s->dim);
    if (cheap && s->layernorm)
        place_statistics(l, i, "mean1", rows);
    if (cheap) {
        place_statistics(l, i, "rstd1", rows);
        place_rows(l, i, "n1", rows, s->dim);
    }
    if (costly && !s->parallel)
        place_rows(l, i, "sum2", rows, s->dim);
    if (cheap && !s->parallel && s->layernorm)
        place_statistics(l, i, "mean2", rows);
    if (cheap && !s->parallel)
        place_statistics(l, i, "rstd2", rows);
    if (cheap && s->norms == 2)
        place_rows(l, i, "n2", rows, s->dim);
    if (costly) {
        place_rows(l, i, "qkv", rows, 3 * s->dim);
        place_statistics(l, i, "lse", multiply(l, rows, (uint64_t)s->heads));
        place_rows(l, i, "attn", rows, s->dim);
        place_rows(l, i, "pre", rows, (s->ffn_gated ? 2 : 1) * s->d_ff);
    }
    if (cheap)
        place_rows(l, i, "hidden", rows, s->d_ff);
}

/* The smallest chunk with as few chunks as `most` rows allow, rounded to what products like. */
static uint64_t equal_chunks(uint64_t rows, uint64_t most)
{
    enum { ROUND = 128 };
    if (rows == 0) /* overflown: the numbers mean nothing */
        return 1;
    uint64_t chunks = rows / most + (rows % most != 0), chunk = rows / chunks + (rows % chunks != 0);
    uint64_t round = chunk / ROUND * ROUND + (chunk % ROUND ? ROUND : 0);
    return round <= most && round < rows ? round : chunk;
}

void plan_layout_buffers(struct plan_layout *l)
{
    const struct plan_shape *s = l->shape;
    uint64_t rows = multiply(l, (uint64_t)s->micro_batch, (uint64_t)s->seq_len);
    for (int64_t i = 0; i < s->layers; i++)
        place_layer(l, i, rows);
    place_layer(l, SHARED, rows);
    place_rows(l, NO_LAYER, "final.sum", rows, s->dim);
    if (s->layernorm)
        place_statistics(l, NO_LAYER, "final.mean", rows);
    place_statistics(l, NO_LAYER, "final.rstd", rows);
    place_rows(l, SHARED, "stream", rows, s->dim);
    place_rows(l, SHARED, "branch1", rows, s->dim);
    place_rows(l, SHARED, "branch2", rows, s->dim);
    place_rows(l, SHARED, "wide", rows, s->d_ff > 3 * s->dim ? s->d_ff : 3 * s->dim);

    if (s->optimizer->orthogonal)
        place_buffer(l, SHARED, "orthogonal", PLAN_ACTIVATIONS, l->orthogonal_bytes);

    uint64_t logit_row = multiply(l, (uint64_t)s->vocab, l->device->storage_bytes);
    uint64_t most = logit_row ? l->device->logits_bytes / logit_row : 0;
    uint64_t chunk = equal_chunks(rows, most < 1 ? 1 : most);
    l->logit_rows = (int64_t)chunk;
    place_buffer(l, NO_LAYER, "logits", PLAN_LOGITS, multiply(l, chunk, logit_row));

    uint64_t inputs = multiply(l, multiply(l, (uint64_t)s->batch, (uint64_t)s->seq_len), sizeof(int32_t));
    place_buffer(l, NO_LAYER, "tokens", PLAN_INPUTS, inputs);
    place_buffer(l, NO_LAYER, "targets", PLAN_INPUTS, inputs);
    if (s->documents)
        place_buffer(l, NO_LAYER, "first", PLAN_INPUTS, inputs);
    place_buffer(l, NO_LAYER, "loss_sum", PLAN_SCALARS, sizeof(double));
    place_buffer(l, NO_LAYER, "grad_norm", PLAN_SCALARS, sizeof(double));
    place_buffer(l, NO_LAYER, "updates", PLAN_SCALARS, sizeof(int64_t));
    if (s->optimizer->squares)
        place_buffer(l, NO_LAYER, "squares", PLAN_SCALARS, (uint64_t)l->parameter_count * sizeof(double));

    const struct plan_device *d = l->device;
    uint64_t row = add(l, d->workspace_row_bytes, multiply(l, d->workspace_head_bytes, (uint64_t)s->heads));
    l->workspace = align(l, add(l, d->workspace_bytes, multiply(l, rows, row)));
}
