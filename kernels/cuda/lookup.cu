/* lookup.cu: softmax attention over learned keys and values: the attention of attention.cu with one sequence of all
 * rows, of whose queries each sees every key. The keys' gradients come out of it rounded to storage, in the workspace
 * behind what attention takes there, and are then added to the wide ones. */
#include "kernels/cuda/attention.h"
#include "kernels/cuda/operators.h"
#include "kernels/cuda/vector.cuh"

enum { THREADS = 256 };

template <class T, int N>
static __global__ void __launch_bounds__(THREADS) add_kernel(int64_t n, const T *from, float *to)
{
    const int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * N;
    if (at >= n)
        return;
    float x[N], sum[N];
    elements_load<T, N>(from + at, x);
    elements_load<float, N>(to + at, sum);
#pragma unroll
    for (int i = 0; i < N; i++)
        sum[i] += x[i];
    elements_store<float, N>(to + at, sum);
}

template <class T> static void start_add(cudaStream_t stream, int64_t n, const T *from, float *to)
{
    if (vectors_fit(n, {from, to}))
        add_kernel<T, VECTOR><<<(unsigned)pieces_of(n / VECTOR, THREADS), THREADS, 0, stream>>>(n, from, to);
    else
        add_kernel<T, 1><<<(unsigned)pieces_of(n, THREADS), THREADS, 0, stream>>>(n, from, to);
}

static void add(struct backend *b, int64_t n, const void *from, void *to)
{
    if (cuda_is_bf16(b))
        start_add(cuda_stream(b), n, (const __nv_bfloat16 *)from, (float *)to);
    else
        start_add(cuda_stream(b), n, (const float *)from, (float *)to);
    cuda_check(b, "lookup_backward");
}

static struct attention_kv_args kv_args(const struct lookup_args *a)
{
    const int64_t width = a->heads * a->head_dim;
    struct attention_kv_args kv = {};
    kv.batch = 1;
    kv.heads = a->heads;
    kv.head_dim = a->head_dim;
    kv.seq_q = a->rows;
    kv.seq_k = a->keys;
    kv.all_keys = true;
    kv.scale = a->scale;
    kv.q = {(void *)a->q, a->rows * width, width};
    kv.k = {(void *)a->k, a->keys * width, width};
    kv.v = {(void *)a->v, a->keys * width, width};
    kv.out = {a->out, a->rows * width, width};
    kv.lse = (float *)a->lse;
    kv.algorithm = ATTENTION_AUTO;
    return kv;
}

extern "C" void cuda_lookup_forward(struct backend *b, const struct lookup_args *a)
{
    const struct attention_kv_args kv = kv_args(a);
    cuda_attention_kv_forward(b, &kv);
}

extern "C" void cuda_lookup_backward(struct backend *b, const struct lookup_args *a)
{
    if (cuda_failed(b) || a->rows == 0)
        return;
    struct attention_kv_args kv = kv_args(a);
    const int64_t width = a->heads * a->head_dim, n = a->keys * width;
    const size_t before = cuda_attention_kv_backward_bytes(&kv), bytes = (size_t)n * dtype_size(b->storage);
    const size_t each = (bytes + 255) & ~(size_t)255;
    char *memory = (char *)cuda_workspace(b, before + 2 * each);
    if (!memory)
        return;
    void *dk = memory + before, *dv = memory + before + each;
    kv.d_out = {(void *)a->d_out, a->rows * width, width};
    kv.dq = {a->dq, a->rows * width, width};
    kv.dk = {dk, a->keys * width, width};
    kv.dv = {dv, a->keys * width, width};
    cuda_attention_kv_backward(b, &kv);
    if (cuda_failed(b))
        return;
    add(b, n, dk, a->d_k);
    add(b, n, dv, a->d_v);
}
