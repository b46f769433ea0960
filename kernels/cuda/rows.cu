/* rows.cu: rows that come from elsewhere than the token table, put into sequences, and their gradients. A table row
 * that many places were made of is summed by one thread a column, in one order. */
#include "kernels/cuda/operators.h"

#include <cuda_bf16.h>
#include "kernels/cuda/launch.cuh"

typedef __nv_bfloat16 bf16;

namespace
{

__device__ __forceinline__ float to_float(float x)
{
    return x;
}
__device__ __forceinline__ float to_float(bf16 x)
{
    return __bfloat162float(x);
}
__device__ __forceinline__ void store(float *to, float x)
{
    *to = x;
}
__device__ __forceinline__ void store(bf16 *to, float x)
{
    *to = __float2bfloat16_rn(x);
}

template <class T> __device__ __forceinline__ T *place_of(const rows_args &a, int64_t sequence, int64_t i)
{
    int64_t at = a.at ? a.at[sequence * a.count + i] : a.offset + i;
    return (T *)a.x + (sequence * a.seq + at) * a.dim;
}

template <class T> __global__ void put_kernel(const rows_args a)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a.batch * a.count * a.dim)
        return;
    int64_t column = i % a.dim, row = i / a.dim % a.count, sequence = i / a.dim / a.count;
    const T *from = (const T *)a.table + (sequence * a.table_stride + row % a.table_rows) * a.dim;
    place_of<T>(a, sequence, row)[column] = from[column];
}

/* One thread a column of a row of the table; with one table for all sequences it walks over all of them. */
template <class T, class G> __global__ void take_kernel(const rows_args a, int64_t tables)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= tables * a.table_rows * a.dim)
        return;
    int64_t column = i % a.dim, row = i / a.dim % a.table_rows, table = i / a.dim / a.table_rows;
    int64_t begin = tables == 1 ? 0 : table, end = tables == 1 ? a.batch : table + 1;
    G *to = a.d_table ? (G *)a.d_table + (table * a.table_stride + row) * a.dim + column : nullptr;
    float sum = to ? to_float(*to) : 0.0f;
    for (int64_t sequence = begin; sequence < end; sequence++)
        for (int64_t j = row; j < a.count; j += a.table_rows) {
            T *from = place_of<T>(a, sequence, j) + column;
            sum += to_float(*from);
            store(from, 0.0f);
        }
    if (to)
        store(to, sum);
}

template <class T, class G> void take(struct backend *b, const struct rows_args *a)
{
    int64_t tables = a->table_stride > 0 ? a->batch : 1, threads = tables * a->table_rows * a->dim;
    launch(take_kernel<T, G>, (threads + 127) / 128, 128, 0, cuda_stream(b), *a, tables);
}

} // namespace

extern "C" void cuda_put_rows(struct backend *b, const struct rows_args *a)
{
    int64_t threads = a->batch * a->count * a->dim, blocks = (threads + 255) / 256;
    if (cuda_failed(b) || threads == 0)
        return;
    if (cuda_is_bf16(b))
        launch(put_kernel<bf16>, blocks, 256, 0, cuda_stream(b), *a);
    else
        launch(put_kernel<float>, blocks, 256, 0, cuda_stream(b), *a);
    cuda_check(b, "put_rows");
}

extern "C" void cuda_take_rows(struct backend *b, const struct rows_args *a)
{
    if (cuda_failed(b) || a->batch * a->count * a->dim == 0)
        return;
    if (!cuda_is_bf16(b))
        take<float, float>(b, a);
    else if (a->wide)
        take<bf16, float>(b, a);
    else
        take<bf16, bf16>(b, a);
    cuda_check(b, "take_rows");
}
