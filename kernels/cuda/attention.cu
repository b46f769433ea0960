/* attention.cu: attention, forward and backward: which path computes it, and what each needs first.
 *
 * Before the backward pass delta = rowsum(dO * O) (Dao et al. 2022, algorithm 4, line 19) goes to the workspace beside
 * lse in the base-2 form the kernels use; on Hopper the kernel of queries finds it by the way where the problem is
 * large enough that the kernel of keys comes after it. With `first`, its least and greatest value for each tile of
 * queries go there too, in both directions.
 */
#include "kernels/cuda/attention_common.cuh"
#include "kernels/cuda/column_sum.cuh"
#include "kernels/cuda/operators.h"

#include <string.h>

/* A warp a tile of queries. */
static __global__ void bounds_kernel(const attention_problem p, int2 *bounds)
{
    int warp = (int)((blockIdx.x * blockDim.x + threadIdx.x) / 32), lane = (int)threadIdx.x % 32;
    if (warp >= p.batch * p.tiles_q)
        return;
    int sequence = warp / p.tiles_q, q0 = (warp - sequence * p.tiles_q) * ATTENTION_TILE;
    int low = 0x7fffffff, high = 0;
    for (int q = q0 + lane; q < min(q0 + ATTENTION_TILE, p.seq_q); q += 32) {
        int first = p.first[(int64_t)sequence * p.seq_q + q];
        low = min(low, first);
        high = max(high, first);
    }
    for (int mask = 1; mask < 32; mask *= 2) {
        low = min(low, __shfl_xor_sync(0xffffffffu, low, mask));
        high = max(high, __shfl_xor_sync(0xffffffffu, high, mask));
    }
    if (lane == 0)
        bounds[warp] = make_int2(low, high);
}

/* 8 threads a query of a head, neighbours heads of one query; WIDE: rows are whole 16-byte pieces. */
template <class T, bool WIDE> static __global__ void stats_kernel(const attention_problem p, float2 *stats)
{
    int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / 8, rows = (int64_t)p.batch * p.padded_q;
    int lane = (int)threadIdx.x % 8, head = (int)(i % p.heads), sequence = (int)(i / p.heads / p.padded_q);
    int q = (int)(i / p.heads % p.padded_q);
    float delta = 0.0f, lse = INFINITY;
    if (i < rows * p.heads && q < p.seq_q) {
        const T *out = view_at<const T>(p.out, sequence, q, head * p.head_dim);
        const T *d_out = view_at<const T>(p.d_out, sequence, q, head * p.head_dim);
        if (WIDE)
            for (int d = lane * 8; d < p.head_dim; d += 64)
                delta += dot_eight(out + d, d_out + d);
        else
            for (int d = lane; d < p.head_dim; d += 8)
                delta += (float)out[d] * (float)d_out[d];
        lse = p.lse[((int64_t)sequence * p.heads + head) * p.seq_q + q] * LOG2E;
    }
    for (int mask = 1; mask < 8; mask *= 2)
        delta += __shfl_xor_sync(0xffffffffu, delta, mask);
    if (lane == 0 && i < rows * p.heads)
        stats[((int64_t)sequence * p.heads + head) * p.padded_q + q] = make_float2(lse, delta);
}

/* How much of the streamed side of one group of heads may lie in L2 at once. */
enum { L2_BYTES = 20 << 20 };

static attention_problem problem_of(const struct attention_kv_args *a, bool f32)
{
    attention_problem p = {};
    p.batch = (int)a->batch;
    p.heads = (int)a->heads;
    p.head_dim = (int)a->head_dim;
    p.seq_q = (int)a->seq_q;
    p.seq_k = (int)a->seq_k;
    p.offset = (int)(a->all_keys ? a->seq_k : a->seq_k - a->seq_q);
    p.key0 = (int)a->key0;
    p.tiles_q = divide_up(p.seq_q, ATTENTION_TILE);
    p.padded_q = p.tiles_q * ATTENTION_TILE;
    int64_t streamed = 2 * a->seq_k * a->head_dim * (f32 ? 4 : 2);
    p.group = (int)(L2_BYTES / streamed < 1 ? 1 : L2_BYTES / streamed);
    p.f32 = f32;
    p.scale = (float)a->scale;
    p.first = a->first;
    p.q = a->q;
    p.k = a->k;
    p.v = a->v;
    p.out = a->out;
    p.d_out = a->d_out;
    p.dq = a->dq;
    p.dk = a->dk;
    p.dv = a->dv;
    p.lse = a->lse;
    return p;
}

