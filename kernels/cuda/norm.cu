/* norm.cu: residual sums with LayerNorm or RMSNorm, one or two outputs that share their statistics.
 *
 * Statistics and outputs come from the sum as it is stored, in fp32: of `sum` alone they come out the same once more,
 * and backward (norm_backward.cu) normalises just what they belong to.
 *
 * A warp takes a row of up to 1024 elements, a block one of up to 8192, held in registers. Other rows (odd, unaligned,
 * longer) go element by element and are read again.
 */
#include "kernels/cuda/operators.h"
#include "kernels/cuda/vector.cuh"

enum { FORWARD_THREADS = 256, REGISTER_VECTORS = 4 /* a thread's, at most */ };

template <class T> static __device__ __forceinline__ float rounded(float x)
{
    T stored;
    element_store(&stored, x);
    return element_load(stored);
}

/* LANES threads hold a row, VECS vectors each. */
template <class T, int LANES, int VECS>
static __global__ void __launch_bounds__(FORWARD_THREADS) forward_rows(const norm_forward_args a)
{
    __shared__ float slots[2][FORWARD_THREADS / WARP];
    const int lane = threadIdx.x % LANES;
    const int64_t row = (int64_t)blockIdx.x * (FORWARD_THREADS / LANES) + threadIdx.x / LANES;
    if (row >= a.rows) /* whole warps; with a row a block, never */
        return;
    const int dim = (int)a.dim;
    const T *x = (const T *)a.x + row * dim;
    const T *add0 = a.add[0] ? (const T *)a.add[0] + row * dim : NULL;
    const T *add1 = a.add[1] ? (const T *)a.add[1] + row * dim : NULL;

    packed<T, VECTOR> px[VECS], p0[VECS], p1[VECS];
#pragma unroll
    for (int v = 0; v < VECS; v++) {
        int c = (v * LANES + lane) * VECTOR;
        packed_zero<T, VECTOR>(&px[v]);
        packed_zero<T, VECTOR>(&p0[v]);
        packed_zero<T, VECTOR>(&p1[v]);
        if (c < dim) {
            packed_load<T, VECTOR>(&px[v], x + c);
            if (add0)
                packed_load<T, VECTOR>(&p0[v], add0 + c);
            if (add1)
                packed_load<T, VECTOR>(&p1[v], add1 + c);
        }
    }
    float s[VECS][VECTOR], total = 0;
#pragma unroll
    for (int v = 0; v < VECS; v++) {
        float y[VECTOR], z[VECTOR];
        unpack<T, VECTOR>(px[v], s[v]);
        unpack<T, VECTOR>(p0[v], y);
        unpack<T, VECTOR>(p1[v], z);
#pragma unroll
        for (int i = 0; i < VECTOR; i++) {
            s[v][i] = rounded<T>(s[v][i] + y[i] + z[i]);
            total += s[v][i];
        }
        int c = (v * LANES + lane) * VECTOR;
        if ((add0 || add1) && c < dim)
            elements_store<T, VECTOR>((T *)a.sum + row * dim + c, s[v]);
    }
    float mean = 0;
    if (a.kind == NORM_LAYERNORM) {
        if constexpr (LANES == WARP)
            mean = warp_sum(total) / (float)dim;
        else
            mean = block_sum(total, slots[0]) / (float)dim;
    }
    float squares = 0;
#pragma unroll
    for (int v = 0; v < VECS; v++) {
        if ((v * LANES + lane) * VECTOR < dim) {
#pragma unroll
            for (int i = 0; i < VECTOR; i++)
                squares += (s[v][i] - mean) * (s[v][i] - mean);
        }
    }
    if constexpr (LANES == WARP)
        squares = warp_sum(squares);
    else
        squares = block_sum(squares, slots[1]);
    const float rstd = 1.0f / sqrtf(squares / (float)dim + (float)a.eps);
    if (lane == 0) {
        if (a.kind == NORM_LAYERNORM)
            ((float *)a.mean)[row] = mean;
        ((float *)a.rstd)[row] = rstd;
    }
#pragma unroll
    for (int k = 0; k < 2; k++) {
        if (!a.weight[k])
            break;
#pragma unroll
        for (int v = 0; v < VECS; v++) {
            int c = (v * LANES + lane) * VECTOR;
            if (c >= dim)
                break;
            float w[VECTOR], bias[VECTOR] = {0}, y[VECTOR];
            elements_load<T, VECTOR>((const T *)a.weight[k] + c, w);
            if (a.bias[k])
                elements_load<T, VECTOR>((const T *)a.bias[k] + c, bias);
#pragma unroll
            for (int i = 0; i < VECTOR; i++)
                y[i] = (s[v][i] - mean) * rstd * w[i] + bias[i];
            elements_store<T, VECTOR>((T *)a.y[k] + row * dim + c, y);
        }
    }
}

