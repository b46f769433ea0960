/* attention_hopper_backward.cu: the two backward kernels of attention_backward.cu with wgmma and bulk copies. */
#include "kernels/cuda/attention_hopper.cuh"

/* Owns keys, streams queries, their output gradients and stats; scores are [key][query]. */
template <int PANELS, int GROUPS, int STAGES, int BLOCKS>
__global__ void __launch_bounds__(GROUPS * 128, BLOCKS)
    hopper_keys_kernel(const __grid_constant__ attention_problem p, const __grid_constant__ CUtensorMap map_q,
                       const __grid_constant__ CUtensorMap map_k, const __grid_constant__ CUtensorMap map_v,
                       const __grid_constant__ CUtensorMap map_d_out)
{
#if HOPPER_CODE
    using layout = hopper_layout<PANELS, GROUPS, STAGES, 2>;
    SHARED_MEMORY(raw);
    unsigned char *memory = raw + (-shared_address(raw) & 1023);
    uint32_t base = shared_address(memory);
    const hopper_ring<STAGES> ring = {base + layout::BARRIERS};
    int group = __shfl_sync(0xffffffffu, (int)threadIdx.x / 128, 0), lane = (int)threadIdx.x % 32, t = lane % 4;
    attention_piece piece = take_piece(p, divide_up(p.seq_k - p.key0, 64 * GROUPS), false);
    int block0 = p.key0 + piece.block * 64 * GROUPS, k0 = block0 + 64 * group, tiles = p.tiles_q;
    int row = k0 + (int)threadIdx.x / 32 % 4 * 16 + lane / 4;
    uint32_t k_tile = base + group * 2 * layout::TILE, v_tile = k_tile + layout::TILE;
    const float2 *stats = p.stats + (int64_t)piece.index * p.padded_q;
    auto next_tile = [&](int tile) {
        while (p.first && tile < tiles && first_bounds(p, piece.sequence, tile * 64, 64).x >= block0 + 64 * GROUPS)
            tile++;
        return tile;
    };
    /* The filling thread walks over the same tiles, ahead of the others: tile number `loaded` is coming_tile. */
    int tile = next_tile(max(block0 - p.offset, 0) / 64), coming_tile = tile, loaded = 0;
    auto load = [&]() {
        uint32_t to = base + layout::RING + loaded % STAGES * layout::STAGE;
        ring.wait_empty(loaded);
        barrier_expect(ring.full(loaded), layout::STAGE + layout::STATS_BYTES);
        copy_tile<PANELS>(to, &map_q, piece, coming_tile * 64, ring.full(loaded));
        copy_tile<PANELS>(to + layout::TILE, &map_d_out, piece, coming_tile * 64, ring.full(loaded));
        copy_bytes(base + layout::STATS + loaded % STAGES * layout::STATS_BYTES, stats + coming_tile * 64,
                   layout::STATS_BYTES, ring.full(loaded));
        loaded++;
        coming_tile = next_tile(coming_tile + 1);
    };
    ring.init(4 * GROUPS);
    if (threadIdx.x == 0) {
        barrier_expect(ring.own(), 2 * GROUPS * layout::TILE);
        for (int i = 0; i < GROUPS; i++) {
            copy_tile<PANELS>(base + 2 * i * layout::TILE, &map_k, piece, block0 + 64 * i, ring.own());
            copy_tile<PANELS>(base + (2 * i + 1) * layout::TILE, &map_v, piece, block0 + 64 * i, ring.own());
        }
        while (loaded < STAGES && coming_tile < tiles)
            load();
    }
    __syncwarp();
    float dk[PANELS][32], dv[PANELS][32];
    clear(dk);
    clear(dv);
    const float scale = p.scale * LOG2E;
    barrier_wait(ring.own(), 0);
    for (int i = 0; tile < tiles; i++, tile = next_tile(tile + 1)) {
        int q0 = tile * 64;
        uint32_t q_tile = base + layout::RING + i % STAGES * layout::STAGE, d_tile = q_tile + layout::TILE;
        const float4 *columns = (const float4 *)(memory + layout::STATS + i % STAGES * layout::STATS_BYTES);
        if (threadIdx.x == 0)
            while (loaded < i - 1 + STAGES && coming_tile < tiles)
                load();
        __syncwarp();
        ring.wait_full(i);
        if (q0 + 63 + p.offset < k0 || k0 >= p.seq_k) {
            ring.leave(i);
            continue;
        }
        float s[32], dp[32];
        uint32_t a[4][4], d[4][4];
        wgmma_fence();
        tile_product<PANELS>(s, k_tile, q_tile);
        tile_product<PANELS>(dp, v_tile, d_tile);
        int2 bounds = first_bounds(p, piece.sequence, q0, 64);
        wgmma_wait<1>();
#pragma unroll
        for (int n = 0; n < 8; n++) {
            float4 x = columns[4 * n + t]; /* lse and delta of two queries */
#pragma unroll
            for (int j = 0; j < 4; j++)
                s[4 * n + j] = exp2_fast(fmaf(s[4 * n + j], scale, j % 2 ? -x.z : -x.x));
        }
        if (q0 + p.offset < k0 + 63 || bounds.y > k0) {
#pragma unroll
            for (int n = 0; n < 8; n++)
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    int query = q0 + 8 * n + 2 * t + j % 2, key = row + j / 2 * 8;
                    if (key > query + p.offset || key < first_of(p, piece.sequence, query))
                        s[4 * n + j] = 0.0f;
                }
        }
        wgmma_wait<0>();
#pragma unroll
        for (int n = 0; n < 8; n++) {
            float4 x = columns[4 * n + t];
#pragma unroll
            for (int j = 0; j < 4; j++)
                dp[4 * n + j] = s[4 * n + j] * (dp[4 * n + j] - (j % 2 ? x.w : x.y));
        }
        pack_scores(a, s);
        pack_scores(d, dp);
        wgmma_fence();
        tile_add<PANELS>(dv, a, d_tile);
        tile_add<PANELS>(dk, d, q_tile);
        wgmma_wait<0>();
        ring.leave(i);
    }
    if (k0 >= p.seq_k)
        return;
    group_barrier(group);
    const float factor_k[2] = {p.scale, p.scale}, factor_v[2] = {1.0f, 1.0f};
    int warp_row = row - lane / 4, column = piece.head * p.head_dim;
    const float *angles = p.rotary_dims ? p.angles + (int64_t)warp_row * p.rotary_dims : nullptr;
    unsigned char *own = memory + group * 2 * layout::TILE;
    bf16 *to_dk = view_at<bf16>(p.dk, piece.sequence, warp_row - p.key0, column);
    bf16 *to_dv = view_at<bf16>(p.dv, piece.sequence, warp_row - p.key0, column);
    store_tile_summed<PANELS>(dk, factor_k, own, to_dk, p.dk.row, p.seq_k - warp_row, p.head_dim, angles, p.rotary_dims,
                              group, tile_sums(p, piece, k0 - p.key0, 1));
    store_tile_summed<PANELS>(dv, factor_v, own + layout::TILE, to_dv, p.dv.row, p.seq_k - warp_row, p.head_dim,
                              nullptr, 0, group, tile_sums(p, piece, k0 - p.key0, 2));
