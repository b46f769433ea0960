/* attention_common.cuh: what the attention kernels share: the problem, the order of its pieces, masks, storing. */
#ifndef BAKA_KERNELS_CUDA_ATTENTION_COMMON_CUH
#define BAKA_KERNELS_CUDA_ATTENTION_COMMON_CUH

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include "kernels/backend.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"

typedef __nv_bfloat16 bf16;

#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f

enum {
    ATTENTION_TILE = 64
}; /* bounds of `first` and padding of stats go by this many queries; no tile of keys is more */

struct attention_problem {
    int batch, heads, head_dim, seq_q, seq_k, offset; /* offset = seq_k - seq_q; with all keys seen: seq_k */
    int key0;                                         /* row 0 of dk and dv */
    int tiles_q, padded_q;                            /* queries in tiles of ATTENTION_TILE */
    int group;                                        /* heads whose streamed tiles stay in L2 together */
    bool f32;                                         /* storage */
    float scale;
    const int32_t *first;
    const int2 *bounds; /* [batch][tiles_q] least and greatest `first` of a tile; NULL with first */
    struct attention_view q, k, v, out, d_out, dq, dk, dv;
    float *lse;
    float2 *stats;         /* [batch*heads][padded_q]: lse * log2(e) and delta; behind seq_q infinity and 0 */
    bool stats_by_queries; /* the kernel that owns queries finds them, before the one that owns keys starts */
    const float *angles;   /* [seq_k][rotary_dims] cosines | sines: dq and dk are turned back as they are stored */
    int rotary_dims;       /* 0: no turning here */
    float *sums; /* [batch][tiles_q][3 * heads * head_dim] column sums of each tile of dq, dk and dv; or NULL */
};

/* What the tensor-core paths can compute. */
static inline bool attention_view_fits(const struct attention_view &v)
{
    return ((uintptr_t)v.data & 15) == 0 && v.batch % 8 == 0 && v.row % 8 == 0;
}

static inline bool attention_shape_fits(const attention_problem &p, bool backward)
{
    bool fits = !p.f32 && p.head_dim % 8 == 0 && p.head_dim <= 128 && p.scale > 0;
    /* Where a query's last key is not its own, nothing else masks what lies behind the last key in its tile. */
    fits = fits && (p.offset < p.seq_k || p.seq_k % ATTENTION_TILE == 0);
    fits = fits && attention_view_fits(p.q) && attention_view_fits(p.k) && attention_view_fits(p.v) &&
           attention_view_fits(p.out);
    return fits && (!backward || (attention_view_fits(p.d_out) && attention_view_fits(p.dq) &&
                                  attention_view_fits(p.dk) && attention_view_fits(p.dv)));
}

/* Each launcher says whether it took the problem. */
void attention_generic_forward(const attention_problem &p, cudaStream_t stream);
void attention_generic_backward(const attention_problem &p, cudaStream_t stream);
bool attention_mma_forward(const attention_problem &p, cudaStream_t stream);
/* keys, queries: the streams for either side's gradient, perhaps the same. */
bool attention_mma_backward(const attention_problem &p, cudaStream_t keys, cudaStream_t queries);
bool attention_hopper_available(const attention_problem &p);
bool attention_hopper_forward(const attention_problem &p, cudaStream_t stream);
bool attention_hopper_backward(const attention_problem &p, cudaStream_t keys, cudaStream_t queries);

/* kv = the keys of memory and row, turned by their positions, and the values. */
void attention_gather(struct backend *b, const struct attention_args *a, const float *angles);

/* The table of angles of positions 0..seq: kept where there is room, computed anew in `scratch` otherwise. */
const float *attention_angles(struct backend *b, int64_t seq, int64_t rotary_dims, double base, float *scratch);
void rotary_table(float *table, int64_t seq, int64_t rotary_dims, double base, int64_t position0, cudaStream_t stream);
void rotary_apply(const struct rotary_args &a, bool f32, const float *table, cudaStream_t stream);

template <class T> __host__ __device__ T *view_at(const struct attention_view &v, int sequence, int64_t row, int column)
{
    return (T *)v.data + sequence * v.batch + row * v.row + column;
}

__host__ __device__ __forceinline__ int divide_up(int a, int b)
{
    return (a + b - 1) / b;
}

/* Which rows of which head a thread block computes. Pieces go in groups of heads; within a group the blocks of rows
 * that see most come first. */
struct attention_piece {
    int block, sequence, head, index; /* index = sequence * heads + head */
};

