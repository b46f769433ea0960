/* classifier.cu: the output layer with its loss, in chunks of rows so that logits never exist for all of them; where
 * classifier_hopper.cu takes it, they never exist at all.
 *
 * A chunk is a product, one pass over the logits (a block a row: maximum and sum of exponentials in one read, then the
 * gradient in place) and the two products of the gradient. A row that fits is kept in shared memory, so that it is read
 * from memory once; a longer one is read again, mostly from L2. Losses of rows are summed in double, in a fixed order,
 * at the end. A target outside the vocabulary makes loss and gradient NaN: nothing is read out of bounds, and the
 * update that would follow is refused.
 */
#include "kernels/cuda/operators.h"

#include <cuda_bf16.h>
#include "kernels/cuda/classifier.cuh"
#include "kernels/cuda/gemm.h"

enum { MOST_THREADS = 512, SUM_THREADS = 512, STATIC_SHARED = 1280 };

#define LOG2E 1.4426950408889634f
#define LEAST (-3.402823466e38f) /* finite: differences of two are no NaN */

static __device__ float widen(float x)
{
    return x;
}

static __device__ float widen(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}

static __device__ void narrow(float x, float *out)
{
    *out = x;
}

static __device__ void narrow(float x, __nv_bfloat16 *out)
{
    *out = __float2bfloat16(x);
}

static __device__ float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* exp(x - top); the difference comes first, so that large logits lose nothing. */
static __device__ float exp_below(float x, float top)
{
    return exp2_fast((x - top) * LOG2E);
}

/* Largest of numbers and the sum of exp(x - top) over them. */
struct softmax_state {
    float top, sum;
};

static __device__ struct softmax_state across_warp(struct softmax_state s)
{
    float top = s.top;
#pragma unroll
    for (int d = 16; d > 0; d /= 2)
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, d));
    float sum = s.sum * exp_below(s.top, top);
#pragma unroll
    for (int d = 16; d > 0; d /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, d);
    return {top, sum};
}

/* The same result in every thread. */
static __device__ struct softmax_state across_block(struct softmax_state s)
{
    __shared__ struct softmax_state warps[MOST_THREADS / 32];
    int lane = threadIdx.x % 32, count = blockDim.x / 32;
    s = across_warp(s);
    if (count == 1)
        return s;
    if (lane == 0)
        warps[threadIdx.x / 32] = s;
    __syncthreads();
    s = lane < count ? warps[lane] : softmax_state{LEAST, 0};
    return across_warp(s);
}

template <int V> static __device__ void absorb(struct softmax_state *s, const float (&x)[V])
{
    float top = s->top;
#pragma unroll
    for (int v = 0; v < V; v++)
        top = fmaxf(top, x[v]);
    float sum = s->sum;
    if (top > s->top)
        sum *= exp_below(s->top, top);
#pragma unroll
    for (int v = 0; v < V; v++)
        sum += exp_below(x[v], top);
    s->top = top;
    s->sum = sum;
}

template <typename T> static __device__ void unpack(uint4 raw, float (&x)[16 / sizeof(T)])
{
    const T *element = (const T *)&raw;
#pragma unroll
    for (int v = 0; v < (int)(16 / sizeof(T)); v++)
        x[v] = widen(element[v]);
}

template <typename T> static __device__ uint4 pack(const float (&x)[16 / sizeof(T)])
{
    uint4 raw;
    T *element = (T *)&raw;
#pragma unroll
    for (int v = 0; v < (int)(16 / sizeof(T)); v++)
        narrow(x[v], &element[v]);
    return raw;
}

/* A row of logits: `head` elements before the first 16-byte boundary, `vectors` of V from there, the rest. An element
 * before or after the vectors belongs to one thread: a block has at least 32, they are at most 14. */
template <typename T> struct row_cut {
    static constexpr int V = 16 / sizeof(T);
    int head, vectors, edge; /* edge: this thread's element outside the vectors, or -1 */

    __device__ row_cut(const T *row, int64_t vocab)
    {
        int to_boundary = (int)((16 - (uintptr_t)row % 16) % 16 / sizeof(T));
        head = to_boundary < vocab ? to_boundary : (int)vocab;
        vectors = (int)((vocab - head) / V);
        int outside = (int)vocab - vectors * V;
        edge = (int)threadIdx.x < head      ? (int)threadIdx.x
               : (int)threadIdx.x < outside ? (int)threadIdx.x + vectors * V
                                            : -1;
    }
};

template <typename T> static __device__ void fill_row(T *row, const row_cut<T> &cut, float value)
{
    float x[16 / sizeof(T)];
#pragma unroll
    for (int v = 0; v < (int)(16 / sizeof(T)); v++)
        x[v] = value;
    uint4 raw = pack<T>(x);
    for (int i = threadIdx.x; i < cut.vectors; i += blockDim.x)
        ((uint4 *)(row + cut.head))[i] = raw;
    if (cut.edge >= 0)
        narrow(value, &row[cut.edge]);
}

