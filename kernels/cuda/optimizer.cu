/* optimizer.cu: what every optimizer asks for, over all tensors of a model at once: the gradient's norm, by way of
 * each tensor's squares, and the rounded copies. */
#include "kernels/cuda/optimizer_list.cuh"

#include "kernels/cuda/pointwise.h"

enum { NORM_PIECE = 16384, TOTAL_THREADS = 1024 };

static __device__ __forceinline__ double square(float x)
{
    return (double)x * (double)x;
}

static __global__ void __launch_bounds__(BLOCK) sum_squares(const __grid_constant__ tensor_list list, double *sums)
{
    __shared__ double slots[BLOCK / WARP];
    const struct span s = span_of<NORM_PIECE>(list);
    const float *g = list.tensors[s.tensor].grad;
    double sum = 0;
    int64_t from = s.from;
    if (list.tensors[s.tensor].vectors) {
        const int64_t quads_end = s.from + (s.to - s.from) / QUAD * QUAD;
#pragma unroll 4
        for (int64_t i = s.from + threadIdx.x * QUAD; i < quads_end; i += BLOCK * QUAD) {
            const float4 x = *reinterpret_cast<const float4 *>(g + i);
            sum += (square(x.x) + square(x.y)) + (square(x.z) + square(x.w));
        }
        from = quads_end;
    }
    for (int64_t i = from + threadIdx.x; i < s.to; i += BLOCK)
        sum += square(g[i]);
    sum = block_sum(sum, slots);
    if (threadIdx.x == 0)
        sums[blockIdx.x] = sum;
}

/* A thread adds each TOTAL_THREADS-th sum, then the threads' sums in a fixed tree. */
static __global__ void __launch_bounds__(TOTAL_THREADS) root_of_total(const double *sums, int64_t n, double *norm)
{
    __shared__ double slots[TOTAL_THREADS / WARP];
    double sum = 0;
#pragma unroll 4
    for (int64_t i = threadIdx.x; i < n; i += TOTAL_THREADS)
        sum += sums[i];
    sum = block_sum(sum, slots);
    if (threadIdx.x == 0)
        *norm = sqrt(sum);
}

extern "C" size_t cuda_grad_squares_bytes(const struct optimizer_tensor *tensors, int count)
{
    int64_t pieces = 0;
    for (int i = 0; i < count; i++)
        pieces += pieces_of(tensors[i].n, NORM_PIECE);
    return (size_t)(pieces > 0 ? pieces : 1) * sizeof(double);
}

/* One block a tensor: its pieces' sums, in the tree that root_of_total has. */
static __global__ void __launch_bounds__(TOTAL_THREADS)
    total_squares(const __grid_constant__ tensor_list list, const double *sums, double *squares)
{
    __shared__ double slots[TOTAL_THREADS / WARP];
    const struct tensor &t = list.tensors[blockIdx.x];
    const int64_t from = t.pieces_before, to = from + (t.n + NORM_PIECE - 1) / NORM_PIECE;
    double sum = 0;
    for (int64_t i = from + threadIdx.x; i < to; i += TOTAL_THREADS)
        sum += sums[i];
    sum = block_sum(sum, slots);
    if (threadIdx.x == 0)
        squares[blockIdx.x] = sum;
}

extern "C" void cuda_grad_squares(struct backend *b, const struct grad_squares_args *a)
{
    if (cuda_failed(b))
        return;
    cudaStream_t stream = cuda_stream(b);
    double *sums = (double *)cuda_workspace(b, cuda_grad_squares_bytes(a->tensors, a->count));
    if (!sums)
        return;
    int done = 0;
    for_lists<NORM_PIECE>(
        a->tensors, a->count, [](const struct optimizer_tensor *) { return true; },
        [&](const struct tensor_list &list, int64_t pieces) {
            sum_squares<<<(unsigned)pieces, BLOCK, 0, stream>>>(list, sums);
            total_squares<<<(unsigned)list.count, TOTAL_THREADS, 0, stream>>>(list, sums, a->squares + done);
            done += list.count;
        });
    cuda_check(b, "grad_squares");
}

extern "C" void cuda_norm_of_squares(struct backend *b, const struct norm_of_squares_args *a)
{
    if (cuda_failed(b))
        return;
    root_of_total<<<1, TOTAL_THREADS, 0, cuda_stream(b)>>>(a->squares, a->count, a->norm);
    cuda_check(b, "norm_of_squares");
}

static __global__ void __launch_bounds__(BLOCK) copy_tensors(const __grid_constant__ tensor_list list)
{
    const struct span s = span_of<UPDATE_PIECE>(list);
    const struct tensor &t = list.tensors[s.tensor];
    int64_t from = s.from;
    if (t.vectors) {
        const int64_t quads_end = s.from + (s.to - s.from) / QUAD * QUAD;
        for (int64_t i = s.from + threadIdx.x * QUAD; i < quads_end; i += BLOCK * QUAD)
            copy_quad(t.copy + i, *reinterpret_cast<const float4 *>(t.param + i));
        from = quads_end;
    }
    for (int64_t i = from + threadIdx.x; i < s.to; i += BLOCK)
        t.copy[i] = __float2bfloat16_rn(t.param[i]);
}

extern "C" void cuda_copy_parameters(struct backend *b, const struct copy_parameters_args *a)
{
    if (cuda_failed(b))
        return;
    cudaStream_t stream = cuda_stream(b);
    for_lists<UPDATE_PIECE>(
        a->tensors, a->count, [](const struct optimizer_tensor *t) { return t->copy != NULL; },
        [&](const struct tensor_list &list, int64_t pieces) {
            copy_tensors<<<(unsigned)pieces, BLOCK, 0, stream>>>(list);
        });
    cuda_check(b, "copy_parameters");
}
