#include "schema/plan_layout.h"

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

enum role { IN_PRODUCT, EMBEDDING, TIED_EMBEDDING, HEAD, LOOKED_UP, VECTOR };

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

/* Gradients of matrices stand in the shared place where the optimizer is fused. A place of its own has what more than
 * one moment of the pass adds to: a tied embedding's, which has a part from the pass's begin and one from its end, and
 * all of a window's that is computed in segments. */
static bool shares_gradient(const struct plan_layout *l, enum role role)
{
    return l->shape->optimizer->fused && l->shape->segments == 1 && role != VECTOR && role != TIED_EMBEDDING;
}

/* Those that a step's first pass makes by one product. */
static bool overwrites_gradient(const struct plan_layout *l, const struct plan_tensor *t, enum role role)
{
    return !shares_gradient(l, role) && (role == HEAD || role == TIED_EMBEDDING || (role == IN_PRODUCT && !t->added));
}

static uint64_t take_gradient(struct plan_layout *l, const struct plan_tensor *t, enum role role, uint64_t count)
{
    if (overwrites_gradient(l, t, role))
        return take(l, &l->overwritten_bytes, count);
    if (!shares_gradient(l, role))
        return take(l, &l->grad_bytes, count);
    uint64_t at = t->beside ? l->window_end : 0;
    l->window_end = at;
    take(l, &l->window_end, count);
    if (l->window_end > l->window_bytes)
        l->window_bytes = l->window_end;
    return at;
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

static void place_parameter(struct plan_layout *l, int64_t layer, const struct plan_tensor *t, enum role role)
{
    const enum plan_state *states = l->shape->optimizer->states[kind_of(role)];
    int64_t parts = t->parts > 1 ? t->parts : 1;
    uint64_t count = multiply(l, (uint64_t)t->rows, (uint64_t)t->cols);
    uint64_t m_count = state_count(l, states[0], (uint64_t)t->rows, count);
    uint64_t v_count = state_count(l, states[1], (uint64_t)t->rows, count);
    uint64_t grad = take_gradient(l, t, role, count);
    uint64_t m = take(l, &l->m_bytes, m_count), v = take(l, &l->v_bytes, v_count);
    if (role == IN_PRODUCT)
        count_orthogonal(l, (uint64_t)(t->rows / parts), (uint64_t)t->cols);
    if (l->parameters) {
        struct plan_parameter *p = &l->parameters[l->parameter_count];
        *p = (struct plan_parameter){
            .rows = t->rows,
            .cols = t->cols,
            .parts = parts,
            .kind = kind_of(role),
            .decay = role != VECTOR,
            .init = t->init,
            .init_scale = t->init_scale,
            .param = l->wide_bytes,
            .copy = l->copy_bytes,
            .grad = grad,
            .grad_shared = shares_gradient(l, role),
            .grad_overwritten = overwrites_gradient(l, t, role),
            .m = m,
            .v = v,
            .m_count = (int64_t)m_count,
            .v_count = (int64_t)v_count,
        };
        name_tensor(p->name, layer, t->name);
    }
    l->parameter_count++;
    l->params = add(l, l->params, count);
    if (role == EMBEDDING || role == TIED_EMBEDDING || role == HEAD)
        l->params_embedding = add(l, l->params_embedding, count);
    if (role == IN_PRODUCT || role == TIED_EMBEDDING || role == HEAD)
        l->params_in_products = add(l, l->params_in_products, count);
    if (role == TIED_EMBEDDING || role == HEAD)
        l->params_in_head = add(l, l->params_in_head, count);
    take(l, &l->wide_bytes, count);
    if (l->device->storage_bytes < l->device->wide_bytes)
        l->copy_bytes = add(l, l->copy_bytes, align(l, multiply(l, count, l->device->storage_bytes)));
}

static void place_vector(struct plan_layout *l, int64_t layer, const char *name, int64_t n, enum plan_init init)
{
    place_parameter(l, layer, &(struct plan_tensor){.name = name, .rows = n, .cols = 1, .init = init}, VECTOR);
}

static void place_norm(struct plan_layout *l, int64_t layer, const char *weight, const char *bias)
{
    place_vector(l, layer, weight, l->shape->dim, INIT_ONE);
    if (l->shape->layernorm && l->shape->bias)
        place_vector(l, layer, bias, l->shape->dim, INIT_ZERO);
}

static void place_linear(struct plan_layout *l, int64_t layer, const struct plan_tensor *weight, const char *bias)
{
    place_parameter(l, layer, weight, IN_PRODUCT);
    if (l->shape->bias)
        place_vector(l, layer, bias, weight->rows, INIT_ZERO);
}

static struct plan_tensor drawn(const char *name, int64_t rows, int64_t cols, double std)
{
    return (struct plan_tensor){.name = name, .rows = rows, .cols = cols, .init = INIT_NORMAL, .init_scale = std};
}

/* Rows of the model's width, as the embeddings have it. */
static void place_table(struct plan_layout *l, const char *name, int64_t rows, enum role role)
{
    struct plan_tensor t = drawn(name, rows, l->shape->dim, plan_std(l->shape->dim));
    place_parameter(l, NO_LAYER, &t, role);
}

static void place_layer_parameters(struct plan_layout *l, int64_t i)
{
    const struct plan_shape *s = l->shape;
    struct plan_tensor qkv = drawn("attn.qkv.weight", 3 * s->dim, s->dim, plan_std(s->dim));
    struct plan_tensor out = drawn("attn.out.weight", s->dim, s->dim, plan_output_std(s->dim, s->layers));
    qkv.parts = 3;
    place_norm(l, i, "norm1.weight", "norm1.bias");
    if (s->norms == 2)
        place_norm(l, i, "norm2.weight", "norm2.bias");
    place_linear(l, i, &qkv, "attn.qkv.bias");
    place_linear(l, i, &out, "attn.out.bias");
    for (int k = 0; k < s->ffn.parameter_count; k++)
        place_parameter(l, i, &s->ffn.parameters[k], s->ffn.parameters[k].product ? IN_PRODUCT : VECTOR);
}

/* Offsets within the gradients and so on become those in the arena. */
static void move_parameters(struct plan_layout *l, uint64_t gradients, uint64_t moments)
{
    for (int i = 0; l->parameters && i < l->parameter_count; i++) {
        struct plan_parameter *p = &l->parameters[i];
        p->copy = l->copy_bytes ? p->copy + l->wide_bytes : p->param;
        p->grad += gradients + (p->grad_shared ? 0 : l->window_bytes) + (p->grad_overwritten ? l->grad_bytes : 0);
        p->m += moments;
        p->v += moments + l->m_bytes;
    }
}

void plan_layout_parameters(struct plan_layout *l)
{
    const struct plan_shape *s = l->shape;
    place_table(l, "embed.weight", s->vocab, s->tied ? TIED_EMBEDDING : EMBEDDING);
    if (s->pause_rows > 0)
        place_table(l, "pause.weight", s->pause_rows, LOOKED_UP);
    if (s->rmt_tokens > 0)
        place_table(l, "rmt.weight", s->rmt_tokens, LOOKED_UP);
    for (int64_t i = 0; i < s->layers; i++)
        place_layer_parameters(l, i);
    place_norm(l, NO_LAYER, "final_norm.weight", "final_norm.bias");
    if (!s->tied)
        place_table(l, "head.weight", s->vocab, HEAD);

    l->by_class[PLAN_PARAMETERS] = l->wide_bytes;
    l->by_class[PLAN_COPIES] = l->copy_bytes;
    l->zeroed_gradients = add(l, l->window_bytes, l->grad_bytes);
    l->by_class[PLAN_GRADIENTS] = add(l, l->zeroed_gradients, l->overwritten_bytes);
    l->by_class[PLAN_MOMENTS] = add(l, l->m_bytes, l->v_bytes);
    uint64_t gradients = add(l, l->wide_bytes, l->copy_bytes);
    uint64_t moments = add(l, gradients, l->by_class[PLAN_GRADIENTS]);
    l->end = add(l, moments, l->by_class[PLAN_MOMENTS]);
    move_parameters(l, gradients, moments);
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

/* Not where one branch needs what the other has: a shared place for gradients, one memory's scratch. */
static bool has_branches(const struct plan_layout *l, uint64_t rows)
{
    const struct plan_shape *s = l->shape;
    return s->parallel && rows <= (uint64_t)l->device->branch_positions && !s->optimizer->fused && s->segments == 1 &&
           s->xl_eval_len == 0;
}

/* For attention, as the feed-forward layer takes the other one: row sums and sums of tiles for each position, a table
 * of angles. */
static uint64_t branch_workspace(struct plan_layout *l, uint64_t rows)
{
    const struct plan_shape *s = l->shape;
    const struct plan_device *d = l->device;
    uint64_t row = add(l, d->branch_row_bytes, multiply(l, d->workspace_head_bytes, (uint64_t)s->heads));
    row = add(l, row, add(l, (uint64_t)s->dim, multiply(l, 4, (uint64_t)s->head_dim)));
    return l->branches ? align(l, add(l, d->branch_bytes, multiply(l, rows, row))) : 0;
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
    l->branches = has_branches(l, rows);
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
    place_rows(l, SHARED, "wide", rows, s->ffn.scratch > 3 * s->dim ? s->ffn.scratch : 3 * s->dim);
    if (l->branches) {
        place_rows(l, SHARED, "d_attn", rows, s->dim);
        place_rows(l, SHARED, "d_qkv", rows, 3 * s->dim);
    }

    if (s->optimizer->orthogonal)
        place_buffer(l, SHARED, "orthogonal", PLAN_ACTIVATIONS, l->orthogonal_bytes);

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
    place_buffer(l, NO_LAYER, "squares", PLAN_SCALARS, (uint64_t)l->parameter_count * sizeof(double));

    const struct plan_device *d = l->device;
    uint64_t row = add(l, d->workspace_row_bytes, multiply(l, d->workspace_head_bytes, (uint64_t)s->heads));
    uint64_t keys = multiply(l, multiply(l, d->workspace_key_bytes, 2 * (uint64_t)s->dim), (uint64_t)s->ffn.keys);
    l->branch_workspace = branch_workspace(l, rows);
    l->workspace =
        add(l, align(l, add(l, add(l, d->workspace_bytes, keys), multiply(l, rows, row))), l->branch_workspace);
}
