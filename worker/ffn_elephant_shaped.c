/* ffn_elephant_shaped.c: the elephant with what came after its first paper (qlan3/Elephant): a height and a width that
 * each feature learns, and a LayerNorm before it, either or both; plain or as a gate. The gate and what it is
 * multiplied with are products of their own, because the norm needs the gate's rows alone. The rows of pre are gates of
 * all positions, then what they multiply. */
#include "worker/ffn.h"

#include "worker/model_parts.h"

static bool shaped_asked(const struct spec *spec)
{
    return spec->model.ffn.elephant.learnable || spec->model.ffn.elephant.pre_norm;
}

static void shaped_find(struct finder *f, struct model_layer *layer)
{
    const struct spec *s = finder_model(f)->spec;
    ffn_dense_find(f, layer);
    if (s->model.ffn.elephant.learnable) {
        layer->log_h = finder_weight(f, "ffn.log_h");
        layer->log_sigma = finder_weight(f, "ffn.log_sigma");
    }
    if (!s->model.ffn.elephant.pre_norm)
        return;
    struct norm_site *norm = &layer->ffn_norm;
    norm->weight[0] = finder_weight(f, "ffn.norm.weight");
    if (s->model.bias)
        norm->bias[0] = finder_weight(f, "ffn.norm.bias");
    norm->sum = layer->pre;
    norm->mean = finder_buffer(f, "ffn.mean");
    norm->rstd = finder_buffer(f, "ffn.rstd");
    norm->y[0] = finder_buffer(f, "ffn.normed");
}

/* The part of ffn.up that computes the gate; of a plain layer, all of it. */
static struct linear gate_of(const struct model *m, const struct model_layer *layer)
{
    return linear_rows(m, &layer->ffn_up, 0, m->plan->d_ff);
}

static struct linear multiplied_of(const struct model *m, const struct model_layer *layer)
{
    return linear_rows(m, &layer->ffn_up, m->plan->d_ff, m->plan->d_ff);
}

/* What the gates multiply; NULL in a plain layer. */
static void *multiplied_rows(const struct model *m, const struct model_layer *layer)
{
    return m->ffn->gated ? model_at(m, layer->pre, m->rows * m->plan->d_ff) : NULL;
}

static struct elephant_args elephant_of(const struct model *m, const struct model_layer *layer)
{
    return (struct elephant_args){
        .rows = m->rows,
        .width = m->plan->d_ff,
        .a = m->spec->model.ffn.elephant.a,
        .p = m->spec->model.ffn.elephant.d,
        .log_h = layer->log_h.value,
        .log_sigma = layer->log_sigma.value,
        .x = layer->ffn_norm.y[0] ? layer->ffn_norm.y[0] : layer->pre,
        .u = multiplied_rows(m, layer),
        .h = layer->hidden,
    };
}

static void find_pre(struct model *m, struct model_layer *layer, const void *x)
{
    struct linear gate = gate_of(m, layer);
    linear_apply(m, &gate, x, layer->pre);
    if (!m->ffn->gated)
        return;
    struct linear multiplied = multiplied_of(m, layer);
    linear_apply(m, &multiplied, x, multiplied_rows(m, layer));
}

static void find_hidden(struct model *m, struct model_layer *layer)
{
    const struct norm_site *norm = &layer->ffn_norm;
    struct elephant_args elephant = elephant_of(m, layer);
    if (norm->y[0])
        m->ops->norm_forward(m->backend, &(struct norm_forward_args){
                                             .kind = NORM_LAYERNORM,
                                             .rows = m->rows,
                                             .dim = m->plan->d_ff,
                                             .eps = MODEL_NORM_EPS,
                                             .x = norm->sum,
                                             .sum = norm->sum,
                                             .mean = norm->mean,
                                             .rstd = norm->rstd,
                                             .weight = {norm->weight[0].value},
                                             .bias = {norm->bias[0].value},
                                             .y = {norm->y[0]},
                                         });
    m->ops->elephant_forward(m->backend, &elephant);
}

static void shaped_forward(struct model *m, struct model_layer *layer, const void *x, void *out)
{
    find_pre(m, layer, x);
    find_hidden(m, layer);
    linear_apply(m, &layer->ffn_down, layer->hidden, out);
}

static void shaped_rebuild(struct model *m, struct model_layer *layer, const void *x)
{
    if (m->plan->recompute == RECOMPUTE_ALL)
        find_pre(m, layer, x);
    find_hidden(m, layer);
}

/* The gradient of the gates before the norm, from that behind it in norm->y; m->wide_rows is free again. */
static void *unnormed_gradient(struct model *m, struct model_layer *layer)
{
    const struct norm_site *norm = &layer->ffn_norm;
    m->ops->norm_backward(m->backend, &(struct norm_backward_args){
                                          .kind = NORM_LAYERNORM,
                                          .rows = m->rows,
                                          .dim = m->plan->d_ff,
                                          .sum = norm->sum,
                                          .mean = norm->mean,
                                          .rstd = norm->rstd,
                                          .weight = {norm->weight[0].value},
                                          .dy = {norm->y[0]},
                                          .dx = m->wide_rows,
                                          .d_weight = {norm->weight[0].grad},
                                          .d_bias = {norm->bias[0].grad},
                                      });
    return m->wide_rows;
}

static void shaped_backward(struct model *m, struct model_layer *layer, const void *x, const void *d_out, void *dx,
                            bool dx_accumulate)
{
    struct linear gate = gate_of(m, layer);
    struct elephant_args elephant = elephant_of(m, layer);
    elephant.dh = m->wide_rows;
    elephant.d_log_h = layer->log_h.grad;
    elephant.d_log_sigma = layer->log_sigma.grad;
    linear_gradient(m, &layer->ffn_down, layer->hidden, d_out, m->wide_rows);
    m->ops->elephant_backward(m->backend, &elephant);
    const void *d_gates = layer->ffn_norm.y[0] ? unnormed_gradient(m, layer) : layer->pre;
    linear_gradient_rows(m, &gate, x, d_gates, dx, dx_accumulate);
    if (m->ffn->gated) {
        struct linear multiplied = multiplied_of(m, layer);
        linear_gradient_rows(m, &multiplied, x, elephant.u, dx, true);
    }
    model_gradient_done(m, &layer->ffn_up.weight);
}

const struct ffn ffn_elephant_shaped = {
    .type = FFN_ELEPHANT,
    .gated = false,
    .asked = shaped_asked,
    .find = shaped_find,
    .forward = shaped_forward,
    .rebuild = shaped_rebuild,
    .backward = shaped_backward,
};

const struct ffn ffn_elephant_glu_shaped = {
    .type = FFN_ELEPHANT_GLU,
    .gated = true,
    .asked = shaped_asked,
    .find = shaped_find,
    .forward = shaped_forward,
    .rebuild = shaped_rebuild,
    .backward = shaped_backward,
};
