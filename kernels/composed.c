/* composed.c: operators that can be made of others, for backends that have no fused form, and what a backend says that
 * has nothing to say. */
#include "kernels/backend.h"

static void ffn_up_forward(struct backend *b, const struct ffn_up_args *a)
{
    const struct linear_args up = {
        .rows = a->rows,
        .in = a->in,
        .out = a->gated ? 2 * a->width : a->width,
        .x = a->x,
        .w = a->w,
        .y = a->pre,
    };
    b->ops->linear_forward(b, &up);
    b->ops->activation_forward(b, a);
}

static void ffn_up_backward(struct backend *b, const struct ffn_up_backward_args *a)
{
    b->ops->activation_backward(b, a);
    const struct linear_backward_args up = {
        .rows = a->rows,
        .in = a->in,
        .out = a->gated ? 2 * a->width : a->width,
        .x = a->x,
        .w = a->w,
        .dy = a->pre,
        .dx = a->dx,
        .dx_accumulate = a->dx_accumulate,
        .d_w = a->d_w,
        .d_w_overwrite = a->d_w_overwrite,
        .d_bias = a->d_bias,
    };
    b->ops->linear_backward(b, &up);
}

static double peak_flops(const struct backend *b)
{
    (void)b;
    return 0;
}

static void one_after_the_other(struct backend *b)
{
    (void)b;
}

static bool health(struct backend *b, struct gpu_health *out)
{
    (void)b;
    (void)out;
    return false;
}

void backend_fill_composed(struct backend_ops *ops)
{
    if (!ops->branches_begin)
        ops->branches_begin = ops->branches_next = ops->branches_end = one_after_the_other;
    if (!ops->ffn_up_forward)
        ops->ffn_up_forward = ffn_up_forward;
    if (!ops->ffn_up_backward)
        ops->ffn_up_backward = ffn_up_backward;
    if (!ops->peak_flops)
        ops->peak_flops = peak_flops;
    if (!ops->health)
        ops->health = health;
}
