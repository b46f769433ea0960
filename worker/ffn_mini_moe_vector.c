/* ffn_mini_moe_vector.c: y = sum over n units of sigmoid(G_i x) * SwiGLU_i(x) with a gate for each feature of a unit's
 * output. So the units' outputs have to stand side by side before they are summed: each unit has its own blocks of the
 * weights' rows, of the plan's pre, hidden, ffn.gates and ffn.outputs, and biases of its own. */
#include "worker/ffn.h"

#include "worker/model_parts.h"

static bool vector_asked(const struct spec *spec)
{
    return spec->model.ffn.mini_moe.gate == GATE_VECTOR;
}

static void vector_find(struct finder *f, struct model_layer *layer)
{
    const struct model *m = finder_model(f);
    int64_t d = m->spec->model.dim, units = m->spec->model.ffn.mini_moe.units, width = m->plan->d_ff;
    layer->ffn_up = finder_linear(f, "ffn.up.weight", "ffn.up.bias", 2 * width, d);
    layer->ffn_gate = finder_linear(f, "ffn.gate.weight", "ffn.gate.bias", units * d, d);
    layer->ffn_unit_down = finder_linear(f, "ffn.down.weight", "ffn.down.bias", units * d, width / units);
    layer->pre = finder_buffer(f, "pre");
    layer->gates = finder_buffer(f, "ffn.gates");
    layer->unit_outputs = finder_buffer(f, "ffn.outputs");
    layer->hidden = finder_buffer(f, "hidden");
}

/* A unit's share of a layer. */
struct unit {
    struct linear up, gate, down;
    int64_t width;
    void *pre, *hidden, *z, *o;
    void *dh; /* where the gradient of hidden has its place */
};

static struct unit unit_at(const struct model *m, const struct model_layer *layer, int64_t i)
{
    int64_t d = m->spec->model.dim, width = layer->ffn_unit_down.in;
    return (struct unit){
        .up = linear_rows(m, &layer->ffn_up, i * 2 * width, 2 * width),
        .gate = linear_rows(m, &layer->ffn_gate, i * d, d),
        .down = linear_rows(m, &layer->ffn_unit_down, i * d, d),
        .width = width,
        .pre = model_at(m, layer->pre, i * m->rows * 2 * width),
        .hidden = model_at(m, layer->hidden, i * m->rows * width),
        .z = model_at(m, layer->gates, i * m->rows * d),
        .o = model_at(m, layer->unit_outputs, i * m->rows * d),
        .dh = model_at(m, m->wide_rows, i * m->rows * width),
    };
}

/* all: also what takes products. */
static void run_units(struct model *m, struct model_layer *layer, const void *x, bool all)
{
    for (int64_t i = 0; i < m->spec->model.ffn.mini_moe.units; i++) {
        struct unit unit = unit_at(m, layer, i);
        const struct ffn_up_args up = {
            .rows = m->rows,
            .in = unit.up.in,
            .width = unit.width,
            .act = m->activation,
            .gated = true,
            .x = x,
            .w = unit.up.weight.value,
            .bias = unit.up.bias.value,
            .pre = unit.pre,
            .h = unit.hidden,
        };
        if (!all) {
            m->ops->activation_forward(m->backend, &up);
            continue;
        }
        m->ops->ffn_up_forward(m->backend, &up);
        linear_apply(m, &unit.gate, x, unit.z);
        linear_apply(m, &unit.down, unit.hidden, unit.o);
    }
}

static struct unit_sum_args sum_of(const struct model *m, const struct model_layer *layer)
{
    return (struct unit_sum_args){
        .units = m->spec->model.ffn.mini_moe.units,
        .n = m->rows * m->spec->model.dim,
        .z = layer->gates,
        .o = layer->unit_outputs,
    };
}

static void vector_forward(struct model *m, struct model_layer *layer, const void *x, void *out)
{
    struct unit_sum_args sum = sum_of(m, layer);
    sum.y = out;
    run_units(m, layer, x, true);
    m->ops->unit_sum_forward(m->backend, &sum);
}

static void vector_rebuild(struct model *m, struct model_layer *layer, const void *x)
{
    run_units(m, layer, x, m->plan->recompute == RECOMPUTE_ALL);
}

/* One weight after the other and not one unit after the other: a weight's gradient is then made at one time. */
static void gates_backward(struct model *m, struct model_layer *layer, const void *x, void *dx, bool dx_accumulate)
{
    for (int64_t i = 0; i < m->spec->model.ffn.mini_moe.units; i++) {
        struct unit unit = unit_at(m, layer, i);
        linear_gradient_rows(m, &unit.gate, x, unit.z, dx, dx_accumulate || i > 0);
    }
    model_gradient_done(m, &layer->ffn_gate.weight);
}

static void downs_backward(struct model *m, struct model_layer *layer)
{
    for (int64_t i = 0; i < m->spec->model.ffn.mini_moe.units; i++) {
        struct unit unit = unit_at(m, layer, i);
        linear_gradient_rows(m, &unit.down, unit.hidden, unit.o, unit.dh, false);
    }
    model_gradient_done(m, &layer->ffn_unit_down.weight);
}

static void ups_backward(struct model *m, struct model_layer *layer, const void *x, void *dx)
{
    for (int64_t i = 0; i < m->spec->model.ffn.mini_moe.units; i++) {
        struct unit unit = unit_at(m, layer, i);
        m->ops->ffn_up_backward(m->backend, &(struct ffn_up_backward_args){
                                                .rows = m->rows,
                                                .in = unit.up.in,
                                                .width = unit.width,
                                                .act = m->activation,
                                                .gated = true,
                                                .x = x,
                                                .w = unit.up.weight.value,
                                                .bias = unit.up.bias.value,
                                                .pre = unit.pre,
                                                .dh = unit.dh,
                                                .dx = dx,
                                                .dx_accumulate = true,
                                                .d_w = unit.up.weight.grad,
                                                .d_w_overwrite = model_gradients_begin(m),
                                                .d_bias = unit.up.bias.grad,
                                            });
    }
    model_gradient_done(m, &layer->ffn_up.weight);
}

static void vector_backward(struct model *m, struct model_layer *layer, const void *x, const void *d_out, void *dx,
                            bool dx_accumulate)
{
    struct unit_sum_args sum = sum_of(m, layer);
    sum.dy = d_out;
    m->ops->unit_sum_backward(m->backend, &sum);
    gates_backward(m, layer, x, dx, dx_accumulate);
    downs_backward(m, layer);
    ups_backward(m, layer, x, dx);
}

const struct ffn ffn_mini_moe_vector = {
    .type = FFN_MINI_MOE,
    .gated = true,
    .asked = vector_asked,
    .activation = ffn_silu,
    .find = vector_find,
    .forward = vector_forward,
    .rebuild = vector_rebuild,
    .backward = vector_backward,
};
