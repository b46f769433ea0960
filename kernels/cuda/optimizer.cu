/* optimizer.cu: the gradient's norm, AdamW and the rounded copies, over all tensors of a model at once.
 *
 * Kernels get the list of tensors by value, as many as kernel parameters hold: nothing has to be uploaded, and a
 * captured step keeps the list. A piece is a range of one tensor, one block's work; where it lies follows from the
 * tensors' sizes alone. What a step's update needs beyond the tensors (lr, clip, bias corrections) one thread computes
 * in double first, from the values in device memory, and counts the update there.
 */
#include "kernels/cuda/operators.h"

#include "kernels/cuda/pointwise.h"
#include "kernels/cuda/vector.cuh"

enum {
    TENSORS = 64, /* a launch: kernel parameters are 4 KiB at most */
    QUAD = 4,     /* floats in 16 bytes */
    BLOCK = 256,
    BATCH = 2, /* quads of a thread in flight */
    NORM_PIECE = 16384,
    UPDATE_PIECE = 4096,
    TOTAL_THREADS = 1024,
};

struct tensor {
    float *param, *m, *v;
    const float *grad;
    __nv_bfloat16 *copy;
    int64_t n;
    int32_t pieces_before; /* in this launch */
    bool decay, vectors;
};

struct tensor_list {
    int count;
    struct tensor tensors[TENSORS];
};

static_assert(sizeof(struct tensor_list) <= 4096 - 64, "a list and the other parameters of a kernel");

/* The step's update; `apply` is false when the norm is not finite. */
struct update {
    float clip, keep, rate, root;
    bool apply;
};

struct factors {
    float beta1, rest1, beta2, rest2, eps;
};

/* One block's range. */
struct span {
    int tensor;
    int64_t from, to;
};

template <int PIECE> static __device__ __forceinline__ struct span span_of(const struct tensor_list &list)
{
    int low = 0, high = list.count - 1;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (list.tensors[middle].pieces_before <= (int)blockIdx.x)
            low = middle;
        else
            high = middle - 1;
    }
    const int64_t from = (int64_t)((int)blockIdx.x - list.tensors[low].pieces_before) * PIECE;
    const int64_t n = list.tensors[low].n;
    return {low, from, from + PIECE < n ? from + PIECE : n};
}

/* Calls launch(list, pieces) for as many tensors at a time as fit; empty ones, and those that `wanted` refuses, are
 * left out. */
template <int PIECE, class Wanted, class Launch>
static void for_lists(const struct optimizer_tensor *tensors, int count, Wanted wanted, Launch launch)
{
    struct tensor_list list;
    int64_t pieces = 0;
    list.count = 0;
    for (int i = 0; i < count; i++) {
        const struct optimizer_tensor *t = &tensors[i];
        if (t->n == 0 || !wanted(t))
            continue;
        const int64_t more = pieces_of(t->n, PIECE);
        if (list.count == TENSORS || (list.count > 0 && pieces + more > INT32_MAX)) {
            launch(list, pieces);
            list.count = 0;
            pieces = 0;
        }
        struct tensor *to = &list.tensors[list.count++];
        to->param = (float *)t->param;
        to->m = (float *)t->m;
        to->v = (float *)t->v;
        to->grad = (const float *)t->grad;
        to->copy = (__nv_bfloat16 *)t->copy;
        to->n = t->n;
        to->pieces_before = (int32_t)pieces;
        to->decay = t->decay;
        to->vectors = vectors_fit(0, {t->param, t->m, t->v, t->grad}) && (uintptr_t)t->copy % 8 == 0;
        pieces += more;
    }
    if (list.count > 0)
        launch(list, pieces);
}

static __device__ __forceinline__ double square(float x)
{
    return (double)x * (double)x;
}

static __global__ void __launch_bounds__(BLOCK) sum_squares(const __grid_constant__ tensor_list list, double *sums)
{
    __shared__ double slots[BLOCK / WARP];
    const struct span s = span_of<NORM_PIECE>(list);
    const float *g = list.tensors[s.tensor].grad;
    double sum = 0;
    int64_t from = s.from;
    if (list.tensors[s.tensor].vectors) {
        const int64_t quads_end = s.from + (s.to - s.from) / QUAD * QUAD;
#pragma unroll 4
        for (int64_t i = s.from + threadIdx.x * QUAD; i < quads_end; i += BLOCK * QUAD) {
            const float4 x = *reinterpret_cast<const float4 *>(g + i);
            sum += (square(x.x) + square(x.y)) + (square(x.z) + square(x.w));
        }
        from = quads_end;
    }
    for (int64_t i = from + threadIdx.x; i < s.to; i += BLOCK)
        sum += square(g[i]);
    sum = block_sum(sum, slots);
    if (threadIdx.x == 0)
        sums[blockIdx.x] = sum;
}

