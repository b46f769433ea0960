/* optimizer_list.cuh: the tensors of a model as kernels get them, and what optimizers that work element by element
 * share.
 *
 * Kernels get the list of tensors by value, as many as kernel parameters hold: nothing has to be uploaded, and a
 * captured step keeps the list. A piece is a range of one tensor, one block's work; where it lies follows from the
 * tensors' sizes alone. What a step's update needs beyond the tensors (lr, clip, bias corrections) one thread computes
 * in double first, from the values in device memory, and counts the update there.
 */
#ifndef BAKA_KERNELS_CUDA_OPTIMIZER_LIST_CUH
#define BAKA_KERNELS_CUDA_OPTIMIZER_LIST_CUH

#include "kernels/cuda/operators.h"
#include "kernels/cuda/vector.cuh"

enum {
    TENSORS = 64, /* a launch: kernel parameters are 4 KiB at most */
    QUAD = 4,     /* floats in 16 bytes */
    BLOCK = 256,
    BATCH = 2, /* quads of a thread in flight */
    UPDATE_PIECE = 4096,
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

/* What one thread finds out for all: `apply` is false when the norm is not finite. */
struct update {
    float clip, keep, rate, root;
    bool apply;
};

struct update_inputs {
    const double *norm; /* NULL: applied as it is */
    const struct cuda_step_values *values;
    int64_t *updates; /* counted, or NULL */
    double clip, weight_decay;
};

static __device__ inline struct update begin_update(const update_inputs &in)
{
    struct update u = {};
    const double norm = in.norm ? *in.norm : 0, lr = in.values->lr;
    const double clip = in.norm && in.clip > 0 ? in.clip / (norm + 1e-6) : 1.0;
    u.apply = isfinite(norm);
    u.clip = (float)(clip < 1.0 ? clip : 1.0);
    u.keep = (float)(1.0 - lr * in.weight_decay);
    u.rate = (float)lr;
    if (u.apply && in.updates)
        *in.updates += 1;
    return u;
}

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

static __device__ __forceinline__ void copy_quad(__nv_bfloat16 *to, const float4 &p)
{
    *reinterpret_cast<uint2 *>(to) = make_uint2(bf16_pair(p.x, p.y), bf16_pair(p.z, p.w));
}

/* Rule(p, grad, m, v, u, keep) is one element's update; Rule::M and Rule::V tell which moments there are. */
template <class Rule>
static __global__ void __launch_bounds__(BLOCK)
    update_tensors(const __grid_constant__ tensor_list list, const struct update *update_now, const Rule rule)
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
            float4 qp[BATCH], qg[BATCH], qm[BATCH] = {}, qv[BATCH] = {};
#pragma unroll
            for (int i = 0; i < BATCH; i++) {
                const int64_t at = first + i * (BLOCK * QUAD);
                if (at >= quads_end)
                    break;
                qg[i] = *reinterpret_cast<const float4 *>(grad + at);
                qp[i] = *reinterpret_cast<const float4 *>(param + at);
                if (Rule::M)
                    qm[i] = *reinterpret_cast<const float4 *>(m + at);
                if (Rule::V)
                    qv[i] = *reinterpret_cast<const float4 *>(v + at);
            }
#pragma unroll
            for (int i = 0; i < BATCH; i++) {
                const int64_t at = first + i * (BLOCK * QUAD);
                if (at >= quads_end)
                    break;
                rule(&qp[i].x, qg[i].x, &qm[i].x, &qv[i].x, u, keep);
                rule(&qp[i].y, qg[i].y, &qm[i].y, &qv[i].y, u, keep);
                rule(&qp[i].z, qg[i].z, &qm[i].z, &qv[i].z, u, keep);
                rule(&qp[i].w, qg[i].w, &qm[i].w, &qv[i].w, u, keep);
                *reinterpret_cast<float4 *>(param + at) = qp[i];
                if (Rule::M)
                    *reinterpret_cast<float4 *>(m + at) = qm[i];
                if (Rule::V)
                    *reinterpret_cast<float4 *>(v + at) = qv[i];
                if (copy)
                    copy_quad(copy + at, qp[i]);
            }
        }
        from = quads_end;
    }
    for (int64_t i = from + threadIdx.x; i < s.to; i += BLOCK) {
        float none = 0;
        rule(&param[i], grad[i], Rule::M ? &m[i] : &none, Rule::V ? &v[i] : &none, u, keep);
        if (copy)
            copy[i] = __float2bfloat16_rn(param[i]);
    }
}

template <class Rule>
static void update_all(struct backend *b, const struct optimizer_tensor *tensors, int count, const struct update *u,
                       const Rule &rule, const char *operator_name)
{
    cudaStream_t stream = cuda_stream(b);
    for_lists<UPDATE_PIECE>(
        tensors, count, [](const struct optimizer_tensor *) { return true; },
        [&](const struct tensor_list &list, int64_t pieces) {
            update_tensors<<<(unsigned)pieces, BLOCK, 0, stream>>>(list, u, rule);
        });
    cuda_check(b, operator_name);
}

#endif
