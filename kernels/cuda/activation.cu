/* activation.cu: the activations, alone and as gates, with the bias of the layer under them. With storage BF16
 * arithmetic is the fast one of activation_curve.cuh. */
#include "kernels/cuda/activation.h"
#include "kernels/cuda/activation_curve.cuh"
#include "kernels/cuda/column_sum.cuh"
#include "kernels/cuda/operators.h"
#include "kernels/cuda/vector.cuh"

enum { THREADS = 256, WARPS = THREADS / WARP };
static const int64_t LAUNCH_ITEMS = 1 << 30; /* so that an index within a launch has 32 bits */

/* Where the item (N columns of one row) of this thread lies: in a row of `width`, in a row of pre, and in the row. */
struct place {
    bool valid;
    int64_t h, pre;
    uint32_t column;
};

template <bool GATED, int N>
static __device__ __forceinline__ struct place place_of(uint32_t items, uint32_t items_a_row, int64_t width)
{
    const uint32_t item = blockIdx.x * THREADS + threadIdx.x;
    const uint32_t row = item / items_a_row;
    struct place p = {item < items, (int64_t)item * N, (int64_t)item * N, (item - row * items_a_row) * N};
    if (GATED)
        p.pre += (int64_t)row * width;
    return p;
}

/* x += bias, unless that is NULL, which it is for all threads. */
template <class T, int N> static __device__ __forceinline__ void add_bias(const T *bias, int64_t column, float (&x)[N])
{
    if (!bias)
        return;
    float y[N];
    elements_load<T, N>(bias + column, y);
#pragma unroll
    for (int i = 0; i < N; i++)
        x[i] += y[i];
}

template <class T, int KIND, bool GATED, int N>
static __global__ void __launch_bounds__(THREADS)
    forward_items(const curve c, uint32_t items, uint32_t items_a_row, int64_t width, const T *pre, const T *bias, T *h)
{
    const struct place at = place_of<GATED, N>(items, items_a_row, width);
    if (!at.valid)
        return;
    float x[N], u[N], f[N], d[N];
    elements_load<T, N>(pre + at.pre, x);
    add_bias<T, N>(bias, at.column, x);
    if (GATED) {
        elements_load<T, N>(pre + at.pre + width, u);
        add_bias<T, N>(bias, at.column + width, u);
    }
    activate<KIND, sizeof(T) == 2, N>(c, x, f, d);
    if (GATED) {
#pragma unroll
        for (int i = 0; i < N; i++)
            f[i] *= u[i];
    }
    elements_store<T, N>(h + at.h, f);
}

template <class T, int KIND, bool GATED, int N>
static __global__ void __launch_bounds__(THREADS) backward_items(const curve c, uint32_t items, uint32_t items_a_row,
                                                                 int64_t width, T *pre, const T *bias, const T *dh)
{
    const struct place at = place_of<GATED, N>(items, items_a_row, width);
    if (!at.valid)
        return;
    float x[N], u[N], gradient[N], f[N], d[N];
    elements_load<T, N>(pre + at.pre, x);
    add_bias<T, N>(bias, at.column, x);
    if (GATED) {
        elements_load<T, N>(pre + at.pre + width, u);
        add_bias<T, N>(bias, at.column + width, u);
    }
    elements_load<T, N>(dh + at.h, gradient);
    activate<KIND, sizeof(T) == 2, N>(c, x, f, d);
#pragma unroll
    for (int i = 0; i < N; i++) {
        d[i] *= GATED ? gradient[i] * u[i] : gradient[i];
        f[i] *= gradient[i];
    }
    elements_store<T, N>(pre + at.pre, d);
    if (GATED)
        elements_store<T, N>(pre + at.pre + width, f);
}

/* The operands of one item of backward, as they lie in memory. */
template <class T> struct item {
    packed<T, VECTOR> x, u, gradient;
};

template <class T, bool GATED>
static __device__ __forceinline__ void item_load(item<T> *v, const T *pre, const T *dh, int64_t width)
{
    packed_load<T, VECTOR>(&v->x, pre);
    if (GATED)
        packed_load<T, VECTOR>(&v->u, pre + width);
    packed_load<T, VECTOR>(&v->gradient, dh);
}