template <class T> static __device__ __forceinline__ float sum_at(const norm_forward_args &a, int64_t i)
{
    float s = element_load(((const T *)a.x)[i]);
    if (a.add[0])
        s += element_load(((const T *)a.add[0])[i]);
    if (a.add[1])
        s += element_load(((const T *)a.add[1])[i]);
    return rounded<T>(s);
}

/* A block a row, any row. `sum` is written last, where each element's own thread has read x for the last time. */
template <class T> static __global__ void __launch_bounds__(FORWARD_THREADS) forward_elements(const norm_forward_args a)
{
    __shared__ float slots[2][FORWARD_THREADS / WARP];
    const int64_t row = blockIdx.x, first = row * a.dim;
    float mean = 0;
    if (a.kind == NORM_LAYERNORM) {
        float total = 0;
        for (int64_t j = threadIdx.x; j < a.dim; j += FORWARD_THREADS)
            total += sum_at<T>(a, first + j);
        mean = block_sum(total, slots[0]) / (float)a.dim;
    }
    float squares = 0;
    for (int64_t j = threadIdx.x; j < a.dim; j += FORWARD_THREADS) {
        float d = sum_at<T>(a, first + j) - mean;
        squares += d * d;
    }
    const float rstd = 1.0f / sqrtf(block_sum(squares, slots[1]) / (float)a.dim + (float)a.eps);
    if (threadIdx.x == 0) {
        if (a.kind == NORM_LAYERNORM)
            ((float *)a.mean)[row] = mean;
        ((float *)a.rstd)[row] = rstd;
    }
    for (int64_t j = threadIdx.x; j < a.dim; j += FORWARD_THREADS) {
        float s = sum_at<T>(a, first + j);
        if (a.add[0] || a.add[1])
            element_store((T *)a.sum + first + j, s);
        for (int k = 0; k < 2 && a.weight[k]; k++) {
            float y = (s - mean) * rstd * element_load(((const T *)a.weight[k])[j]);
            if (a.bias[k])
                y += element_load(((const T *)a.bias[k])[j]);
            element_store((T *)a.y[k] + first + j, y);
        }
    }
}

template <class T, int LANES> static void forward_launch(cudaStream_t stream, const struct norm_forward_args *a)
{
    const unsigned blocks = (unsigned)pieces_of(a->rows, FORWARD_THREADS / LANES);
    switch (pieces_of(a->dim, LANES * VECTOR)) {
    case 1:
        forward_rows<T, LANES, 1><<<blocks, FORWARD_THREADS, 0, stream>>>(*a);
        break;
    case 2:
        forward_rows<T, LANES, 2><<<blocks, FORWARD_THREADS, 0, stream>>>(*a);
        break;
    case 3:
        forward_rows<T, LANES, 3><<<blocks, FORWARD_THREADS, 0, stream>>>(*a);
        break;
    default:
        forward_rows<T, LANES, 4><<<blocks, FORWARD_THREADS, 0, stream>>>(*a);
        break;
    }
}

template <class T> static void forward(cudaStream_t stream, const struct norm_forward_args *a)
{
    bool vectors =
        vectors_fit(a->dim, {a->x, a->add[0], a->add[1], a->add[0] || a->add[1] ? a->sum : NULL, a->weight[0],
                             a->weight[1], a->bias[0], a->bias[1], a->y[0], a->weight[1] ? a->y[1] : NULL});
    if (vectors && a->dim <= REGISTER_VECTORS * WARP * VECTOR)
        forward_launch<T, WARP>(stream, a);
    else if (vectors && a->dim <= REGISTER_VECTORS * FORWARD_THREADS * VECTOR)
        forward_launch<T, FORWARD_THREADS>(stream, a);
    else
        forward_elements<T><<<(unsigned)a->rows, FORWARD_THREADS, 0, stream>>>(*a);
}

extern "C" void cuda_norm_forward(struct backend *b, const struct norm_forward_args *a)
{
    if (cuda_failed(b) || a->rows == 0)
        return;
    if (cuda_is_bf16(b))
        forward<__nv_bfloat16>(cuda_stream(b), a);
    else
        forward<float>(cuda_stream(b), a);
    cuda_check(b, "norm_forward");
}
