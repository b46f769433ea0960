/* attention_hopper.cuh: what the kernels for Hopper share, those of attention and of the classifier.
 *
 * A thread block of GROUPS warpgroups owns 64 * GROUPS rows, each warpgroup 64 of them, and streams pairs of 64-row
 * tiles of the other side through a ring of STAGES stages filled by bulk tensor copies. There is no producer warp:
 * thread 0 refills a stage two tiles after its use, when the others have most likely left it too, so that all registers
 * are for accumulators; several blocks or warpgroups on one multiprocessor hide each other's latencies. Heads up to 64
 * wide are one panel of 64 columns, up to 128 two; columns beyond head_dim are zeros.
 */
#ifndef BAKA_KERNELS_CUDA_ATTENTION_HOPPER_CUH
#define BAKA_KERNELS_CUDA_ATTENTION_HOPPER_CUH

#include "kernels/cuda/attention_common.cuh"
#include "kernels/cuda/hopper.cuh"

template <int PANELS, int GROUPS, int STAGES, int OWN> struct hopper_layout {
    static constexpr int PANEL = 64 * 128, TILE = PANELS * PANEL;
    static constexpr int RING = OWN * GROUPS * TILE, STAGE = 2 * TILE;     /* first OWN own tiles a group */
    static constexpr int STATS = RING + STAGES * STAGE, STATS_BYTES = 512; /* 64 float2 a stage */
    static constexpr int BARRIERS = STATS + STAGES * STATS_BYTES;
    static constexpr int BYTES = BARRIERS + 8 * (2 * STAGES + 1) + 1024; /* the start is rounded up to 1024 */
};

template <int STAGES> struct hopper_ring {
    uint32_t barriers;

    __device__ __forceinline__ uint32_t full(int i) const
    {
        return barriers + 8 * (uint32_t)(i % STAGES);
    }
    __device__ __forceinline__ uint32_t empty(int i) const
    {
        return barriers + 8 * (uint32_t)(STAGES + i % STAGES);
    }
    __device__ __forceinline__ uint32_t own() const
    {
        return barriers + 16 * STAGES;
    }
    __device__ __forceinline__ void init(int warps) const
    {
        if (threadIdx.x == 0) {
            for (int i = 0; i < STAGES; i++) {
                barrier_init(full(i), 1);
                barrier_init(empty(i), warps);
            }
            barrier_init(own(), 1);
            barrier_init_done();
        }
        __syncthreads();
    }
    /* By the filling thread, before it fills the stage of tile i. */
    __device__ __forceinline__ void wait_empty(int i) const
    {
        if (i >= STAGES)
            barrier_wait(empty(i), (i / STAGES - 1) & 1);
    }
    __device__ __forceinline__ void wait_full(int i) const
    {
        barrier_wait(full(i), (i / STAGES) & 1);
    }
    /* By every warp, once for each tile, after its last read; in order, never before the tile was full. */
    __device__ __forceinline__ void leave(int i) const
    {
        __syncwarp();
        if (threadIdx.x % 32 == 0)
            barrier_arrive(empty(i));
    }
};

/* 64 rows from `row`, all panels. */
template <int PANELS>
__device__ __forceinline__ void copy_tile(uint32_t to, const CUtensorMap *map, const attention_piece &piece, int row,
                                          uint32_t barrier)
{
#pragma unroll
    for (int i = 0; i < PANELS; i++)
        copy_box(to + i * 8192, map, 64 * i, row, piece.head, piece.sequence, barrier);
}

/* s = A B^T over the whole width, as one group of wgmma. */
template <int PANELS> __device__ __forceinline__ void tile_product(float (&s)[32], uint32_t a, uint32_t b)
{
#pragma unroll
    for (int k = 0; k < 4 * PANELS; k++) {
        uint32_t at = (uint32_t)(k / 4 * 8192 + k % 4 * 32);
        wgmma_rows(s, tile_descriptor(a + at), tile_descriptor(b + at), k > 0);
    }
    wgmma_commit();
}

/* d += P B with P packed (64 columns) and B a tile, as one group of wgmma. */
template <int PANELS>
__device__ __forceinline__ void tile_add(float (&d)[PANELS][32], const uint32_t (&p)[4][4], uint32_t b)
{
#pragma unroll
    for (int i = 0; i < PANELS; i++)
#pragma unroll
        for (int k = 0; k < 4; k++)
            wgmma_add(d[i], p[k], tile_descriptor(b + (uint32_t)(i * 8192 + k * 2048)));
    wgmma_commit();
}

__device__ __forceinline__ void pack_scores(uint32_t (&p)[4][4], const float (&s)[32])
{
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            p[k][i] = pack_bf16(s[8 * k + 2 * i], s[8 * k + 2 * i + 1]);
}

