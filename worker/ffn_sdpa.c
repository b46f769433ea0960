/* ffn_sdpa.c: W_o attention(W_q x, K, V) over learned keys and values (after Geva et al. 2021, who read a feed-forward
 * layer as a memory of keys and values). Each head of a position looks up its own part of them; probabilities are never
 * stored, so all that a layer keeps is the queries, what they found, and a number a head. */
#include "worker/ffn.h"

#include <math.h>
#include "worker/model_parts.h"

static void sdpa_find(struct finder *f, struct model_layer *layer)
{
    int64_t d = finder_model(f)->spec->model.dim;
    layer->ffn_up = finder_linear(f, "ffn.query.weight", "ffn.query.bias", d, d);
    layer->keys = finder_weight(f, "ffn.key.weight");
    layer->values = finder_weight(f, "ffn.value.weight");
    layer->ffn_down = finder_linear(f, "ffn.down.weight", "ffn.down.bias", d, d);
    layer->pre = finder_buffer(f, "ffn.query");
    layer->lookup_lse = finder_buffer(f, "ffn.lse");
    layer->hidden = finder_buffer(f, "hidden");
}

static struct lookup_args lookup_of(const struct model *m, const struct model_layer *layer)
{
    return (struct lookup_args){
        .rows = m->rows,
        .heads = m->spec->model.heads,
        .head_dim = m->plan->head_dim,
        .keys = m->plan->d_ff,
        .scale = 1.0 / sqrt((double)m->plan->head_dim),
        .q = layer->pre,
        .k = layer->keys.value,
        .v = layer->values.value,
        .out = layer->hidden,
        .lse = layer->lookup_lse,
    };
}

static void look_up(struct model *m, struct model_layer *layer, const void *x)
{
    struct lookup_args a = lookup_of(m, layer);
    linear_apply(m, &layer->ffn_up, x, layer->pre);
    m->ops->lookup_forward(m->backend, &a);
}

static void sdpa_forward(struct model *m, struct model_layer *layer, const void *x, void *out)
{
    look_up(m, layer, x);
    linear_apply(m, &layer->ffn_down, layer->hidden, out);
}

static void sdpa_rebuild(struct model *m, struct model_layer *layer, const void *x)
{
    if (m->plan->recompute == RECOMPUTE_ALL)
        look_up(m, layer, x);
}

static void sdpa_backward(struct model *m, struct model_layer *layer, const void *x, const void *d_out, void *dx,
                          bool dx_accumulate)
{
    struct lookup_args a = lookup_of(m, layer);
    a.d_out = m->wide_rows;
    a.dq = model_at(m, m->wide_rows, m->rows * m->spec->model.dim);
    a.d_k = layer->keys.grad;
    a.d_v = layer->values.grad;
    linear_gradient(m, &layer->ffn_down, layer->hidden, d_out, m->wide_rows);
    m->ops->lookup_backward(m->backend, &a);
    model_gradient_done(m, &layer->keys);
    model_gradient_done(m, &layer->values);
    linear_gradient_add(m, &layer->ffn_up, x, a.dq, dx, dx_accumulate);
}

const struct ffn ffn_sdpa = {
    .type = FFN_SDPA,
    .gated = false,
    .find = sdpa_find,
    .forward = sdpa_forward,
    .rebuild = sdpa_rebuild,
    .backward = sdpa_backward,
};
