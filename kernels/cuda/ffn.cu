/* ffn.cu: the first half of a feed-forward layer, of a linear layer and an activation. Gate and up are one product of
 * twice the width. */
#include "kernels/cuda/operators.h"

#include "kernels/cuda/activation.h"
#include "kernels/cuda/gemm.h"

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
    up.y = a->pre;
    cuda_linear_forward(b, &up);
    cuda_activation_forward(b, a);
}

extern "C" void cuda_ffn_up_backward(struct backend *b, const struct ffn_up_backward_args *a)
{
    struct linear_backward_args up = {};
    /* pre becomes its gradient. The bias's is summed on the way where a pass of its own would cost time; that of a
     * small layer runs beside its products. */
    const bool fold = a->d_bias && a->rows > 0 && !cuda_gemm_is_small(a->rows, a->in, pre_width(a->gated, a->width));
    const bool folded = fold && cuda_activation_backward_sums(b, a);
    if (!folded)
        cuda_activation_backward(b, a);
    up.rows = a->rows;
    up.in = a->in;
    up.out = pre_width(a->gated, a->width);
    up.x = a->x;
    up.w = a->w;
    up.dy = a->pre;
    up.dx = a->dx;
    up.dx_accumulate = a->dx_accumulate;
    up.d_w = a->d_w;
    up.d_w_overwrite = a->d_w_overwrite;
    up.d_bias = folded ? NULL : a->d_bias;
    cuda_linear_backward(b, &up);
}