template <int PANELS> __device__ __forceinline__ void clear(float (&d)[PANELS][32])
{
#pragma unroll
    for (int i = 0; i < PANELS; i++)
#pragma unroll
        for (int j = 0; j < 32; j++)
            d[i][j] = 0.0f;
}

/* Raw scores become probabilities relative to the new maxima; keep: what the sums so far shrink by. */
__device__ __forceinline__ void softmax_step(float (&s)[32], float (&top)[2], float (&sum)[2], float (&keep)[2],
                                             float scale)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float high = top[h];
#pragma unroll
        for (int n = 0; n < 8; n++)
            high = fmaxf(high, fmaxf(s[4 * n + 2 * h], s[4 * n + 2 * h + 1]));
        high = quad_max(high);
        float base = high == -INFINITY ? 0.0f : high * scale, part = 0.0f;
        keep[h] = exp2_fast(top[h] * scale - base);
        top[h] = high;
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int j = 0; j < 2; j++) {
                float x = exp2_fast(fmaf(s[4 * n + 2 * h + j], scale, -base));
                s[4 * n + 2 * h + j] = x;
                part += x;
            }
        sum[h] = sum[h] * keep[h] + part;
    }
}

/* One warp's 16 rows, times factor, through its rows of its group's tile (bytes at `tile`) to global memory. After a
 * barrier of the group: no wgmma reads the tile any more. stored: see store_rows. */
template <int PANELS, class Stored>
__device__ __forceinline__ void store_tile(const float (&d)[PANELS][32], const float (&factor)[2], unsigned char *tile,
                                           bf16 *to, int64_t stride, int valid, int head_dim, const float *angles,
                                           int rotary_dims, const Stored &stored)
{
    int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    unsigned char *rows = tile + (int)threadIdx.x / 32 % 4 * 2048;
#pragma unroll
    for (int i = 0; i < PANELS; i++)
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                uint32_t pair = pack_bf16(d[i][4 * n + 2 * h] * factor[h], d[i][4 * n + 2 * h + 1] * factor[h]);
                *(uint32_t *)(rows + i * 8192 + (g + 8 * h) * 128 + ((n ^ g) << 4) + 4 * t) = pair;
            }
    __syncwarp();
    store_rows<16, 8 * PANELS>(
        [&](int r, int chunk) {
            return *(const uint4 *)(rows + chunk / 8 * 8192 + r * 128 + ((chunk % 8 ^ r % 8) << 4));
        },
        to, stride, valid, head_dim, angles, rotary_dims, stored);
}

/* The same, and the column sums of the group's 64 rows, as they were stored, to sums[0..head_dim) unless that is NULL:
 * those of a warp through its rows of the tile, then those of the warps in their order. */
template <int PANELS>
__device__ __forceinline__ void
store_tile_summed(const float (&d)[PANELS][32], const float (&factor)[2], unsigned char *tile, bf16 *to, int64_t stride,
                  int valid, int head_dim, const float *angles, int rotary_dims, int group, float *sums)
{
    float own[8] = {};
    store_tile<PANELS>(d, factor, tile, to, stride, valid, head_dim, angles, rotary_dims, [&](const uint4 &x) {
        const uint32_t pairs[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            own[2 * i] += low_bf16(pairs[i]);
            own[2 * i + 1] += high_bf16(pairs[i]);
        }
    });
    if (!sums)
        return;
#pragma unroll
    for (int mask = 8 * PANELS; mask < 32; mask *= 2)
#pragma unroll
        for (int i = 0; i < 8; i++)
            own[i] += __shfl_xor_sync(0xffffffffu, own[i], mask);
    const int lane = (int)threadIdx.x % 32, thread = (int)threadIdx.x % 128;
    __syncwarp(); /* all have read their rows */
    if (lane < 8 * PANELS) {
        float4 *to_sums = (float4 *)(tile + thread / 32 * 2048) + 2 * lane;
        to_sums[0] = make_float4(own[0], own[1], own[2], own[3]);
        to_sums[1] = make_float4(own[4], own[5], own[6], own[7]);
    }
    group_barrier(group);
    if (thread < head_dim) {
        float total = 0.0f;
#pragma unroll
        for (int warp = 0; warp < 4; warp++)
            total += ((const float *)(tile + warp * 2048))[thread];
        sums[thread] = total;
    }
}

/* Where the sums of a tile of 64 rows of dq (part 0), dk or dv belong, or NULL. */
__device__ __forceinline__ float *tile_sums(const attention_problem &p, const attention_piece &piece, int row, int part)
{
    const int64_t tile = (int64_t)piece.sequence * p.tiles_q + row / ATTENTION_TILE;
    return p.sums ? p.sums + ((tile * 3 + part) * p.heads + piece.head) * p.head_dim : nullptr;
}

/* The map of a view for boxes of 64 x 64; false when the driver refuses. */
bool hopper_map(CUtensorMap *map, const attention_problem &p, const struct attention_view &view, int seq);

#endif
