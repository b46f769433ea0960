/* ffn_mini_moe.c: y = sum over n units of sigmoid(g_i . x) SwiGLU_i(x), all of them at work for every position (the
 * blog's small mixture of experts). A number that scales a unit's output may as well scale its hidden: so the units are
 * one SwiGLU of their common width, whose hidden is scaled unit by unit. The bias of ffn.down is behind the sum. */
#include "worker/ffn.h"

#include "worker/model_parts.h"

static struct unit_gate_args gate_of(const struct model *m, const struct model_layer *layer)
{
    int64_t units = m->spec->model.ffn.mini_moe.units;
    return (struct unit_gate_args){
        .rows = m->rows,
        .units = units,
        .width = m->plan->d_ff / units,
        .z = layer->gates,
        .h = layer->hidden,
    };
}

static void mini_moe_find(struct finder *f, struct model_layer *layer)
{
    const struct spec *s = finder_model(f)->spec;
    ffn_dense_find(f, layer);
    layer->ffn_gate = finder_linear(f, "ffn.gate.weight", "ffn.gate.bias", s->model.ffn.mini_moe.units, s->model.dim);
    layer->gates = finder_buffer(f, "ffn.gates");
}

static void mini_moe_forward(struct model *m, struct model_layer *layer, const void *x, void *out)
{
    struct unit_gate_args gate = gate_of(m, layer);
    ffn_dense_hidden(m, layer, x);
    linear_apply(m, &layer->ffn_gate, x, layer->gates);
    m->ops->unit_gate_forward(m->backend, &gate);
    linear_apply(m, &layer->ffn_down, layer->hidden, out);
}

static void mini_moe_rebuild(struct model *m, struct model_layer *layer, const void *x)
{
    struct unit_gate_args gate = gate_of(m, layer);
    ffn_dense_rebuild(m, layer, x);
    if (m->plan->recompute == RECOMPUTE_ALL)
        linear_apply(m, &layer->ffn_gate, x, layer->gates);
    m->ops->unit_gate_forward(m->backend, &gate);
}

static void mini_moe_backward(struct model *m, struct model_layer *layer, const void *x, const void *d_out, void *dx,
                              bool dx_accumulate)
{
    struct unit_gate_args gate = gate_of(m, layer);
    gate.dh = m->wide_rows;
    linear_gradient(m, &layer->ffn_down, layer->hidden, d_out, m->wide_rows);
    m->ops->unit_gate_backward(m->backend, &gate);
    linear_gradient_add(m, &layer->ffn_gate, x, layer->gates, dx, dx_accumulate);
    ffn_dense_hidden_backward(m, layer, x, dx, true);
}

const struct ffn ffn_mini_moe = {
    .type = FFN_MINI_MOE,
    .gated = true,
    .activation = ffn_silu,
    .find = mini_moe_find,
    .forward = mini_moe_forward,
    .rebuild = mini_moe_rebuild,
    .backward = mini_moe_backward,
};