/* partial[...] = the sums of the block's warps, in order, for the columns of its 32 lanes. */
static __device__ __forceinline__ void store_sums(const float (&sum)[VECTOR], float (*parts)[WARP * VECTOR],
                                                  int64_t columns_here, float *partial)
{
#pragma unroll
    for (int i = 0; i < VECTOR; i++)
        parts[threadIdx.x / WARP][threadIdx.x % WARP * VECTOR + i] = sum[i];
    __syncthreads();
    if (threadIdx.x < columns_here) {
        float total = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++)
            total += parts[w][threadIdx.x];
        partial[threadIdx.x] = total;
    }
    __syncthreads();
}

/* backward_items with column sums: a lane has VECTOR columns and goes through each WARPS-th row of the block's chunk,
 * the next one on its way meanwhile. partial: [chunks][width or 2*width]. */
template <class T, int KIND, bool GATED>
static __global__ void __launch_bounds__(THREADS)
    backward_chunks(const curve c, int64_t rows, int64_t width, int64_t rows_each, T *pre, const T *bias, const T *dh,
                    float *partial)
{
    static_assert(THREADS == WARP * VECTOR, "store_sums has a thread a column");
    __shared__ float parts[WARPS][WARP * VECTOR];
    const int64_t columns = GATED ? 2 * width : width, column0 = (int64_t)blockIdx.x * (WARP * VECTOR);
    const int64_t column = column0 + threadIdx.x % WARP * VECTOR;
    const int64_t first = (int64_t)blockIdx.y * rows_each, end = first + rows_each < rows ? first + rows_each : rows;
    float sum_x[VECTOR] = {}, sum_u[VECTOR] = {};
    packed<T, VECTOR> bias_x, bias_u;
    packed_zero<T, VECTOR>(&bias_x);
    packed_zero<T, VECTOR>(&bias_u);
    if (bias && column < width) {
        packed_load<T, VECTOR>(&bias_x, bias + column);
        if (GATED)
            packed_load<T, VECTOR>(&bias_u, bias + column + width);
    }
    item<T> now, next;
    int64_t row = first + threadIdx.x / WARP;
    if (column < width && row < end)
        item_load<T, GATED>(&now, pre + row * columns + column, dh + row * width + column, width);
    for (; column < width && row < end; row += WARPS) {
        if (row + WARPS < end)
            item_load<T, GATED>(&next, pre + (row + WARPS) * columns + column, dh + (row + WARPS) * width + column,
                                width);
        float x[VECTOR], u[VECTOR], gradient[VECTOR], f[VECTOR], d[VECTOR];
        unpack<T, VECTOR>(now.x, x);
        unpack<T, VECTOR>(bias_x, d);
#pragma unroll
        for (int i = 0; i < VECTOR; i++)
            x[i] += d[i];
        if (GATED) {
            unpack<T, VECTOR>(now.u, u);
            unpack<T, VECTOR>(bias_u, d);
#pragma unroll
            for (int i = 0; i < VECTOR; i++)
                u[i] += d[i];
        }
        unpack<T, VECTOR>(now.gradient, gradient);
        activate<KIND, sizeof(T) == 2, VECTOR>(c, x, f, d);
#pragma unroll
        for (int i = 0; i < VECTOR; i++) {
            d[i] *= GATED ? gradient[i] * u[i] : gradient[i];
            f[i] *= gradient[i];
            sum_x[i] += d[i];
            sum_u[i] += f[i];
        }
        elements_store<T, VECTOR>(pre + row * columns + column, d);
        if (GATED)
            elements_store<T, VECTOR>(pre + row * columns + column + width, f);
        now = next;
    }
    const int64_t here = width - column0 < WARP * VECTOR ? width - column0 : WARP * VECTOR;
    float *to = partial + blockIdx.y * columns + column0;
    store_sums(sum_x, parts, here, to);
    if (GATED)
        store_sums(sum_u, parts, here, to + width);
}

/* One operator call: forward where h is set, backward where dh is. */
struct work {
    struct curve curve;
    bool gated;
    int64_t rows, width;
    void *pre, *h;
    const void *bias, *dh;
    float *partial; /* with column sums */
};

template <class T, int KIND, bool GATED> static void launch_chunks(cudaStream_t stream, const struct work *w)
{
    const struct column_chunks chunks = cuda_column_chunks(w->rows);
    const dim3 grid((unsigned)pieces_of(w->width, WARP * VECTOR), (unsigned)chunks.count);
    backward_chunks<T, KIND, GATED><<<grid, THREADS, 0, stream>>>(w->curve, w->rows, w->width, chunks.rows, (T *)w->pre,
                                                                  (const T *)w->bias, (const T *)w->dh, w->partial);
}