static size_t pad_256(size_t bytes)
{
    return (bytes + 255) & ~(size_t)255;
}

static size_t bounds_bytes(const attention_problem &p)
{
    return p.first ? pad_256(sizeof(int2) * (size_t)p.batch * (size_t)p.tiles_q) : 0;
}

static size_t stats_bytes(const attention_problem &p)
{
    return pad_256(sizeof(float2) * (size_t)p.batch * (size_t)p.heads * (size_t)p.padded_q);
}

static void find_bounds(attention_problem &p, void *memory, cudaStream_t stream)
{
    if (!p.first)
        return;
    p.bounds = (const int2 *)memory;
    launch(bounds_kernel, divide_up(p.batch * p.tiles_q, 4), 128, 0, stream, p, (int2 *)memory);
}

static void find_stats(const attention_problem &p, cudaStream_t stream)
{
    bool wide = !p.f32 && p.head_dim % 8 == 0 && (((uintptr_t)p.out.data | (uintptr_t)p.d_out.data) & 15) == 0 &&
                (p.out.row | p.out.batch | p.d_out.row | p.d_out.batch) % 8 == 0;
    int64_t blocks = ((int64_t)p.batch * p.heads * p.padded_q * 8 + 255) / 256;
    if (p.f32)
        launch(stats_kernel<float, false>, blocks, 256, 0, stream, p, p.stats);
    else if (wide)
        launch(stats_kernel<bf16, true>, blocks, 256, 0, stream, p, p.stats);
    else
        launch(stats_kernel<bf16, false>, blocks, 256, 0, stream, p, p.stats);
}

static bool run_forward(const attention_problem &p, enum attention_algorithm algorithm, cudaStream_t stream)
{
    bool any = algorithm == ATTENTION_AUTO;
    if ((any || algorithm == ATTENTION_HOPPER) && attention_hopper_available(p) && attention_hopper_forward(p, stream))
        return true;
    if ((any || algorithm == ATTENTION_MMA) && attention_mma_forward(p, stream))
        return true;
    if (!any && algorithm != ATTENTION_GENERIC)
        return false;
    attention_generic_forward(p, stream);
    return true;
}

/* Only the first path fills p.sums; it clears them otherwise. */
static bool run_backward(attention_problem &p, enum attention_algorithm algorithm, cudaStream_t keys,
                         cudaStream_t queries)
{
    bool any = algorithm == ATTENTION_AUTO;
    if ((any || algorithm == ATTENTION_HOPPER) && attention_hopper_available(p) &&
        attention_hopper_backward(p, keys, queries))
        return true;
    p.sums = nullptr;
    if (p.stats_by_queries)
        find_stats(p, keys);
    p.stats_by_queries = false;
    if ((any || algorithm == ATTENTION_MMA) && attention_mma_backward(p, keys, queries))
        return true;
    if (!any && algorithm != ATTENTION_GENERIC)
        return false;
    attention_generic_backward(p, keys);
    return true;
}

