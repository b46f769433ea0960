/* attention_memory.cu: attention that also sees a memory of earlier keys and values, and what is kept for the next row.
 *
 * Memory and row are gathered into one array of keys, turned by their positions, and values, which attention.cu's
 * kernels take as they are. Their backward finds the gradients of all keys, those of the memory too, in scratch; the
 * row's are turned back into d_qkv.
 */
#include "kernels/cuda/attention_common.cuh"
#include "kernels/cuda/operators.h"

namespace
{

/* Rows k | v on their way from one array to another; k is turned by the row's angles, or back. */
struct move_problem {
    int64_t count; /* elements of all rows */
    int seq, width, head_dim, pairs;
    float sign;
    const float *angles; /* of row 0; NULL without pairs */
    struct attention_view from, to;
};

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

template <class T> __global__ void move_kernel(const move_problem p)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.count)
        return;
    int column = (int)(i % (2 * p.width)), inside = column % p.head_dim;
    int64_t position = i / (2 * p.width);
    int sequence = (int)(position / p.seq), t = (int)(position - (int64_t)sequence * p.seq);
    const T *from = view_at<const T>(p.from, sequence, t, column);
    T *to = view_at<T>(p.to, sequence, t, column);
    if (column >= p.width || inside >= 2 * p.pairs) {
        *to = *from;
        return;
    }
    bool low = inside < p.pairs;
    const float *angles = p.angles + (int64_t)t * 2 * p.pairs + (low ? inside : inside - p.pairs);
    float c = angles[0], s = p.sign * angles[p.pairs];
    float self = to_float(from[0]), other = to_float(low ? from[p.pairs] : from[-p.pairs]);
    store(to, low ? self * c - other * s : self * c + other * s);
}

void move_rows(struct backend *b, const struct attention_args *a, int64_t seq, struct attention_view from,
               struct attention_view to, const float *angles, float sign)
{
    move_problem p = {};
    p.width = (int)(a->heads * a->head_dim);
    p.count = a->batch * seq * 2 * p.width;
    p.seq = (int)seq;
    p.head_dim = (int)a->head_dim;
    p.pairs = (int)(a->rotary_dims / 2);
    p.sign = sign;
    p.angles = angles;
    p.from = from;
    p.to = to;
    int64_t blocks = (p.count + 255) / 256;
    if (cuda_is_bf16(b))
        launch(move_kernel<bf16>, blocks, 256, 0, cuda_stream(b), p);
    else
        launch(move_kernel<float>, blocks, 256, 0, cuda_stream(b), p);
}

/* A thread walks one column of one chain of positions that are equal modulo tokens, upwards: in place, and nothing is
 * read after it was overwritten. */
template <class T> __global__ void remember_kernel(const remember_args a, int64_t chains, int64_t count)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count)
        return;
    int64_t kv = 2 * a.width, column = i % kv, chain = i / kv % chains, sequence = i / kv / chains;
    T *past = (T *)a.past + sequence * a.memory * kv + column;
    const T *row = (const T *)a.qkv + sequence * a.seq * 3 * a.width + a.width + column;
    for (int64_t j = chain; j < a.memory; j += a.tokens) {
        int64_t from = j + a.tokens, token = from - a.memory;
        if (token >= 0 && a.places)
            token = a.places[sequence * a.tokens + token];
        past[j * kv] = from < a.memory ? past[from * kv] : row[token * 3 * a.width];
    }
}

struct attention_view part(struct attention_view x, int64_t elements, size_t size)
{
    x.data = (char *)x.data + elements * (int64_t)size;
    return x;
}

/* The arrays of a call, each from its first element on. */
struct arrays {
    int64_t width;
    size_t size;
    struct attention_view qkv, d_qkv, past, kv, d_kv;
};

struct arrays arrays_of(struct backend *b, const struct attention_args *a)
{
    struct arrays x = {};
    int64_t w = a->heads * a->head_dim, keys = a->memory + a->seq;
    x.width = w;
    x.size = dtype_size(b->storage);
    x.qkv = {a->qkv, a->seq * 3 * w, 3 * w};
    x.d_qkv = {a->d_qkv, a->seq * 3 * w, 3 * w};
    x.past = {(void *)a->past, a->memory * 2 * w, 2 * w};
    x.kv = {a->kv, keys * 2 * w, 2 * w};
    x.d_kv = {a->d_kv, keys * 2 * w, 2 * w};
    return x;
}