template <class T, int KIND, bool GATED, int N> static void launch_gated(cudaStream_t stream, const struct work *w)
{
    /* A launch takes whole rows; the usual case is one launch. */
    const int64_t items_a_row = w->width / N, items = w->rows * items_a_row;
    const int64_t rows = LAUNCH_ITEMS / items_a_row, step = (rows < 1 ? 1 : rows) * items_a_row;
    for (int64_t first = 0; first < items; first += step) {
        const uint32_t n = (uint32_t)(items - first < step ? items - first : step);
        const unsigned blocks = (unsigned)pieces_of(n, THREADS);
        T *pre = (T *)w->pre + first * N * (GATED ? 2 : 1);
        if (w->dh)
            backward_items<T, KIND, GATED, N><<<blocks, THREADS, 0, stream>>>(
                w->curve, n, (uint32_t)items_a_row, w->width, pre, (const T *)w->bias, (const T *)w->dh + first * N);
        else
            forward_items<T, KIND, GATED, N><<<blocks, THREADS, 0, stream>>>(
                w->curve, n, (uint32_t)items_a_row, w->width, pre, (const T *)w->bias, (T *)w->h + first * N);
    }
}

template <class T, int KIND, int N> static void launch(cudaStream_t stream, const struct work *w)
{
    if constexpr (N == VECTOR) {
        if (w->partial && w->gated)
            launch_chunks<T, KIND, true>(stream, w);
        else if (w->partial)
            launch_chunks<T, KIND, false>(stream, w);
        if (w->partial)
            return;
    }
    if (w->gated)
        launch_gated<T, KIND, true, N>(stream, w);
    else
        launch_gated<T, KIND, false, N>(stream, w);
}

static bool in_vectors(const struct work *w)
{
    return vectors_fit(w->width, {w->pre, w->h, w->bias, w->dh});
}

template <class T> static void run(cudaStream_t stream, const struct work *w)
{
    if (!in_vectors(w)) {
        launch<T, -1, 1>(stream, w);
        return;
    }
    switch (w->curve.kind) {
    case ACT_GELU_ERF:
        launch<T, ACT_GELU_ERF, VECTOR>(stream, w);
        break;
    case ACT_GELU_TANH:
        launch<T, ACT_GELU_TANH, VECTOR>(stream, w);
        break;
    case ACT_RELU2:
        launch<T, ACT_RELU2, VECTOR>(stream, w);
        break;
    case ACT_SILU:
        launch<T, ACT_SILU, VECTOR>(stream, w);
        break;
    case ACT_ELEPHANT:
        launch<T, ACT_ELEPHANT, VECTOR>(stream, w);
        break;
    }
}

static void enqueue(struct backend *b, const struct work *w, const char *operator_name)
{
    if (cuda_failed(b) || w->rows == 0 || w->width == 0)
        return;
    if (cuda_is_bf16(b))
        run<__nv_bfloat16>(cuda_stream(b), w);
    else
        run<float>(cuda_stream(b), w);
    cuda_check(b, operator_name);
}

extern "C" void cuda_activation_forward(struct backend *b, const struct ffn_up_args *a)
{
    const struct work w = {curve_of(&a->act), a->gated, a->rows, a->width, a->pre, a->h, a->bias, NULL, NULL};
    enqueue(b, &w, "activation_forward");
}

extern "C" void cuda_activation_backward(struct backend *b, const struct ffn_up_backward_args *a)
{
    const struct work w = {curve_of(&a->act), a->gated, a->rows, a->width, a->pre, NULL, a->bias, a->dh, NULL};
    enqueue(b, &w, "activation_backward");
}

extern "C" bool cuda_activation_backward_sums(struct backend *b, const struct ffn_up_backward_args *a)
{
    struct work w = {curve_of(&a->act), a->gated, a->rows, a->width, a->pre, NULL, a->bias, a->dh, NULL};
    const int64_t columns = a->gated ? 2 * a->width : a->width;
    if (!in_vectors(&w))
        return false;
    w.partial = (float *)cuda_workspace(b, cuda_column_sum_bytes(a->rows, columns));
    if (w.partial) {
        enqueue(b, &w, "activation_backward");
        cuda_column_sum_chunks(b, cuda_column_chunks(a->rows).count, columns, w.partial, (float *)a->d_bias,
                               "activation_backward");
    }
    return true;
}