/* The gradients of keys and of queries do not wait for each other; a small problem fills the GPU with neither. */
static bool run_backward_lanes(struct backend *b, attention_problem &p, enum attention_algorithm algorithm)
{
    cudaStream_t stream = cuda_stream(b);
    const bool large = (int64_t)p.batch * p.heads * p.tiles_q >= 8 * (int64_t)cuda_multiprocessors(b);
    p.stats_by_queries = large && (algorithm == ATTENTION_AUTO || algorithm == ATTENTION_HOPPER) &&
                         attention_hopper_available(p) && attention_shape_fits(p, true);
    if (!p.stats_by_queries)
        find_stats(p, stream);
    if (large)
        return run_backward(p, algorithm, stream, stream);
    cuda_lanes_fork(b);
    cuda_lane(b, 1);
    bool taken = run_backward(p, algorithm, stream, cuda_stream(b));
    cuda_lanes_join(b);
    return taken;
}

/* The table of angles: kept where there is room, computed anew in `scratch` otherwise. */
const float *attention_angles(struct backend *b, int64_t seq, int64_t rotary_dims, double base, float *scratch)
{
    uint64_t key;
    bool fresh;
    memcpy(&key, &base, sizeof key);
    key = key * 0x9e3779b97f4a7c15u + (uint64_t)rotary_dims;
    float *kept = (float *)cuda_keep(b, key, sizeof(float) * (size_t)(seq * rotary_dims), &fresh);
    if (!kept || fresh)
        rotary_table(kept ? kept : scratch, seq, rotary_dims, base, 0, cuda_stream(b));
    return kept ? kept : scratch;
}

/* Index arithmetic within a sequence and the number of blocks are 32 bits wide. */
static bool shape_fits(struct backend *b, const struct attention_kv_args *a, const char *name)
{
    int64_t limit = (int64_t)1 << 30, longer = a->seq_k > a->seq_q ? a->seq_k : a->seq_q;
    if (a->seq_k < a->seq_q && !a->all_keys)
        cuda_fail(b, ERR_INVALID, name, "fewer keys than queries");
    else if (a->batch * a->heads > limit / (longer + ATTENTION_TILE) * 16 || a->heads * a->head_dim > limit / 16)
        cuda_fail(b, ERR_TOO_LARGE, name, "batch * heads * positions is over 2^34, or a row is too wide");
    else
        return true;
    return false;
}

extern "C" void cuda_attention_kv_forward(struct backend *b, const struct attention_kv_args *a)
{
    const char *name = "attention_forward";
    if (cuda_failed(b) || a->batch * a->seq_q == 0 || !shape_fits(b, a, name))
        return;
    attention_problem p = problem_of(a, !cuda_is_bf16(b));
    void *memory = p.first ? cuda_workspace(b, bounds_bytes(p)) : nullptr;
    if (p.first && !memory)
        return;
    find_bounds(p, memory, cuda_stream(b));
    if (!run_forward(p, a->algorithm, cuda_stream(b)))
        cuda_fail(b, ERR_UNAVAILABLE, name, "the algorithm asked for cannot compute this shape here");
    cuda_check(b, name);
}

/* What the path does by the way where it can. */
struct by_the_way {
    const float *angles; /* in: NULL; dq and dk are turned back by these */
    bool turned;
    float *d_bias; /* in: or NULL; += column sums of dq, dk and dv, if they were turned back or need not be */
    bool summed;
};

static size_t sums_bytes(const attention_problem &p)
{
    return sizeof(float) * (size_t)p.batch * (size_t)p.tiles_q * 3 * (size_t)p.heads * (size_t)p.head_dim;
}