struct attention_kv_args kv_args(const struct attention_args *a, const struct arrays &x)
{
    struct attention_kv_args kv = {};
    kv.batch = a->batch;
    kv.heads = a->heads;
    kv.head_dim = a->head_dim;
    kv.seq_q = a->seq;
    kv.seq_k = a->memory + a->seq;
    kv.scale = a->scale;
    kv.first = a->first;
    kv.q = x.qkv;
    kv.k = x.kv;
    kv.v = part(x.kv, x.width, x.size);
    kv.out = {a->out, a->seq * x.width, x.width};
    kv.lse = (float *)a->lse;
    kv.d_out = {(void *)a->d_out, a->seq * x.width, x.width};
    kv.dq = x.d_qkv;
    kv.dk = x.d_kv;
    kv.dv = part(x.d_kv, x.width, x.size);
    kv.algorithm = ATTENTION_AUTO;
    return kv;
}

/* NULL without rotary dims, and after an error. */
const float *find_angles(struct backend *b, const struct attention_args *a)
{
    int64_t keys = a->memory + a->seq;
    if (a->rotary_dims == 0)
        return nullptr;
    float *scratch = (float *)cuda_workspace(b, sizeof(float) * (size_t)(keys * a->rotary_dims));
    return scratch ? attention_angles(b, keys, a->rotary_dims, a->rotary_base, scratch) : nullptr;
}

void turn_queries(struct backend *b, const struct attention_args *a, struct attention_view x, const float *angles,
                  bool inverse)
{
    if (a->rotary_dims > 0)
        rotary_apply({a->batch, a->seq, a->heads, a->head_dim, a->rotary_dims, a->memory, a->rotary_base, inverse, x},
                     !cuda_is_bf16(b), angles, cuda_stream(b));
}

} // namespace

void attention_memory_forward(struct backend *b, const struct attention_args *a)
{
    if (cuda_failed(b) || a->batch * a->seq == 0)
        return;
    const struct arrays x = arrays_of(b, a);
    const float *angles = find_angles(b, a), *row_angles = angles ? angles + a->memory * a->rotary_dims : nullptr;
    if (cuda_failed(b))
        return;
    move_rows(b, a, a->memory, x.past, x.kv, angles, 1.0f);
    move_rows(b, a, a->seq, part(x.qkv, x.width, x.size), part(x.kv, a->memory * 2 * x.width, x.size), row_angles,
              1.0f);
    turn_queries(b, a, x.qkv, row_angles, false);
    struct attention_kv_args kv = kv_args(a, x);
    cuda_attention_kv_forward(b, &kv);
}

void attention_memory_backward(struct backend *b, const struct attention_args *a)
{
    if (cuda_failed(b) || a->batch * a->seq == 0)
        return;
    const struct arrays x = arrays_of(b, a);
    struct attention_kv_args kv = kv_args(a, x);
    cuda_attention_kv_backward(b, &kv);
    const float *angles = cuda_failed(b) ? nullptr : find_angles(b, a);
    const float *row_angles = angles ? angles + a->memory * a->rotary_dims : nullptr;
    if (cuda_failed(b))
        return;
    turn_queries(b, a, x.d_qkv, row_angles, true);
    move_rows(b, a, a->seq, part(x.d_kv, a->memory * 2 * x.width, x.size), part(x.d_qkv, x.width, x.size), row_angles,
              -1.0f);
    cuda_check(b, "attention_backward");
    attention_sum_bias(b, a);
}

extern "C" void cuda_remember(struct backend *b, const struct remember_args *a)
{
    int64_t chains = a->tokens < a->memory ? a->tokens : a->memory, count = a->batch * chains * 2 * a->width;
    if (cuda_failed(b) || count == 0)
        return;
    int64_t blocks = (count + 255) / 256;
    if (cuda_is_bf16(b))
        launch(remember_kernel<bf16>, blocks, 256, 0, cuda_stream(b), *a, chains, count);
    else
        launch(remember_kernel<float>, blocks, 256, 0, cuda_stream(b), *a, chains, count);
    cuda_check(b, "remember");
}