/* Copies this thread's vectors to its places in shared memory, where no other thread looks: no barrier is needed. */
static __device__ void keep_row(uint4 *kept, const uint4 *from, int vectors)
{
    for (int i = threadIdx.x; i < vectors; i += blockDim.x) {
        unsigned to = (unsigned)__cvta_generic_to_shared(kept + i);
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from + i) : "memory");
    }
    asm volatile("cp.async.wait_all;" ::: "memory");
}

template <typename T, bool KEEP, bool GRADIENT>
static __global__ __launch_bounds__(MOST_THREADS, 2) void classify(T *logits, int64_t vocab, const int32_t *targets,
                                                                   double *losses,
                                                                   const struct cuda_step_values *values)
{
    constexpr int V = 16 / sizeof(T);
    extern __shared__ uint4 kept[];
    T *row = logits + blockIdx.x * vocab;
    int target = targets[blockIdx.x];
    row_cut<T> cut(row, vocab);
    if (target < 0 || target >= vocab) {
        float value = target == -1 ? 0.0f : __int_as_float(0x7fffffff);
        if (threadIdx.x == 0)
            losses[blockIdx.x] = value;
        if (GRADIENT)
            fill_row(row, cut, value);
        return;
    }
    uint4 *body = (uint4 *)(row + cut.head);
    float at_target = threadIdx.x == 0 ? widen(row[target]) : 0.0f; /* before the barrier: it is overwritten after */
    float edge = cut.edge >= 0 ? widen(row[cut.edge]) : 0.0f;
    struct softmax_state s = {LEAST, 0};
    if (KEEP)
        keep_row(kept, body, cut.vectors);
#pragma unroll 4
    for (int i = threadIdx.x; i < cut.vectors; i += blockDim.x) {
        float x[V];
        unpack<T>(KEEP ? kept[i] : body[i], x);
        absorb(&s, x);
    }
    if (cut.edge >= 0) {
        float x[1] = {edge};
        absorb(&s, x);
    }
    s = across_block(s);
    if (threadIdx.x == 0)
        losses[blockIdx.x] = log((double)s.sum) + ((double)s.top - (double)at_target);
    if (!GRADIENT)
        return;
    /* With one warp there was no barrier, and thread 0's read of the target must still come before the writes. */
    if (blockDim.x == 32)
        __syncwarp();
    float scale = (float)values->loss_scale, factor = scale / s.sum;
#pragma unroll 2
    for (int i = threadIdx.x; i < cut.vectors; i += blockDim.x) {
        float x[V];
        unpack<T>(KEEP ? kept[i] : body[i], x);
#pragma unroll
        for (int v = 0; v < V; v++)
            x[v] = exp_below(x[v], s.top) * factor;
        unsigned hit = (unsigned)(target - cut.head - i * V);
        if (hit < V) {
#pragma unroll
            for (int v = 0; v < V; v++)
                x[v] -= hit == (unsigned)v ? scale : 0.0f;
        }
        body[i] = pack<T>(x);
    }
    if (cut.edge >= 0)
        narrow(exp_below(edge, s.top) * factor - (cut.edge == target ? scale : 0.0f), &row[cut.edge]);
}

/* *loss_sum += losses, in an order that their number fixes. One block. */
static __global__ __launch_bounds__(SUM_THREADS) void add_losses(int64_t rows, const double *losses, double *loss_sum)
{
    __shared__ double sums[SUM_THREADS];
    double sum = 0;
#pragma unroll 4
    for (int64_t i = threadIdx.x; i < rows; i += SUM_THREADS)
        sum += losses[i];
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int d = SUM_THREADS / 2; d > 0; d /= 2) {
        if ((int)threadIdx.x < d)
            sums[threadIdx.x] += sums[threadIdx.x + d];
        __syncthreads();
    }
    if (threadIdx.x == 0)
        *loss_sum += sums[0];
}

/* Shared memory of a kept row, or 0 where two blocks would not fit a multiprocessor: then one waits for memory while
 * none computes, and reading again from L2 is faster. */
static size_t kept_bytes(int64_t vocab, size_t width, enum classifier_row how)
{
    int device = 0, of_block = 0, of_processor = 0;
    size_t bytes = ((size_t)vocab * width + 15) / 16 * 16;
    if (how == CLASSIFIER_REREAD || cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&of_block, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess ||
        cudaDeviceGetAttribute(&of_processor, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device) != cudaSuccess)
        return 0;
    bool fits = bytes + STATIC_SHARED <= (size_t)of_block;
    return fits && (how == CLASSIFIER_KEEP || 2 * (bytes + STATIC_SHARED) <= (size_t)of_processor) ? bytes : 0;
}

