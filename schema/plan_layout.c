#include "schema/plan_layout.h"

#include <stdio.h>
#include <string.h>

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

enum role { IN_PRODUCT, EMBEDDING, TIED_EMBEDDING, HEAD, LOOKED_UP, VECTOR };

static void place_parameter(struct plan_layout *l, int64_t layer, const char *name, int64_t rows, int64_t cols,
                            enum role role, enum plan_init init, double init_scale)
{
    uint64_t count = multiply(l, (uint64_t)rows, (uint64_t)cols);
    if (l->parameters) {
        struct plan_parameter *p = &l->parameters[l->parameter_count];
        memset(p, 0, sizeof(*p));
        name_tensor(p->name, layer, name);
        p->rows = rows;
        p->cols = cols;
        p->decay = role != VECTOR;
        p->init = init;
        p->init_scale = init_scale;
        p->param = p->grad = p->m = p->v = l->wide_bytes;
        p->copy = l->copy_bytes;
    }
    l->parameter_count++;
    l->params = add(l, l->params, count);
    if (role == EMBEDDING || role == TIED_EMBEDDING || role == HEAD)
        l->params_embedding = add(l, l->params_embedding, count);
    if (role == IN_PRODUCT || role == TIED_EMBEDDING || role == HEAD)
        l->params_in_products = add(l, l->params_in_products, count);
    if (role == TIED_EMBEDDING || role == HEAD)
        l->params_in_head = add(l, l->params_in_head, count);
    l->wide_bytes = add(l, l->wide_bytes, align(l, multiply(l, count, l->device->wide_bytes)));
    if (l->device->storage_bytes < l->device->wide_bytes)
        l->copy_bytes = add(l, l->copy_bytes, align(l, multiply(l, count, l->device->storage_bytes)));
}

static void place_norm(struct plan_layout *l, int64_t layer, const char *weight, const char *bias)
{
    place_parameter(l, layer, weight, l->shape->dim, 1, VECTOR, INIT_ONE, 0);
    if (l->shape->layernorm && l->shape->bias)
        place_parameter(l, layer, bias, l->shape->dim, 1, VECTOR, INIT_ZERO, 0);
}

static void place_linear(struct plan_layout *l, int64_t layer, const char *weight, const char *bias, int64_t out,
                         int64_t in, double std)
{
    place_parameter(l, layer, weight, out, in, IN_PRODUCT, INIT_NORMAL, std);
    if (l->shape->bias)
        place_parameter(l, layer, bias, out, 1, VECTOR, INIT_ZERO, 0);
}