/* A thread adds each TOTAL_THREADS-th sum, then the threads' sums in a fixed tree. */
static __global__ void __launch_bounds__(TOTAL_THREADS) root_of_total(const double *sums, int64_t n, double *norm)
{
    __shared__ double slots[TOTAL_THREADS / WARP];
    double sum = 0;
#pragma unroll 4
    for (int64_t i = threadIdx.x; i < n; i += TOTAL_THREADS)
        sum += sums[i];
    sum = block_sum(sum, slots);
    if (threadIdx.x == 0)
        *norm = sqrt(sum);
}

extern "C" size_t cuda_grad_norm_bytes(const struct optimizer_tensor *tensors, int count)
{
    int64_t pieces = 0;
    for (int i = 0; i < count; i++)
        pieces += pieces_of(tensors[i].n, NORM_PIECE);
    return (size_t)(pieces > 0 ? pieces : 1) * sizeof(double);
}

extern "C" void cuda_grad_norm(struct backend *b, const struct grad_norm_args *a)
{
    if (cuda_failed(b))
        return;
    cudaStream_t stream = cuda_stream(b);
    double *sums = (double *)cuda_workspace(b, cuda_grad_norm_bytes(a->tensors, a->count));
    if (!sums)
        return;
    int64_t done = 0;
    for_lists<NORM_PIECE>(
        a->tensors, a->count, [](const struct optimizer_tensor *) { return true; },
        [&](const struct tensor_list &list, int64_t pieces) {
            sum_squares<<<(unsigned)pieces, BLOCK, 0, stream>>>(list, sums + done);
            done += pieces;
        });
    root_of_total<<<1, TOTAL_THREADS, 0, stream>>>(sums, done, a->norm);
    cuda_check(b, "grad_norm");
}

/* What adamw needs of its args on the device. */
struct update_inputs {
    const double *norm;
    const struct cuda_step_values *values;
    int64_t *updates;
    double clip, beta1, beta2, weight_decay;
};

static __global__ void prepare_update(const update_inputs in, struct update *out)
{
    const double norm = *in.norm;
    struct update u = {};
    u.apply = isfinite(norm);
    if (u.apply) {
        const double t = (double)(*in.updates + 1), lr = in.values->lr;
        const double clip = in.clip > 0 ? in.clip / (norm + 1e-6) : 1.0;
        u.clip = (float)(clip < 1.0 ? clip : 1.0);
        u.keep = (float)(1.0 - lr * in.weight_decay);
        u.rate = (float)(lr / (1.0 - pow(in.beta1, t)));
        u.root = (float)(1.0 / sqrt(1.0 - pow(in.beta2, t)));
        *in.updates += 1;
    }
    *out = u;
}

static __device__ __forceinline__ void update_one(float *p, float grad, float *m, float *v, const update &u, float keep,
                                                  const factors &k)
{
    const float g = grad * u.clip;
    *m = k.beta1 * *m + k.rest1 * g;
    *v = k.beta2 * *v + k.rest2 * (g * g);
    *p = *p * keep - u.rate * (*m / (sqrtf(*v) * u.root + k.eps));
}

static __device__ __forceinline__ void copy_quad(__nv_bfloat16 *to, const float4 &p)
{
    *reinterpret_cast<uint2 *>(to) = make_uint2(bf16_pair(p.x, p.y), bf16_pair(p.z, p.w));
}