static void backward(struct backend *b, const struct attention_kv_args *a, int64_t rotary_dims, double base,
                     struct by_the_way *w)
{
    const char *name = "attention_backward";
    attention_problem p = problem_of(a, !cuda_is_bf16(b));
    size_t table = pad_256(sizeof(float) * (size_t)a->seq_k * (size_t)rotary_dims);
    size_t need = bounds_bytes(p) + stats_bytes(p) + table;
    char *memory = (char *)cuda_workspace(b, need);
    if (!memory)
        return;
    cudaStream_t stream = cuda_stream(b);
    find_bounds(p, memory, stream);
    p.stats = (float2 *)(memory + bounds_bytes(p));
    bool fused =
        rotary_dims && rotary_dims % 16 == 0 && a->algorithm != ATTENTION_GENERIC && attention_shape_fits(p, true);
    if (rotary_dims) {
        w->angles = p.angles =
            attention_angles(b, a->seq_k, rotary_dims, base, (float *)(memory + bounds_bytes(p) + stats_bytes(p)));
        p.rotary_dims = fused ? (int)rotary_dims : 0;
    }
    w->turned = fused || !rotary_dims;
    if (w->d_bias && w->turned && need + sums_bytes(p) <= cuda_workspace_size(b))
        p.sums = (float *)(memory + need);
    if (!run_backward_lanes(b, p, a->algorithm))
        cuda_fail(b, ERR_UNAVAILABLE, name, "the algorithm asked for cannot compute this shape here");
    w->summed = p.sums != nullptr;
    if (w->summed)
        cuda_column_sum_chunks(b, (int64_t)p.batch * p.tiles_q, 3 * a->heads * a->head_dim, p.sums, w->d_bias, name);
    cuda_check(b, name);
}

extern "C" size_t cuda_attention_kv_backward_bytes(const struct attention_kv_args *a)
{
    attention_problem p = problem_of(a, true);
    return bounds_bytes(p) + stats_bytes(p);
}

extern "C" void cuda_attention_kv_backward(struct backend *b, const struct attention_kv_args *a)
{
    struct by_the_way none = {};
    if (!cuda_failed(b) && a->batch > 0 && a->seq_q > 0 && shape_fits(b, a, "attention_backward"))
        backward(b, a, 0, 0.0, &none);
}

extern "C" void cuda_rotary(struct backend *b, const struct rotary_args *a)
{
    if (cuda_failed(b) || a->rotary_dims == 0 || a->batch * a->seq == 0)
        return;
    float *table = (float *)cuda_workspace(b, sizeof(float) * (size_t)(a->seq * a->rotary_dims));
    if (!table)
        return;
    const float *angles = table;
    if (a->position0 == 0)
        angles = attention_angles(b, a->seq, a->rotary_dims, a->base, table);
    else
        rotary_table(table, a->seq, a->rotary_dims, a->base, a->position0, cuda_stream(b));
    rotary_apply(*a, !cuda_is_bf16(b), angles, cuda_stream(b));
    cuda_check(b, "rotary");
}

static struct attention_kv_args kv_args(struct backend *b, const struct attention_args *a)
{
    struct attention_kv_args kv = {};
    int64_t width = a->heads * a->head_dim;
    size_t bytes = (size_t)width * dtype_size(b->storage);
    char *qkv = (char *)a->qkv, *d_qkv = (char *)a->d_qkv, *keys = (char *)a->kv;
    kv.batch = a->batch;
    kv.heads = a->heads;
    kv.head_dim = a->head_dim;
    kv.seq_q = a->seq;
    kv.seq_k = a->memory + a->seq;
    kv.key0 = a->memory;
    kv.scale = a->scale;
    kv.first = a->first;
    kv.q = {qkv, a->seq * 3 * width, 3 * width};
    kv.k = {qkv + bytes, kv.q.batch, kv.q.row};
    kv.v = {qkv + 2 * bytes, kv.q.batch, kv.q.row};
    if (a->memory > 0) {
        kv.k = {keys, kv.seq_k * 2 * width, 2 * width};
        kv.v = {keys + bytes, kv.k.batch, kv.k.row};
    }
    kv.out = {a->out, a->seq * width, width};
    kv.lse = (float *)a->lse;
    if (d_qkv) {
        kv.d_out = {(void *)a->d_out, a->seq * width, width};
        kv.dq = {d_qkv, kv.q.batch, kv.q.row};
        kv.dk = {d_qkv + bytes, kv.q.batch, kv.q.row};
        kv.dv = {d_qkv + 2 * bytes, kv.q.batch, kv.q.row};
    }
    return kv;
}

