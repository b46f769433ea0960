/* elephant.cu: the elephant function with a height and a width a feature. A thread has one column and goes through the
 * rows of a chunk (column_sum.cuh), so that heights and widths are read once and backward's sums of a column lie in
 * registers. The chunks' sums are added in order. Arithmetic is fp32, the formulas those of kernels/cpu/elephant.c. */
#include "kernels/cuda/column_sum.cuh"
#include "kernels/cuda/operators.h"
#include "kernels/cuda/vector.cuh"

enum { THREADS = 128 };

/* One call for kernels; the partial sums are NULL in forward and where nobody asked. */
struct work {
    int64_t rows, width, rows_each;
    float inverse_a, p;
    const void *log_h, *log_sigma, *dh;
    void *x, *u, *h;
    float *height_sums, *width_sums; /* [chunks][width] */
};

struct feature {
    float height, inverse;
};

/* E, its derivative by x, and by log sigma. */
struct values {
    float e, slope, widening;
};

static __device__ __forceinline__ struct values values_of(float x, float inverse, float p)
{
    const float u = fabsf(x) * inverse;
    const bool large = u > 1.0f;
    const float t = large ? 1.0f / u : u, r = powf(t, p - 1.0f), q = r * t;
    const float scaled = 1.0f / (1.0f + q), steep = p * (scaled * scaled);
    const float sign = x > 0.0f ? -inverse : x < 0.0f ? inverse : 0.0f;
    return {(large ? q : 1.0f) * scaled, sign * ((large ? q * t : r) * steep), q * steep};
}

template <class T> static __device__ __forceinline__ struct feature feature_of(const struct work &w, int64_t column)
{
    return {w.log_h ? expf(element_load(((const T *)w.log_h)[column])) : 1.0f,
            w.log_sigma ? expf(-element_load(((const T *)w.log_sigma)[column])) : w.inverse_a};
}

template <class T> static __global__ void __launch_bounds__(THREADS) forward_chunks(const struct work w)
{
    const int64_t column = (int64_t)blockIdx.x * THREADS + threadIdx.x, first = blockIdx.y * w.rows_each;
    if (column >= w.width)
        return;
    const struct feature f = feature_of<T>(w, column);
    const int64_t end = first + w.rows_each < w.rows ? first + w.rows_each : w.rows;
    for (int64_t at = first * w.width + column; at < end * w.width; at += w.width) {
        const float e = f.height * values_of(element_load(((const T *)w.x)[at]), f.inverse, w.p).e;
        element_store((T *)w.h + at, w.u ? e * element_load(((const T *)w.u)[at]) : e);
    }
}

template <class T> static __global__ void __launch_bounds__(THREADS) backward_chunks(const struct work w)
{
    const int64_t column = (int64_t)blockIdx.x * THREADS + threadIdx.x, first = blockIdx.y * w.rows_each;
    if (column >= w.width)
        return;
    const struct feature f = feature_of<T>(w, column);
    const int64_t end = first + w.rows_each < w.rows ? first + w.rows_each : w.rows;
    float height_sum = 0.0f, width_sum = 0.0f;
    for (int64_t at = first * w.width + column; at < end * w.width; at += w.width) {
        const struct values v = values_of(element_load(((const T *)w.x)[at]), f.inverse, w.p);
        const float scaled = element_load(((const T *)w.dh)[at]) * f.height;
        const float through = w.u ? scaled * element_load(((const T *)w.u)[at]) : scaled;
        height_sum += through * v.e;
        width_sum += through * v.widening;
        element_store((T *)w.x + at, through * v.slope);
        if (w.u)
            element_store((T *)w.u + at, scaled * v.e);
    }
    if (w.height_sums)
        w.height_sums[blockIdx.y * w.width + column] = height_sum;
    if (w.width_sums)
        w.width_sums[blockIdx.y * w.width + column] = width_sum;
}

static struct work work_of(const struct elephant_args *a)
{
    struct work w = {};
    w.rows = a->rows;
    w.width = a->width;
    w.rows_each = cuda_column_chunks(a->rows).rows;
    w.inverse_a = (float)(1 / a->a);
    w.p = (float)a->p;
    w.log_h = a->log_h;
    w.log_sigma = a->log_sigma;
    w.dh = a->dh;
    w.x = a->x;
    w.u = a->u;
    w.h = a->h;
    return w;
}

static dim3 grid_of(const struct elephant_args *a)
{
    return dim3((unsigned)pieces_of(a->width, THREADS), (unsigned)cuda_column_chunks(a->rows).count);
}

extern "C" void cuda_elephant_forward(struct backend *b, const struct elephant_args *a)
{
    if (cuda_failed(b) || a->rows == 0)
        return;
    const struct work w = work_of(a);
    if (cuda_is_bf16(b))
        forward_chunks<__nv_bfloat16><<<grid_of(a), THREADS, 0, cuda_stream(b)>>>(w);
    else
        forward_chunks<float><<<grid_of(a), THREADS, 0, cuda_stream(b)>>>(w);
    cuda_check(b, "elephant_forward");
}

extern "C" void cuda_elephant_backward(struct backend *b, const struct elephant_args *a)
{
    const char *name = "elephant_backward";
    if (cuda_failed(b) || a->rows == 0)
        return;
    struct work w = work_of(a);
    const int64_t chunks = cuda_column_chunks(a->rows).count;
    if (a->d_log_h || a->d_log_sigma) {
        const int64_t sums = chunks * a->width;
        float *memory = (float *)cuda_workspace(b, 2 * sizeof(float) * (size_t)sums);
        if (!memory)
            return;
        w.height_sums = a->d_log_h ? memory : NULL;
        w.width_sums = a->d_log_sigma ? memory + sums : NULL;
    }
    if (cuda_is_bf16(b))
        backward_chunks<__nv_bfloat16><<<grid_of(a), THREADS, 0, cuda_stream(b)>>>(w);
    else
        backward_chunks<float><<<grid_of(a), THREADS, 0, cuda_stream(b)>>>(w);
    cuda_check(b, name);
    if (w.height_sums)
        cuda_column_sum_chunks(b, chunks, a->width, w.height_sums, (float *)a->d_log_h, name);
    if (w.width_sums)
        cuda_column_sum_chunks(b, chunks, a->width, w.width_sums, (float *)a->d_log_sigma, name);
}
