/* column_sum.cu: column sums in two stages.
 *
 * Rows are cut into chunks whose size follows from their number alone. Stage one: a block sums a chunk of rows over 32
 * vectors of columns, 8 rows at a time, one a warp. Stage two adds the chunks' sums in order. One chunk needs no stage
 * two. Columns beyond the last whole vector, and matrices that are not aligned, are read element by element.
 */
#include "kernels/cuda/column_sum.cuh"

#include <cuda_bf16.h>

enum { WARPS = 8, MOST_CHUNKS = 256, LEAST_ROWS = 64, REDUCE_COLUMNS = 32 };

struct column_chunks cuda_column_chunks(int64_t rows)
{
    int64_t n = (rows + MOST_CHUNKS - 1) / MOST_CHUNKS, least = LEAST_ROWS;
    n = (n + WARPS - 1) / WARPS * WARPS;
    n = n < least ? least : n;
    return {n, (rows + n - 1) / n};
}

size_t cuda_column_sum_bytes(int64_t rows, int64_t columns)
{
    return (size_t)(cuda_column_chunks(rows).count * columns) * sizeof(float);
}

static __device__ float widen(float x)
{
    return x;
}

static __device__ float widen(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}

/* Lane l of a block has columns l*V … l*V+V-1 when vectors are read, else l, l+32, …: both coalesced. */
template <typename T, bool VECTOR>
static __global__ __launch_bounds__(32 * WARPS) void sum_chunks(int64_t rows, int64_t columns, int64_t ld,
                                                                int64_t rows_each, const T *x, float *partial,
                                                                bool only)
{
    constexpr int V = 16 / sizeof(T);
    __shared__ float parts[WARPS][32 * V];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int64_t column0 = blockIdx.x * (int64_t)(32 * V), first = blockIdx.y * rows_each;
    int64_t last = first + rows_each < rows ? first + rows_each : rows;
    float sum[V] = {};
    if (VECTOR && column0 + lane * V + V <= columns) {
        const T *p = x + column0 + lane * V;
#pragma unroll 4
        for (int64_t i = first + warp; i < last; i += WARPS) {
            uint4 raw = __ldg((const uint4 *)(p + i * ld));
            const T *element = (const T *)&raw;
#pragma unroll
            for (int v = 0; v < V; v++)
                sum[v] += widen(element[v]);
        }
    } else {
        for (int64_t i = first + warp; i < last; i += WARPS)
#pragma unroll
            for (int v = 0; v < V; v++) {
                int64_t j = column0 + (VECTOR ? lane * V + v : lane + 32 * v);
                if (j < columns)
                    sum[v] += widen(x[i * ld + j]);
            }
    }
#pragma unroll
    for (int v = 0; v < V; v++)
        parts[warp][VECTOR ? lane * V + v : lane + 32 * v] = sum[v];
    __syncthreads();
    for (int j = threadIdx.x; j < 32 * V && column0 + j < columns; j += 32 * WARPS) {
        float total = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++)
            total += parts[w][j];
        float *to = partial + blockIdx.y * columns + column0 + j;
        *to = only ? *to + total : total;
    }
}

/* sums[j] += the chunks' sums; thread row g takes chunks g, g + 8, …. */
static __global__ __launch_bounds__(REDUCE_COLUMNS *WARPS) void add_chunks(int64_t columns, int chunks,
                                                                           const float *partial, float *sums)
{
    __shared__ float parts[WARPS][REDUCE_COLUMNS];
    int lane = threadIdx.x % REDUCE_COLUMNS, group = threadIdx.x / REDUCE_COLUMNS;
    int64_t j = blockIdx.x * (int64_t)REDUCE_COLUMNS + lane;
    float sum = 0;
    if (j < columns)
#pragma unroll 8
        for (int i = group; i < chunks; i += WARPS)
            sum += partial[i * columns + j];
    parts[group][lane] = sum;
    __syncthreads();
    if (group != 0 || j >= columns)
        return;
    float total = 0;
#pragma unroll
    for (int g = 0; g < WARPS; g++)
        total += parts[g][lane];
    sums[j] += total;
}

static void launch_add(cudaStream_t stream, int64_t columns, int64_t chunks, const float *partial, float *sums)
{
    add_chunks<<<(unsigned)((columns + REDUCE_COLUMNS - 1) / REDUCE_COLUMNS), REDUCE_COLUMNS * WARPS, 0, stream>>>(
        columns, (int)chunks, partial, sums);
}

template <typename T>
static void launch(cudaStream_t stream, int64_t rows, int64_t columns, int64_t ld, const T *x, float *sums,
                   float *scratch)
{
    constexpr int V = 16 / sizeof(T);
    const struct column_chunks chunks = cuda_column_chunks(rows);
    const dim3 grid((unsigned)((columns + 32 * V - 1) / (32 * V)), (unsigned)chunks.count);
    const bool only = chunks.count == 1;
    float *to = only ? sums : scratch;
    if ((uintptr_t)x % 16 == 0 && ld % V == 0)
        sum_chunks<T, true><<<grid, 32 * WARPS, 0, stream>>>(rows, columns, ld, chunks.rows, x, to, only);
    else
        sum_chunks<T, false><<<grid, 32 * WARPS, 0, stream>>>(rows, columns, ld, chunks.rows, x, to, only);
    if (!only)
        launch_add(stream, columns, chunks.count, scratch, sums);
}

void cuda_column_sum_chunks(struct backend *b, int64_t count, int64_t columns, const float *partial, float *sums,
                            const char *operator_name)
{
    if (cuda_failed(b) || count <= 0 || columns <= 0)
        return;
    launch_add(cuda_stream(b), columns, count, partial, sums);
    cuda_check(b, operator_name);
}

void cuda_column_sum(struct backend *b, int64_t rows, int64_t columns, int64_t ld, const void *x, float *sums,
                     void *scratch, const char *operator_name)
{
    if (cuda_failed(b) || rows <= 0 || columns <= 0)
        return;
    if (cuda_is_bf16(b))
        launch(cuda_stream(b), rows, columns, ld, (const __nv_bfloat16 *)x, sums, (float *)scratch);
    else
        launch(cuda_stream(b), rows, columns, ld, (const float *)x, sums, (float *)scratch);
    cuda_check(b, operator_name);
}