#else
    __trap(); /* attention_hopper_available() keeps other code from being run */
#endif
}

/* The stats of a query, found by the four neighbouring threads that share its row, and left for the keys' kernel. */
__device__ __forceinline__ float2 find_stats(const attention_problem &p, const attention_piece &piece, int q)
{
    const int quarter = (int)threadIdx.x % 4;
    float2 x = make_float2(INFINITY, 0.0f);
    if (q < p.seq_q) {
        const bf16 *out = view_at<const bf16>(p.out, piece.sequence, q, piece.head * p.head_dim);
        const bf16 *d_out = view_at<const bf16>(p.d_out, piece.sequence, q, piece.head * p.head_dim);
        x.x = p.lse[(int64_t)piece.index * p.seq_q + q] * LOG2E;
        for (int d = 8 * quarter; d < p.head_dim; d += 32)
            x.y += dot_eight(out + d, d_out + d);
    }
    x.y = quad_sum(x.y);
    if (quarter == 0 && q < p.padded_q)
        p.stats[(int64_t)piece.index * p.padded_q + q] = x;
    return x;
}

/* Owns queries, streams keys and values from the diagonal down. */
template <int PANELS, int GROUPS, int STAGES, int BLOCKS>
__global__ void __launch_bounds__(GROUPS * 128, BLOCKS)
    hopper_queries_kernel(const __grid_constant__ attention_problem p, const __grid_constant__ CUtensorMap map_q,
                          const __grid_constant__ CUtensorMap map_k, const __grid_constant__ CUtensorMap map_v,
                          const __grid_constant__ CUtensorMap map_d_out)
{
#if HOPPER_CODE
    using layout = hopper_layout<PANELS, GROUPS, STAGES, 2>;
    SHARED_MEMORY(raw);
    unsigned char *memory = raw + (-shared_address(raw) & 1023);
    uint32_t base = shared_address(memory);
    const hopper_ring<STAGES> ring = {base + layout::BARRIERS};
    int group = __shfl_sync(0xffffffffu, (int)threadIdx.x / 128, 0), lane = (int)threadIdx.x % 32;
    attention_piece piece = take_piece(p, divide_up(p.seq_q, 64 * GROUPS), true);
    int q0 = piece.block * 64 * GROUPS, keys = min(p.seq_k, q0 + 64 * GROUPS + p.offset);
    int2 bounds = first_bounds(p, piece.sequence, q0, 64 * GROUPS);
    int last = divide_up(keys, 64) - 1, tiles = last + 1 - min(bounds.x, keys - 1) / 64;
    int row0 = q0 + 64 * group, row = row0 + (int)threadIdx.x / 32 % 4 * 16 + lane / 4;
    uint32_t q_tile = base + group * 2 * layout::TILE, d_tile = q_tile + layout::TILE;
    auto load = [&](int i) {
        uint32_t to = base + layout::RING + i % STAGES * layout::STAGE;
        ring.wait_empty(i);
        barrier_expect(ring.full(i), layout::STAGE);
        copy_tile<PANELS>(to, &map_k, piece, (last - i) * 64, ring.full(i));
        copy_tile<PANELS>(to + layout::TILE, &map_v, piece, (last - i) * 64, ring.full(i));
    };
    ring.init(4 * GROUPS);
    int loaded = min(STAGES, tiles);
    if (threadIdx.x == 0) {
        barrier_expect(ring.own(), 2 * GROUPS * layout::TILE);
        for (int i = 0; i < GROUPS; i++) {
            copy_tile<PANELS>(base + 2 * i * layout::TILE, &map_q, piece, q0 + 64 * i, ring.own());
            copy_tile<PANELS>(base + (2 * i + 1) * layout::TILE, &map_d_out, piece, q0 + 64 * i, ring.own());
        }
        for (int i = 0; i < loaded; i++)
            load(i);
    }
    __syncwarp();
    float dq[PANELS][32];
    clear(dq);
    const float scale = p.scale * LOG2E;
    int first[2] = {first_of(p, piece.sequence, row), first_of(p, piece.sequence, row + 8)};
    float lse[2], delta[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float2 x = make_float2(INFINITY, 0.0f);
        if (p.stats_by_queries)
            x = find_stats(p, piece, row + 8 * h);
        else if (row + 8 * h < p.seq_q)
            x = p.stats[(int64_t)piece.index * p.padded_q + row + 8 * h];
        lse[h] = x.x;
        delta[h] = x.y;
    }
    barrier_wait(ring.own(), 0);
    for (int i = 0; i < tiles; i++) {
        int k0 = (last - i) * 64;
        uint32_t k_tile = base + layout::RING + i % STAGES * layout::STAGE, v_tile = k_tile + layout::TILE;
        if (threadIdx.x == 0)
            for (; loaded < min(tiles, i - 1 + STAGES); loaded++)
                load(loaded);
        __syncwarp();
        ring.wait_full(i);
        if (row0 >= p.seq_q || k0 > row0 + 63 + p.offset) {
            ring.leave(i);
            continue;
        }
        float s[32], dp[32];
        uint32_t a[4][4];
        wgmma_fence();
        tile_product<PANELS>(s, q_tile, k_tile);
        tile_product<PANELS>(dp, d_tile, v_tile);
        wgmma_wait<1>();
#pragma unroll
        for (int j = 0; j < 32; j++)
            s[j] = exp2_fast(fmaf(s[j], scale, -lse[j / 2 % 2]));
        if (k0 + 63 > row0 + p.offset || k0 < bounds.y) {
#pragma unroll
            for (int n = 0; n < 8; n++)
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    int key = k0 + 8 * n + 2 * (lane % 4) + j % 2, high = row + p.offset + j / 2 * 8;
                    if (key > high || key < first[j / 2])
                        s[4 * n + j] = 0.0f;
                }
        }
        wgmma_wait<0>();
#pragma unroll
        for (int j = 0; j < 32; j++)
            s[j] *= dp[j] - delta[j / 2 % 2];
        pack_scores(a, s);
        wgmma_fence();
        tile_add<PANELS>(dq, a, k_tile);
        wgmma_wait<0>();
        ring.leave(i);
    }
    if (row0 >= p.seq_q)
        return;
    group_barrier(group);
    const float factor[2] = {p.scale, p.scale};
    int warp_row = row - lane / 4;
    const float *angles = p.rotary_dims ? p.angles + (int64_t)(warp_row + p.offset) * p.rotary_dims : nullptr;
    store_tile_summed<PANELS>(dq, factor, memory + group * 2 * layout::TILE,
                              view_at<bf16>(p.dq, piece.sequence, warp_row, piece.head * p.head_dim), p.dq.row,
                              p.seq_q - warp_row, p.head_dim, angles, p.rotary_dims, group,
                              tile_sums(p, piece, row0, 0));