__device__ __forceinline__ attention_piece take_piece(const attention_problem &p, int blocks, bool last_is_heavy)
{
    int heads = p.batch * p.heads, per_group = p.group * blocks;
    int group = (int)blockIdx.x / per_group, rest = (int)blockIdx.x - group * per_group;
    int size = min(p.group, heads - group * p.group);
    attention_piece piece;
    piece.block = rest / size;
    piece.index = group * p.group + rest - piece.block * size;
    if (last_is_heavy)
        piece.block = blocks - 1 - piece.block;
    piece.sequence = piece.index / p.heads;
    piece.head = piece.index - piece.sequence * p.heads;
    return piece;
}

/* Least and greatest first visible key of the queries [q0, q0 + rows). */
__device__ __forceinline__ int2 first_bounds(const attention_problem &p, int sequence, int q0, int rows)
{
    if (!p.first)
        return make_int2(0, 0);
    int2 r = make_int2(0x7fffffff, 0);
    int end = min(divide_up(q0 + rows, ATTENTION_TILE), p.tiles_q);
    for (int i = q0 / ATTENTION_TILE; i < end; i++) {
        int2 b = p.bounds[sequence * p.tiles_q + i];
        r.x = min(r.x, b.x);
        r.y = max(r.y, b.y);
    }
    return r;
}

/* The first key that query q sees; none of those beyond the sequence matter. */
__device__ __forceinline__ int first_of(const attention_problem &p, int sequence, int q)
{
    return p.first && q < p.seq_q ? p.first[(int64_t)sequence * p.seq_q + q] : 0;
}

/* 8 elements from column 8 * chunk of a row whose 16-byte pieces `piece` returns, turned back by the row's angles. */
template <class Piece>
__device__ __forceinline__ uint4 turn_back(const Piece &piece, int chunk, const float *angles, int rotary_dims)
{
    int half = rotary_dims / 2;
    uint4 self = piece(chunk);
    if (chunk * 8 >= rotary_dims)
        return self;
    bool low = chunk * 8 < half;
    uint4 other = piece(low ? chunk + half / 8 : chunk - half / 8);
    int pair = low ? chunk * 8 : chunk * 8 - half;
    uint32_t x[4] = {self.x, self.y, self.z, self.w}, y[4] = {other.x, other.y, other.z, other.w};
    float sign = low ? 1.0f : -1.0f;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float c0 = angles[pair + 2 * i], c1 = angles[pair + 2 * i + 1];
        float s0 = sign * angles[half + pair + 2 * i], s1 = sign * angles[half + pair + 2 * i + 1];
        x[i] = pack_bf16(low_bf16(x[i]) * c0 + low_bf16(y[i]) * s0, high_bf16(x[i]) * c1 + high_bf16(y[i]) * s1);
    }
    return make_uint4(x[0], x[1], x[2], x[3]);
}

/* 8 elements. */
__device__ __forceinline__ float dot_eight(const void *a, const void *b)
{
    uint4 x = *(const uint4 *)a, y = *(const uint4 *)b;
    uint32_t u[4] = {x.x, x.y, x.z, x.w}, w[4] = {y.x, y.y, y.z, y.w};
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; i++)
        sum = fmaf(low_bf16(u[i]), low_bf16(w[i]), fmaf(high_bf16(u[i]), high_bf16(w[i]), sum));
    return sum;
}

/* Stores ROWS rows (those below `valid`) from shared memory by one warp; piece(row, chunk) returns 16 bytes. Where 32
 * is a multiple of CHUNKS, a thread has one chunk of each row that it stores; it calls stored(16 bytes) for those. */
template <int ROWS, int CHUNKS, class Piece, class Stored>
__device__ __forceinline__ void store_rows(const Piece &piece, bf16 *to, int64_t stride, int valid, int head_dim,
                                           const float *angles, int rotary_dims, const Stored &stored)
{
    int lane = (int)threadIdx.x % 32;
#pragma unroll 2
    for (int i = lane; i < ROWS * CHUNKS; i += 32) {
        int row = i / CHUNKS, chunk = i % CHUNKS;
        if (row >= valid || chunk * 8 >= head_dim)
            continue;
        uint4 value;
        if (rotary_dims)
            value = turn_back([&](int c) { return piece(row, c); }, chunk, angles + (int64_t)row * rotary_dims,
                              rotary_dims);
        else
            value = piece(row, chunk);
        *(uint4 *)(to + row * stride + chunk * 8) = value;
        stored(value);
    }
}

#endif