/* Heads that lie side by side and turn alike, `heads` of them: queries, or queries and keys. */
static struct rotary_args rotary_of(const struct attention_args *a, int64_t heads, struct attention_view x,
                                    bool inverse)
{
    return {a->batch, a->seq, heads, a->head_dim, a->rotary_dims, a->memory, a->rotary_base, inverse, x};
}

/* Keys of the memory stand before the row's: both are turned where they are gathered, the row's stay as they were. */
static void turn_with_memory(struct backend *b, const struct attention_args *a, const struct attention_kv_args *kv)
{
    const float *angles = nullptr;
    if (a->rotary_dims > 0) {
        float *scratch = (float *)cuda_workspace(b, sizeof(float) * (size_t)(kv->seq_k * a->rotary_dims));
        if (!scratch)
            return;
        angles = attention_angles(b, kv->seq_k, a->rotary_dims, a->rotary_base, scratch);
        rotary_apply(rotary_of(a, a->heads, kv->q, false), !cuda_is_bf16(b), angles + a->memory * a->rotary_dims,
                     cuda_stream(b));
    }
    attention_gather(b, a, angles);
}

extern "C" void cuda_attention_forward(struct backend *b, const struct attention_args *a)
{
    struct attention_kv_args kv = kv_args(b, a);
    kv.algorithm = ATTENTION_AUTO;
    if (cuda_failed(b) || a->batch * a->seq == 0 || !shape_fits(b, &kv, "attention_forward"))
        return;
    if (a->memory > 0) {
        turn_with_memory(b, a, &kv);
    } else {
        struct rotary_args rotary = rotary_of(a, 2 * a->heads, kv.q, false);
        cuda_rotary(b, &rotary);
    }
    cuda_attention_kv_forward(b, &kv);
}

/* The query is the last row; every row is a key. */
extern "C" void cuda_attention_next(struct backend *b, const struct attention_args *a)
{
    if (cuda_failed(b))
        return;
    struct attention_args row = *a;
    row.memory = 0;
    struct attention_kv_args kv = kv_args(b, &row);
    size_t element = cuda_is_bf16(b) ? 2 : 4;
    kv.algorithm = ATTENTION_AUTO;
    kv.seq_q = 1;
    kv.q.data = (char *)kv.q.data + (size_t)((a->seq - 1) * kv.q.row) * element;
    struct rotary_args rotary = rotary_of(&row, 2 * a->heads, kv.q, false);
    rotary.seq = 1;
    rotary.position0 = a->seq - 1;
    cuda_rotary(b, &rotary);
    cuda_attention_kv_forward(b, &kv);
}

/* A pass over d_qkv, when it is whole. */
static void sum_bias(struct backend *b, const struct attention_args *a)
{
    const int64_t rows = a->batch * a->seq, columns = 3 * a->heads * a->head_dim;
    void *scratch = a->d_bias && !cuda_failed(b) ? cuda_workspace(b, cuda_column_sum_bytes(rows, columns)) : NULL;
    if (scratch)
        cuda_column_sum(b, rows, columns, columns, a->d_qkv, (float *)a->d_bias, scratch, "attention_backward");
}

extern "C" void cuda_attention_backward(struct backend *b, const struct attention_args *a)
{
    struct attention_kv_args kv = kv_args(b, a);
    struct by_the_way way = {};
    kv.algorithm = ATTENTION_AUTO;
    if (cuda_failed(b) || a->batch * a->seq == 0 || !shape_fits(b, &kv, "attention_backward"))
        return;
    way.d_bias = (float *)a->d_bias;
    backward(b, &kv, a->rotary_dims, a->rotary_base, &way);
    if (!way.turned && !cuda_failed(b)) {
        rotary_apply(rotary_of(a, 2 * a->heads, kv.dq, true), !cuda_is_bf16(b), way.angles + a->memory * a->rotary_dims,
                     cuda_stream(b));
        cuda_check(b, "attention_backward");
    }
    if (!way.summed)
        sum_bias(b, a);
}
