/* linear.cu: y = x w^T + bias and its gradients: products of gemm.cu, the bias in the forward's epilogue. The bias
 * gradient is a pass of its own over dy: cuBLASLt's epilogue for it slows the product by more than the pass takes. The
 * three gradients of a small layer run beside each other. */
#include "kernels/cuda/operators.h"

#include "kernels/cuda/column_sum.cuh"
#include "kernels/cuda/gemm.h"

extern "C" void cuda_linear_forward(struct backend *b, const struct linear_args *a)
{
    struct cuda_gemm p = {};
    p.tb = true;
    p.m = a->rows;
    p.n = a->out;
    p.k = a->in;
    p.a = a->x;
    p.lda = a->in;
    p.b = a->w;
    p.ldb = a->in;
    p.c = a->y;
    p.ldc = a->out;
    p.bias = a->bias;
    cuda_gemm_run(b, &p, "linear_forward");
}

static void input_gradient(struct backend *b, const struct linear_backward_args *a)
{
    struct cuda_gemm p = {};
    p.accumulate = a->dx_accumulate;
    p.m = a->rows;
    p.n = a->in;
    p.k = a->out;
    p.a = a->dy;
    p.lda = a->out;
    p.b = a->w;
    p.ldb = a->in;
    p.c = a->dx;
    p.ldc = a->in;
    cuda_gemm_run(b, &p, "linear_backward");
}

static void weight_gradient(struct backend *b, const struct linear_backward_args *a)
{
    struct cuda_gemm p = {};
    p.ta = true;
    p.accumulate = !a->d_w_overwrite;
    p.c_wide = true;
    p.m = a->out;
    p.n = a->in;
    p.k = a->rows;
    p.a = a->dy;
    p.lda = a->out;
    p.b = a->x;
    p.ldb = a->in;
    p.c = a->d_w;
    p.ldc = a->in;
    cuda_gemm_run(b, &p, "linear_backward");
}

static void bias_gradient(struct backend *b, const struct linear_backward_args *a)
{
    void *scratch = cuda_workspace(b, cuda_column_sum_bytes(a->rows, a->out));
    if (scratch)
        cuda_column_sum(b, a->rows, a->out, a->out, a->dy, (float *)a->d_bias, scratch, "linear_backward");
}

extern "C" void cuda_linear_backward(struct backend *b, const struct linear_backward_args *a)
{
    if (cuda_failed(b) || a->rows == 0)
        return;
    const bool beside = cuda_gemm_is_small(a->rows, a->in, a->out);
    if (beside)
        cuda_lanes_fork(b);
    if (a->dx)
        input_gradient(b, a);
    if (beside)
        cuda_lane(b, 1);
    if (a->d_w)
        weight_gradient(b, a);
    if (beside)
        cuda_lane(b, 2);
    if (a->d_bias)
        bias_gradient(b, a);
    if (beside)
        cuda_lanes_join(b);
}