void plan_layout_parameters(struct plan_layout *l)
{
    const struct plan_shape *s = l->shape;
    double std = plan_std(s->dim), output_std = plan_output_std(s->dim, s->layers);

    place_parameter(l, NO_LAYER, "embed.weight", s->vocab, s->dim, s->tied ? TIED_EMBEDDING : EMBEDDING, INIT_NORMAL,
                    std);
    if (s->pause_rows > 0)
        place_parameter(l, NO_LAYER, "pause.weight", s->pause_rows, s->dim, LOOKED_UP, INIT_NORMAL, std);
    if (s->rmt_tokens > 0)
        place_parameter(l, NO_LAYER, "rmt.weight", s->rmt_tokens, s->dim, LOOKED_UP, INIT_NORMAL, std);
    for (int64_t i = 0; i < s->layers; i++) {
        place_norm(l, i, "norm1.weight", "norm1.bias");
        if (s->norms == 2)
            place_norm(l, i, "norm2.weight", "norm2.bias");
        place_linear(l, i, "attn.qkv.weight", "attn.qkv.bias", 3 * s->dim, s->dim, std);
        place_linear(l, i, "attn.out.weight", "attn.out.bias", s->dim, s->dim, output_std);
        for (int k = 0; k < s->ffn.parameter_count; k++) {
            const struct plan_ffn_parameter *p = &s->ffn.parameters[k];
            place_parameter(l, i, p->name, p->rows, p->cols, p->product ? IN_PRODUCT : VECTOR, p->init, p->init_scale);
        }
    }
    place_norm(l, NO_LAYER, "final_norm.weight", "final_norm.bias");
    if (!s->tied)
        place_parameter(l, NO_LAYER, "head.weight", s->vocab, s->dim, HEAD, INIT_NORMAL, std);

    l->by_class[PLAN_PARAMETERS] = l->wide_bytes;
    l->by_class[PLAN_COPIES] = l->copy_bytes;
    l->by_class[PLAN_GRADIENTS] = l->wide_bytes;
    l->by_class[PLAN_MOMENTS] = multiply(l, 2, l->wide_bytes);
    l->end = add(l, multiply(l, 4, l->wide_bytes), l->copy_bytes);
    for (int i = 0; l->parameters && i < l->parameter_count; i++) {
        struct plan_parameter *p = &l->parameters[i];
        p->copy = l->copy_bytes ? p->copy + l->wide_bytes : p->param;
        p->grad += l->wide_bytes + l->copy_bytes;
        p->m += 2 * l->wide_bytes + l->copy_bytes;
        p->v += 3 * l->wide_bytes + l->copy_bytes;
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

/* One part for each segment of a window. */
static void place_parts(struct plan_layout *l, int64_t layer, const char *name, uint64_t bytes)
{
    uint64_t parts = (uint64_t)l->shape->segments;
    place_buffer(l, layer, name, PLAN_ACTIVATIONS, parts > 1 ? multiply(l, parts, align(l, bytes)) : bytes);
}

/* Rows of `width` elements, one a position of the micro-batch. */
static void place_rows(struct plan_layout *l, int64_t layer, const char *name, uint64_t rows, int64_t width)
{
    uint64_t count = multiply(l, rows, (uint64_t)width);
    place_parts(l, layer, name, multiply(l, count, l->device->storage_bytes));
}

static void place_statistics(struct plan_layout *l, int64_t layer, const char *name, uint64_t count)
{
    place_parts(l, layer, name, multiply(l, count, l->device->wide_bytes));
}

/* True when a tensor that is rebuilt from the policy `from` on stands at `layer`: with each layer that keeps it, else
 * once, shared. */
static bool stands_at(const struct plan_layout *l, int64_t layer, enum spec_recompute from)
{
    bool kept = l->shape->recompute < from;
    return kept == (layer != SHARED);
}

/* Positions that the rows of a micro-batch see at most, those of a memory in. */
static uint64_t key_rows(struct plan_layout *l)
{
    const struct plan_shape *s = l->shape;
    uint64_t seen = add(l, (uint64_t)s->run, (uint64_t)s->xl_eval_len);
    return multiply(l, (uint64_t)s->micro_batch, seen);
}

static void place_memory(struct plan_layout *l, int64_t i, const char *name, int64_t len, int64_t width)
{
    uint64_t rows = multiply(l, (uint64_t)l->shape->batch, (uint64_t)len);
    uint64_t count = multiply(l, rows, (uint64_t)width);
    if (len > 0)
        place_buffer(l, i, name, PLAN_MEMORY, multiply(l, count, l->device->storage_bytes));
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
        if (s->xl_len > 0)
            place_rows(l, i, "kv", key_rows(l), 2 * s->dim);
        place_statistics(l, i, "lse", multiply(l, rows, (uint64_t)s->heads));
        place_rows(l, i, "attn", rows, s->dim);
    }
    for (int k = 0; k < s->ffn.buffer_count; k++) {
        const struct plan_ffn_buffer *b = &s->ffn.buffers[k];
        if (b->cheap ? !cheap : !costly)
            continue;
        if (b->statistics)
            place_statistics(l, i, b->name, multiply(l, rows, (uint64_t)b->width));
        else
            place_rows(l, i, b->name, rows, b->width);
    }
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
    uint64_t rows = multiply(l, (uint64_t)s->micro_batch, (uint64_t)s->run);
    for (int64_t i = 0; i < s->layers; i++)
        place_layer(l, i, rows);
    place_layer(l, SHARED, rows);
    place_rows(l, NO_LAYER, "final.sum", rows, s->dim);
    if (s->layernorm)
        place_statistics(l, NO_LAYER, "final.mean", rows);
    place_statistics(l, NO_LAYER, "final.rstd", rows);
    if (s->rmt_tokens > 0)
        place_rows(l, SHARED, "d_memory", multiply(l, (uint64_t)s->micro_batch, (uint64_t)s->rmt_tokens), s->dim);
    place_rows(l, SHARED, "stream", rows, s->dim);
    place_rows(l, SHARED, "branch1", rows, s->dim);
    place_rows(l, SHARED, "branch2", rows, s->dim);
    if (s->xl_len > 0)
        place_rows(l, SHARED, "d_kv",
                   multiply(l, (uint64_t)s->micro_batch, add(l, (uint64_t)s->xl_len, (uint64_t)s->run)), 2 * s->dim);
    place_rows(l, SHARED, "wide", rows, s->ffn.scratch > 3 * s->dim ? s->ffn.scratch : 3 * s->dim);

    uint64_t logit_row = multiply(l, (uint64_t)s->vocab, l->device->storage_bytes);
    uint64_t most = logit_row ? l->device->logits_bytes / logit_row : 0;
    uint64_t chunk = equal_chunks(rows, most < 1 ? 1 : most);
    l->logit_rows = (int64_t)chunk;
    place_buffer(l, NO_LAYER, "logits", PLAN_LOGITS, multiply(l, chunk, logit_row));

    uint64_t batch = multiply(l, (uint64_t)s->batch, sizeof(int32_t)),
             inputs = multiply(l, multiply(l, batch, (uint64_t)s->run), (uint64_t)s->segments);
    place_buffer(l, NO_LAYER, "tokens", PLAN_INPUTS, inputs);
    place_buffer(l, NO_LAYER, "targets", PLAN_INPUTS, inputs);
    if (s->documents || s->xl_len > 0)
        place_buffer(l, NO_LAYER, "first", PLAN_INPUTS, inputs);
    if (s->xl_len > 0 && (s->pauses > 0 || s->rmt_tokens > 0))
        place_buffer(l, NO_LAYER, "places", PLAN_INPUTS, multiply(l, batch, (uint64_t)s->seq_len));
    if (s->pauses > 0)
        place_buffer(l, NO_LAYER, "pauses", PLAN_INPUTS, multiply(l, batch, (uint64_t)s->pauses));
    for (int64_t i = 0; i < s->layers; i++) {
        place_memory(l, i, "past", s->xl_len, 2 * s->dim);
        place_memory(l, i, "eval_past", s->xl_eval_len, 2 * s->dim);
    }
    place_memory(l, NO_LAYER, "rmt.state", s->rmt_tokens, s->dim);
    place_memory(l, NO_LAYER, "rmt.eval_state", s->rmt_tokens, s->dim);
    place_buffer(l, NO_LAYER, "loss_sum", PLAN_SCALARS, sizeof(double));
    place_buffer(l, NO_LAYER, "grad_norm", PLAN_SCALARS, sizeof(double));
    place_buffer(l, NO_LAYER, "updates", PLAN_SCALARS, sizeof(int64_t));

    const struct plan_device *d = l->device;
    uint64_t row = add(l, d->workspace_row_bytes, multiply(l, d->workspace_head_bytes, (uint64_t)s->heads));
    uint64_t keys = multiply(l, multiply(l, d->workspace_key_bytes, 2 * (uint64_t)s->dim), (uint64_t)s->ffn.keys);
    l->workspace = align(l, add(l, add(l, d->workspace_bytes, keys), multiply(l, rows, row)));
}
