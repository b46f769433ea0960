/* ffn.cu: the first half of a feed-forward layer, of a linear layer and an activation. Gate and up are one product of
 * twice the width. */
#include "kernels/cuda/operators.h"

static int64_t pre_width(bool gated, int64_t width)
{
    return gated ? 2 * width : width;
}

extern "C" void cuda_ffn_up_forward(struct backend *b, const struct ffn_up_args *a)
{
    struct linear_args up = {};
    up.rows = a->rows;
    up.in = a->in;
    up.out = pre_width(a->gated, a->width);
    up.x = a->x;
    up.w = a->w;
    up.bias = a->bias;
    up.y = a->pre;
    cuda_linear_forward(b, &up);
    cuda_activation_forward(b, a);
}

extern "C" void cuda_ffn_up_backward(struct backend *b, const struct ffn_up_backward_args *a)
{
    cuda_activation_backward(b, a); /* pre becomes its gradient */
    struct linear_backward_args up = {};
    up.rows = a->rows;
    up.in = a->in;
    up.out = pre_width(a->gated, a->width);
    up.x = a->x;
    up.w = a->w;
    up.dy = a->pre;
    up.dx = a->dx;
    up.dx_accumulate = a->dx_accumulate;
    up.d_w = a->d_w;
    up.d_bias = a->d_bias;
    cuda_linear_backward(b, &up);
}
