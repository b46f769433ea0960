/* block_attention.c: causal self-attention between its two projections, q, k and v as one product. */
#include <math.h>
#include "worker/model_parts.h"

static int64_t memory_length(const struct model *m)
{
    return m->evaluating ? m->plan->xl_eval_len : m->plan->xl_len;
}

/* Of the micro-batch in work. */
static void *past_of(const struct model *m, const struct model_layer *layer)
{
    if (memory_length(m) == 0)
        return NULL;
    int64_t elements = 2 * m->spec->model.dim * memory_length(m);
    unsigned char *past = m->evaluating ? layer->eval_past : layer->past;
    return past + (size_t)(m->from * elements) * dtype_size(m->backend->storage);
}

static void remember(struct model *m, const struct model_layer *layer)
{
    int64_t tokens = m->spec->train.seq_len;
    if (memory_length(m) > 0)
        m->ops->remember(m->backend, &(struct remember_args){
                                         .batch = m->batch,
                                         .seq = m->plan->run,
                                         .width = m->spec->model.dim,
                                         .memory = memory_length(m),
                                         .tokens = tokens,
                                         .places = m->places ? m->places + m->from * tokens : NULL,
                                         .qkv = layer->qkv_rows,
                                         .past = past_of(m, layer),
                                     });
}

static struct attention_args attention_of(const struct model *m, const struct model_layer *layer)
{
    return (struct attention_args){
        .batch = m->batch,
        .seq = m->read + m->seq,
        .heads = m->spec->model.heads,
        .head_dim = m->plan->head_dim,
        .rotary_dims = m->plan->rotary_dims,
        .rotary_base = m->spec->model.rotary_base,
        .scale = 1.0 / sqrt((double)m->plan->head_dim),
        .first = model_first(m),
        .qkv = layer->qkv_rows,
        .out = layer->attn_rows,
        .lse = layer->lse,
        .memory = memory_length(m),
        .past = past_of(m, layer),
        .kv = layer->kv,
    };
}

void block_attention_mix(struct model *m, struct model_layer *layer, const void *x)
{
    struct attention_args a = attention_of(m, layer);
    size_t row = (size_t)(3 * m->spec->model.dim) * dtype_size(m->backend->storage);
    linear_apply(m, &layer->qkv, x, (unsigned char *)layer->qkv_rows + (size_t)m->read * row);
    if (m->read > 0)
        m->ops->attention_next(m->backend, &a);
    else
        m->ops->attention_forward(m->backend, &a);
}

void block_attention_forward(struct model *m, struct model_layer *layer, const void *x, void *out)
{
    block_attention_mix(m, layer, x);
    if (m->evaluating)
        remember(m, layer);
    linear_apply(m, &layer->attn_out, layer->attn_rows, out);
}

void block_attention_backward(struct model *m, struct model_layer *layer, const void *x, const void *d_out, void *dx,
                              void *scratch)
{
    struct attention_args a = attention_of(m, layer);
    void *d_attn = m->d_attn ? m->d_attn : scratch;
    linear_gradient(m, &layer->attn_out, layer->attn_rows, d_out, d_attn);
    a.d_out = d_attn;
    a.d_qkv = m->d_qkv ? m->d_qkv : m->wide_rows;
    a.d_bias = layer->qkv_bias_grad;
    m->ops->attention_backward(m->backend, &a);
    if (!m->measuring)
        remember(m, layer);
    linear_gradient(m, &layer->qkv, x, a.d_qkv, dx);
}