static __global__ void __launch_bounds__(BLOCK)
    update_tensors(const __grid_constant__ tensor_list list, const struct update *update_now, const factors k)
{
    const struct update u = *update_now;
    if (!u.apply)
        return;
    const struct span s = span_of<UPDATE_PIECE>(list);
    const struct tensor &t = list.tensors[s.tensor];
    float *param = t.param, *m = t.m, *v = t.v;
    const float *grad = t.grad;
    __nv_bfloat16 *copy = t.copy;
    const float keep = t.decay ? u.keep : 1.0f;
    int64_t from = s.from;
    if (t.vectors) {
        const int64_t quads_end = s.from + (s.to - s.from) / QUAD * QUAD;
        for (int64_t first = s.from + threadIdx.x * QUAD; first < quads_end; first += BATCH * BLOCK * QUAD) {
            float4 qp[BATCH], qg[BATCH], qm[BATCH], qv[BATCH];
#pragma unroll
            for (int i = 0; i < BATCH; i++) {
                const int64_t at = first + i * (BLOCK * QUAD);
                if (at >= quads_end)
                    break;
                qg[i] = *reinterpret_cast<const float4 *>(grad + at);
                qp[i] = *reinterpret_cast<const float4 *>(param + at);
                qm[i] = *reinterpret_cast<const float4 *>(m + at);
                qv[i] = *reinterpret_cast<const float4 *>(v + at);
            }
#pragma unroll
            for (int i = 0; i < BATCH; i++) {
                const int64_t at = first + i * (BLOCK * QUAD);
                if (at >= quads_end)
                    break;
                update_one(&qp[i].x, qg[i].x, &qm[i].x, &qv[i].x, u, keep, k);
                update_one(&qp[i].y, qg[i].y, &qm[i].y, &qv[i].y, u, keep, k);
                update_one(&qp[i].z, qg[i].z, &qm[i].z, &qv[i].z, u, keep, k);
                update_one(&qp[i].w, qg[i].w, &qm[i].w, &qv[i].w, u, keep, k);
                *reinterpret_cast<float4 *>(param + at) = qp[i];
                *reinterpret_cast<float4 *>(m + at) = qm[i];
                *reinterpret_cast<float4 *>(v + at) = qv[i];
                if (copy)
                    copy_quad(copy + at, qp[i]);
            }
        }
        from = quads_end;
    }
    for (int64_t i = from + threadIdx.x; i < s.to; i += BLOCK) {
        update_one(&param[i], grad[i], &m[i], &v[i], u, keep, k);
        if (copy)
            copy[i] = __float2bfloat16_rn(param[i]);
    }
}

extern "C" size_t cuda_adamw_bytes(void)
{
    return sizeof(struct update);
}

extern "C" void cuda_adamw(struct backend *b, const struct adamw_args *a)
{
    if (cuda_failed(b))
        return;
    cudaStream_t stream = cuda_stream(b);
    struct update *u = (struct update *)cuda_workspace(b, cuda_adamw_bytes());
    if (!u)
        return;
    const struct update_inputs in = {a->norm, cuda_values(b), a->updates, a->clip, a->beta1, a->beta2, a->weight_decay};
    const struct factors k = {(float)a->beta1, (float)(1 - a->beta1), (float)a->beta2, (float)(1 - a->beta2),
                              (float)a->eps};
    prepare_update<<<1, 1, 0, stream>>>(in, u);
    for_lists<UPDATE_PIECE>(
        a->tensors, a->count, [](const struct optimizer_tensor *) { return true; },
        [&](const struct tensor_list &list, int64_t pieces) {
            update_tensors<<<(unsigned)pieces, BLOCK, 0, stream>>>(list, u, k);
        });
    cuda_check(b, "adamw");
}

static __global__ void __launch_bounds__(BLOCK) copy_tensors(const __grid_constant__ tensor_list list)
{
    const struct span s = span_of<UPDATE_PIECE>(list);
    const struct tensor &t = list.tensors[s.tensor];
    int64_t from = s.from;
    if (t.vectors) {
        const int64_t quads_end = s.from + (s.to - s.from) / QUAD * QUAD;
        for (int64_t i = s.from + threadIdx.x * QUAD; i < quads_end; i += BLOCK * QUAD)
            copy_quad(t.copy + i, *reinterpret_cast<const float4 *>(t.param + i));
        from = quads_end;
    }
    for (int64_t i = from + threadIdx.x; i < s.to; i += BLOCK)
        t.copy[i] = __float2bfloat16_rn(t.param[i]);
}

extern "C" void cuda_copy_parameters(struct backend *b, const struct copy_parameters_args *a)
{
    if (cuda_failed(b))
        return;
    cudaStream_t stream = cuda_stream(b);
    for_lists<UPDATE_PIECE>(
        a->tensors, a->count, [](const struct optimizer_tensor *t) { return t->copy != NULL; },
        [&](const struct tensor_list &list, int64_t pieces) {
            copy_tensors<<<(unsigned)pieces, BLOCK, 0, stream>>>(list);
        });
    cuda_check(b, "copy_parameters");
}