#else
    __trap(); /* attention_hopper_available() keeps other code from being run */
#endif
}

template <int PANELS, int GROUPS_K, int STAGES_K, int BLOCKS_K, int GROUPS_Q, int STAGES_Q, int BLOCKS_Q>
static bool start(const attention_problem &p, cudaStream_t keys, cudaStream_t queries)
{
    CUtensorMap q, k, v, d_out;
    if (!hopper_map(&q, p, p.q, p.seq_q) || !hopper_map(&k, p, p.k, p.seq_k) || !hopper_map(&v, p, p.v, p.seq_k) ||
        !hopper_map(&d_out, p, p.d_out, p.seq_q))
        return false;
    int64_t heads = (int64_t)p.batch * p.heads;
    launch(hopper_queries_kernel<PANELS, GROUPS_Q, STAGES_Q, BLOCKS_Q>, divide_up(p.seq_q, 64 * GROUPS_Q) * heads,
           GROUPS_Q * 128, hopper_layout<PANELS, GROUPS_Q, STAGES_Q, 2>::BYTES, queries, p, q, k, v, d_out);
    launch(hopper_keys_kernel<PANELS, GROUPS_K, STAGES_K, BLOCKS_K>, divide_up(p.seq_k - p.key0, 64 * GROUPS_K) * heads,
           GROUPS_K * 128, hopper_layout<PANELS, GROUPS_K, STAGES_K, 2>::BYTES, keys, p, q, k, v, d_out);
    return true;
}

bool attention_hopper_backward(const attention_problem &p, cudaStream_t keys, cudaStream_t queries)
{
    if (!attention_shape_fits(p, true))
        return false;
    return p.head_dim <= 64 ? start<1, 1, 3, 3, 2, 4, 2>(p, keys, queries)
                            : start<2, 2, 3, 1, 2, 3, 1>(p, keys, queries);
}
