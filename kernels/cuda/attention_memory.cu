/* attention_memory.cu: the keys and values of a memory (Dai et al. 2019): gathered before those of the row for
 * attention.cu's kernels, and what is kept of them for the next row.
 */
#include "kernels/cuda/attention_common.cuh"
#include "kernels/cuda/operators.h"
#include "kernels/cuda/vector.cuh"

namespace
{

struct gather_problem {
    int64_t pieces; /* of kv */
    int keys, memory, width, head_dim, pairs;
    const float *angles; /* [keys][2 * pairs], or NULL without pairs */
    struct attention_view past, row, kv;
};

/* A thread moves N neighbours of one position; those of a key that turn meet the other half of their pairs. */
template <class T, int N> __global__ void gather_kernel(const gather_problem p)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.pieces)
        return;
    int across = 2 * p.width / N, position = (int)(i / across), column = (int)(i - (int64_t)position * across) * N;
    int sequence = position / p.keys, j = position - sequence * p.keys, inside = column % p.head_dim;
    const T *from = j < p.memory ? view_at<const T>(p.past, sequence, j, column)
                                 : view_at<const T>(p.row, sequence, j - p.memory, column);
    T *to = view_at<T>(p.kv, sequence, j, column);
    if (column >= p.width || inside >= 2 * p.pairs) {
        packed<T, N> v;
        packed_load<T, N>(&v, from);
        packed_store<T, N>(to, v);
        return;
    }
    const bool low = inside < p.pairs;
    const float *angles = p.angles + (int64_t)j * 2 * p.pairs + (low ? inside : inside - p.pairs);
    float self[N], other[N];
    elements_load<T, N>(from, self);
    elements_load<T, N>(low ? from + p.pairs : from - p.pairs, other);
#pragma unroll
    for (int e = 0; e < N; e++)
        self[e] = self[e] * angles[e] + (low ? -other[e] : other[e]) * angles[p.pairs + e];
    elements_store<T, N>(to, self);
}

template <class T> void start_gather(gather_problem p, int64_t positions, cudaStream_t stream)
{
    const bool vectors =
        p.head_dim % VECTOR == 0 && p.pairs % VECTOR == 0 && vectors_fit(p.width, {p.past.data, p.row.data, p.kv.data});
    p.pieces = positions * 2 * p.width / (vectors ? VECTOR : 1);
    const int64_t blocks = pieces_of(p.pieces, 256);
    if (vectors)
        launch(gather_kernel<T, VECTOR>, blocks, 256, 0, stream, p);
    else
        launch(gather_kernel<T, 1>, blocks, 256, 0, stream, p);
}

/* A thread walks N neighbours of one chain of positions that are equal modulo tokens, upwards: in place, and nothing
 * is read after it was overwritten. */
template <class T, int N> __global__ void remember_kernel(const remember_args a, int64_t chains, int64_t count)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count)
        return;
    const int kv = 2 * (int)a.width, across = kv / N;
    const int64_t link = i / across, sequence = link / chains, chain = link - sequence * chains;
    const int column = (int)(i - link * across) * N;
    T *past = (T *)a.past + sequence * a.memory * kv + column;
    const T *row = (const T *)a.qkv + sequence * a.seq * 3 * a.width + a.width + column;
    for (int64_t j = chain; j < a.memory; j += a.tokens) {
        int64_t from = j + a.tokens, token = from - a.memory;
        if (token >= 0 && a.places)
            token = a.places[sequence * a.tokens + token];
        packed<T, N> v;
        packed_load<T, N>(&v, from < a.memory ? past + from * kv : row + token * 3 * a.width);
        packed_store<T, N>(past + j * kv, v);
    }
}

template <class T> void start_remember(const struct remember_args &a, int64_t chains, cudaStream_t stream)
{
    const bool vectors = vectors_fit(a.width, {a.past, a.qkv});
    const int64_t count = a.batch * chains * 2 * a.width / (vectors ? VECTOR : 1), blocks = pieces_of(count, 256);
    if (vectors)
        launch(remember_kernel<T, VECTOR>, blocks, 256, 0, stream, a, chains, count);
    else
        launch(remember_kernel<T, 1>, blocks, 256, 0, stream, a, chains, count);
}

} // namespace

void attention_gather(struct backend *b, const struct attention_args *a, const float *angles)
{
    const int64_t width = a->heads * a->head_dim, keys = a->memory + a->seq;
    gather_problem p = {};
    p.keys = (int)keys;
    p.memory = (int)a->memory;
    p.width = (int)width;
    p.head_dim = (int)a->head_dim;
    p.pairs = (int)(a->rotary_dims / 2);
    p.angles = angles;
    p.past = {(void *)a->past, a->memory * 2 * width, 2 * width};
    p.row = {(char *)a->qkv + (size_t)width * dtype_size(b->storage), a->seq * 3 * width, 3 * width};
    p.kv = {a->kv, keys * 2 * width, 2 * width};
    if (cuda_is_bf16(b))
        start_gather<bf16>(p, a->batch * keys, cuda_stream(b));
    else
        start_gather<float>(p, a->batch * keys, cuda_stream(b));
}

extern "C" void cuda_remember(struct backend *b, const struct remember_args *a)
{
    const int64_t chains = a->tokens < a->memory ? a->tokens : a->memory;
    if (cuda_failed(b) || a->batch * chains * a->width == 0)
        return;
    if (cuda_is_bf16(b))
        start_remember<bf16>(*a, chains, cuda_stream(b));
    else
        start_remember<float>(*a, chains, cuda_stream(b));
    cuda_check(b, "remember");
}
