/* ffn_dense.c: two products around an activation, W2 f(W1 x), or three around a gated one, W3 (f(Wg x) * (Wu x)). Gate
 * and up are one product of 2*d_ff rows. The backend's ffn_up keeps the pre-activation, which its backward turns into
 * the gradient in place. */
#include "worker/ffn.h"

#include "worker/model_parts.h"

static struct ffn_up_args up_of(const struct model *m, const struct model_layer *layer, const void *x)
{
    return (struct ffn_up_args){
        .rows = m->rows,
        .in = layer->ffn_up.in,
        .width = m->plan->d_ff,
        .act = m->activation,
        .gated = m->ffn->gated,
        .x = x,
        .w = layer->ffn_up.weight.value,
        .bias = layer->ffn_up.bias.value,
        .pre = layer->pre,
        .h = layer->hidden,
    };
}

void ffn_dense_find(struct finder *f, struct model_layer *layer)
{
    const struct model *m = finder_model(f);
    int64_t d = m->spec->model.dim, width = m->plan->d_ff, up = (m->ffn->gated ? 2 : 1) * width;
    layer->ffn_up = finder_linear(f, "ffn.up.weight", "ffn.up.bias", up, d);
    layer->ffn_down = finder_linear(f, "ffn.down.weight", "ffn.down.bias", d, width);
    layer->pre = finder_buffer(f, "pre");
    layer->hidden = finder_buffer(f, "hidden");
}

void ffn_dense_hidden(struct model *m, struct model_layer *layer, const void *x)
{
    struct ffn_up_args up = up_of(m, layer, x);
    m->ops->ffn_up_forward(m->backend, &up);
}

void ffn_dense_forward(struct model *m, struct model_layer *layer, const void *x, void *out)
{
    ffn_dense_hidden(m, layer, x);
    linear_apply(m, &layer->ffn_down, layer->hidden, out);
}

void ffn_dense_rebuild(struct model *m, struct model_layer *layer, const void *x)
{
    struct ffn_up_args up = up_of(m, layer, x);
    if (m->plan->recompute == RECOMPUTE_ALL)
        m->ops->ffn_up_forward(m->backend, &up);
    else
        m->ops->activation_forward(m->backend, &up);
}

void ffn_dense_hidden_backward(struct model *m, struct model_layer *layer, const void *x, void *dx, bool dx_accumulate)
{
    m->ops->ffn_up_backward(m->backend, &(struct ffn_up_backward_args){
                                            .rows = m->rows,
                                            .in = layer->ffn_up.in,
                                            .width = m->plan->d_ff,
                                            .act = m->activation,
                                            .gated = m->ffn->gated,
                                            .x = x,
                                            .w = layer->ffn_up.weight.value,
                                            .bias = layer->ffn_up.bias.value,
                                            .pre = layer->pre,
                                            .dh = m->wide_rows,
                                            .dx = dx,
                                            .dx_accumulate = dx_accumulate,
                                            .d_w = layer->ffn_up.weight.grad,
                                            .d_w_overwrite = model_gradients_begin(m),
                                            .d_bias = layer->ffn_up.bias.grad,
                                        });
    model_gradient_done(m, &layer->ffn_up.weight);
}

void ffn_dense_backward(struct model *m, struct model_layer *layer, const void *x, const void *d_out, void *dx,
                        bool dx_accumulate)
{
    linear_gradient(m, &layer->ffn_down, layer->hidden, d_out, m->wide_rows);
    ffn_dense_hidden_backward(m, layer, x, dx, dx_accumulate);
}
