/* units.cu: sigmoid gates of feed-forward units: one number a unit, or one for each element of its output. Arithmetic
 * is fp32. */
#include "kernels/cuda/operators.h"
#include "kernels/cuda/vector.cuh"

enum { THREADS = 256 };

static __device__ __forceinline__ float sigmoid(float x)
{
    const float e = expf(-fabsf(x));
    return x < 0.0f ? e / (1.0f + e) : 1.0f / (1.0f + e);
}

/* A warp a unit of a row, N elements a lane at a time. With dh: z and dh become their gradients; else h is scaled. */
template <class T, int N, bool BACKWARD>
static __global__ void __launch_bounds__(THREADS) gate_kernel(int64_t units, int64_t width, T *z, T *h, T *dh)
{
    const int64_t unit = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / WARP;
    if (unit >= units) /* of all rows */
        return;
    const float gate = sigmoid(element_load(z[unit])), shut = sigmoid(-element_load(z[unit]));
    T *scaled = (BACKWARD ? dh : h) + unit * width;
    float sum = 0.0f;
    for (int64_t j = threadIdx.x % WARP * N; j < width; j += WARP * N) {
        float x[N];
        elements_load<T, N>(scaled + j, x);
        if (BACKWARD) {
            float y[N];
            elements_load<T, N>(h + unit * width + j, y);
#pragma unroll
            for (int i = 0; i < N; i++)
                sum += x[i] * y[i];
        }
#pragma unroll
        for (int i = 0; i < N; i++)
            x[i] *= gate;
        elements_store<T, N>(scaled + j, x);
    }
    if (!BACKWARD)
        return;
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0)
        element_store(z + unit, shut * sum);
}

template <class T, bool BACKWARD> static void start_gate(cudaStream_t stream, const struct unit_gate_args *a)
{
    const int64_t units = a->rows * a->units;
    const unsigned blocks = (unsigned)pieces_of(units * WARP, THREADS);
    if (vectors_fit(a->width, {a->h, a->dh}))
        gate_kernel<T, VECTOR, BACKWARD>
            <<<blocks, THREADS, 0, stream>>>(units, a->width, (T *)a->z, (T *)a->h, (T *)a->dh);
    else
        gate_kernel<T, 1, BACKWARD><<<blocks, THREADS, 0, stream>>>(units, a->width, (T *)a->z, (T *)a->h, (T *)a->dh);
}

template <bool BACKWARD> static void run_gate(struct backend *b, const struct unit_gate_args *a, const char *name)
{
    if (cuda_failed(b) || a->rows == 0)
        return;
    if (cuda_is_bf16(b))
        start_gate<__nv_bfloat16, BACKWARD>(cuda_stream(b), a);
    else
        start_gate<float, BACKWARD>(cuda_stream(b), a);
    cuda_check(b, name);
}

extern "C" void cuda_unit_gate_forward(struct backend *b, const struct unit_gate_args *a)
{
    run_gate<false>(b, a, "unit_gate_forward");
}

extern "C" void cuda_unit_gate_backward(struct backend *b, const struct unit_gate_args *a)
{
    run_gate<true>(b, a, "unit_gate_backward");
}

/* A thread N elements, unit after unit. With dy: z and o become their gradients; else y is the sum. */
template <class T, int N, bool BACKWARD>
static __global__ void __launch_bounds__(THREADS) sum_kernel(int64_t units, int64_t n, T *z, T *o, T *y, const T *dy)
{
    const int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * N;
    if (at >= n)
        return;
    float total[N] = {};
    if (BACKWARD)
        elements_load<T, N>(dy + at, total);
    for (int64_t unit = 0; unit < units; unit++) {
        float gate[N], x[N];
        elements_load<T, N>(z + unit * n + at, gate);
        elements_load<T, N>(o + unit * n + at, x);
#pragma unroll
        for (int i = 0; i < N; i++) {
            const float s = sigmoid(gate[i]);
            if (!BACKWARD) {
                total[i] += s * x[i];
                continue;
            }
            gate[i] = total[i] * x[i] * (s * sigmoid(-gate[i]));
            x[i] = total[i] * s;
        }
        if (BACKWARD) {
            elements_store<T, N>(z + unit * n + at, gate);
            elements_store<T, N>(o + unit * n + at, x);
        }
    }
    if (!BACKWARD)
        elements_store<T, N>(y + at, total);
}

template <class T, bool BACKWARD> static void start_sum(cudaStream_t stream, const struct unit_sum_args *a)
{
    if (vectors_fit(a->n, {a->z, a->o, a->y, a->dy}))
        sum_kernel<T, VECTOR, BACKWARD><<<(unsigned)pieces_of(a->n / VECTOR, THREADS), THREADS, 0, stream>>>(
            a->units, a->n, (T *)a->z, (T *)a->o, (T *)a->y, (const T *)a->dy);
    else
        sum_kernel<T, 1, BACKWARD><<<(unsigned)pieces_of(a->n, THREADS), THREADS, 0, stream>>>(
            a->units, a->n, (T *)a->z, (T *)a->o, (T *)a->y, (const T *)a->dy);
}

template <bool BACKWARD> static void run_sum(struct backend *b, const struct unit_sum_args *a, const char *name)
{
    if (cuda_failed(b) || a->n == 0)
        return;
    if (cuda_is_bf16(b))
        start_sum<__nv_bfloat16, BACKWARD>(cuda_stream(b), a);
    else
        start_sum<float, BACKWARD>(cuda_stream(b), a);
    cuda_check(b, name);
}

extern "C" void cuda_unit_sum_forward(struct backend *b, const struct unit_sum_args *a)
{
    run_sum<false>(b, a, "unit_sum_forward");
}

extern "C" void cuda_unit_sum_backward(struct backend *b, const struct unit_sum_args *a)
{
    run_sum<true>(b, a, "unit_sum_backward");
}