template <typename T>
static cudaError_t launch_rows(struct backend *b, int64_t rows, int64_t vocab, T *logits, const int32_t *targets,
                               double *losses, bool gradient, enum classifier_row how)
{
    /* About 4 vectors a thread. */
    int64_t wanted = (vocab * (int64_t)sizeof(T) / 64 + 31) / 32 * 32;
    int64_t most = MOST_THREADS;
    unsigned threads = wanted < 32 ? 32u : (unsigned)(wanted > most ? most : wanted);
    unsigned blocks = (unsigned)rows;
    cudaStream_t stream = cuda_stream(b);
    size_t bytes = gradient ? kept_bytes(vocab, sizeof(T), how) : 0;
    if (bytes) {
        auto kernel = classify<T, true, true>;
        cudaError_t rc = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
        if (rc != cudaSuccess)
            return rc;
        kernel<<<blocks, threads, bytes, stream>>>(logits, vocab, targets, losses, cuda_values(b));
    } else if (gradient) {
        classify<T, false, true><<<blocks, threads, 0, stream>>>(logits, vocab, targets, losses, cuda_values(b));
    } else {
        classify<T, false, false><<<blocks, threads, 0, stream>>>(logits, vocab, targets, losses, cuda_values(b));
    }
    return cudaSuccess;
}

void cuda_classifier_rows(struct backend *b, int64_t rows, int64_t vocab, void *logits, const int32_t *targets,
                          double *losses, bool gradient, enum classifier_row how)
{
    if (cuda_failed(b) || rows <= 0)
        return;
    cudaError_t rc = cuda_is_bf16(b)
                         ? launch_rows(b, rows, vocab, (__nv_bfloat16 *)logits, targets, losses, gradient, how)
                         : launch_rows(b, rows, vocab, (float *)logits, targets, losses, gradient, how);
    if (rc != cudaSuccess)
        cuda_fail(b, ERR_INTERNAL, "classifier", cudaGetErrorString(rc));
    cuda_check(b, "classifier");
}

/* Logits of `rows` rows of x, and with `gradient` set the products of their gradient. */
static void multiply(struct backend *b, const struct classifier_args *a, int64_t row0, int64_t rows, bool gradient)
{
    int64_t at = row0 * a->dim * (int64_t)dtype_size(b->storage);
    const void *x = (const char *)a->x + at;
    struct cuda_gemm p = {};
    if (!gradient) {
        p.tb = true;
        p.m = rows;
        p.n = a->vocab;
        p.k = a->dim;
        p.a = x;
        p.lda = a->dim;
        p.b = a->w;
        p.ldb = a->dim;
        p.c = a->logits;
        p.ldc = a->vocab;
        cuda_gemm_run(b, &p, "classifier");
        return;
    }
    const bool beside = cuda_gemm_is_small(rows, a->vocab, a->dim);
    if (beside)
        cuda_lanes_fork(b);
    p.m = rows;
    p.n = a->dim;
    p.k = a->vocab;
    p.a = a->logits;
    p.lda = a->vocab;
    p.b = a->w;
    p.ldb = a->dim;
    p.c = (char *)a->dx + at;
    p.ldc = a->dim;
    cuda_gemm_run(b, &p, "classifier");
    if (beside)
        cuda_lane(b, 1);
    p = {};
    p.ta = true;
    p.accumulate = !a->d_w_overwrite || row0 > 0;
    p.c_wide = true;
    p.m = a->vocab;
    p.n = a->dim;
    p.k = rows;
    p.a = a->logits;
    p.lda = a->vocab;
    p.b = x;
    p.ldb = a->dim;
    p.c = a->d_w;
    p.ldc = a->dim;
    cuda_gemm_run(b, &p, "classifier");
    if (beside)
        cuda_lanes_join(b);
}

extern "C" void cuda_classifier(struct backend *b, const struct classifier_args *a)
{
    if (cuda_failed(b) || a->rows == 0)
        return;
    double *losses = (double *)cuda_workspace(b, (size_t)a->rows * sizeof *losses);
    if (!losses)
        return;
    const bool whole = cuda_classifier_hopper(b, a, losses);
    for (int64_t row0 = 0; !whole && row0 < a->rows && !cuda_failed(b); row0 += a->chunk_rows) {
        int64_t rows = a->rows - row0 < a->chunk_rows ? a->rows - row0 : a->chunk_rows;
        multiply(b, a, row0, rows, false);
        cuda_classifier_rows(b, rows, a->vocab, a->logits, a->targets + row0, losses + row0, a->dx != NULL,
                             CLASSIFIER_CHOOSE);
        if (a->dx)
            multiply(b, a, row0, rows, true);
    }
    if (cuda_failed(b))
        return;
    add_losses<<<1, SUM_THREADS, 0, cuda_stream(b)>>>(a->rows, losses, a->loss_sum);
    cuda_check(b, "classifier");
}
