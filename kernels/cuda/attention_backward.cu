/* attention_backward.cu: FlashAttention-2's backward pass (Dao 2023, algorithm 2) on bf16 tensor cores, without
 * atomics.
 *
 * Two kernels: one owns keys and walks over the queries that see them (dK, dV), the other owns queries and walks over
 * keys (dQ). The scores are computed in both, 7 products instead of 5; in return every sum has one owner and one order,
 * and nothing goes through memory in between.
 */
#include "kernels/cuda/attention_mma.cuh"

template <int D, int WARPS, int BN> struct backward_layout {
    static constexpr int BM = WARPS * 16, OWN = 2 * tile_bytes<D>(BM), STAGE = 2 * tile_bytes<D>(BN);
    static constexpr int EXTRA = OWN + 2 * STAGE; /* 2 stages of stats, or first */
    static constexpr int BYTES = EXTRA + (2 * BN * 8 > BM * 4 ? 2 * BN * 8 : BM * 4);
};

/* Scores are [key][query] here, so that probabilities and their gradients are A of the products for dV and dK. */
template <int D, int WARPS, int BN>
__global__ void __launch_bounds__(WARPS * 32) backward_keys_kernel(const attention_problem p)
{
    using layout = backward_layout<D, WARPS, BN>;
    constexpr int BM = layout::BM, NT = BN / 8, THREADS = WARPS * 32;
    SHARED_MEMORY(memory);
    uint32_t k_tile = shared_address(memory), v_tile = k_tile + tile_bytes<D>(BM);
    int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4, row = (int)threadIdx.x / 32 * 16;
    attention_piece piece = take_piece(p, divide_up(p.seq_k - p.key0, BM), false);
    int k0 = p.key0 + piece.block * BM, column = piece.head * p.head_dim;
    const bf16 *q = view_at<const bf16>(p.q, piece.sequence, 0, column);
    const bf16 *d_out = view_at<const bf16>(p.d_out, piece.sequence, 0, column);
    const float2 *stats = p.stats + (int64_t)piece.index * p.padded_q;
    int tiles = divide_up(p.seq_q, BN);
    /* The next tile with a query that may see a key of ours. */
    auto next_tile = [&](int tile) {
        while (p.first && tile < tiles && first_bounds(p, piece.sequence, tile * BN, BN).x >= k0 + BM)
            tile++;
        return tile;
    };
    auto load_queries = [&](int tile, int stage) {
        uint32_t to = k_tile + layout::OWN + stage * layout::STAGE;
        int q0 = tile * BN;
        load_tile<D, BN, THREADS>(to, q + q0 * p.q.row, p.q.row, p.seq_q - q0, p.head_dim);
        load_tile<D, BN, THREADS>(to + tile_bytes<D>(BN), d_out + q0 * p.d_out.row, p.d_out.row, p.seq_q - q0,
                                  p.head_dim);
        if (threadIdx.x < BN)
            cp_async_8(k_tile + layout::EXTRA + (uint32_t)(stage * BN + (int)threadIdx.x) * 8,
                       stats + q0 + threadIdx.x);
        cp_async_commit();
    };
    load_tile<D, BM, THREADS>(k_tile, view_at<const bf16>(p.k, piece.sequence, k0, column), p.k.row, p.seq_k - k0,
                              p.head_dim);
    load_tile<D, BM, THREADS>(v_tile, view_at<const bf16>(p.v, piece.sequence, k0, column), p.v.row, p.seq_k - k0,
                              p.head_dim);
    cp_async_commit();
    float dk[1][D / 8][4], dv[1][D / 8][4];
    clear(dk);
    clear(dv);
    float scale = p.scale * LOG2E;
    int tile = next_tile(max(k0 - p.offset, 0) / BN);
    if (tile < tiles)
        load_queries(tile, 0);
    for (int stage = 0; tile < tiles; stage ^= 1) {
        int q0 = tile * BN, low = k0 + row;
        uint32_t q_tile = k_tile + layout::OWN + stage * layout::STAGE, d_tile = q_tile + tile_bytes<D>(BN);
        const float4 *column_stats = (const float4 *)(memory + layout::EXTRA + stage * BN * 8);
        cp_async_wait<0>();
        __syncthreads();
        tile = next_tile(tile + 1);
        if (tile < tiles)
            load_queries(tile, stage ^ 1);
        if (q0 + BN - 1 + p.offset < low)
            continue;
        float s[1][NT][4], dp[1][NT][4];
        product_rows<D, 1, NT>(s, k_tile, row, q_tile);
        product_rows<D, 1, NT>(dp, v_tile, row, d_tile);
        int2 bounds = first_bounds(p, piece.sequence, q0, BN);
        bool masked = q0 + p.offset < low + 15 || bounds.y > low;
#pragma unroll
        for (int n = 0; n < NT; n++) {
            float4 x = column_stats[4 * n + t]; /* lse and delta of two queries */
#pragma unroll
            for (int j = 0; j < 2; j++) {
                int query = q0 + 8 * n + 2 * t + j, first = masked ? first_of(p, piece.sequence, query) : 0;
                float lse = j ? x.z : x.x, delta = j ? x.w : x.y;
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    int key = low + g + 8 * h;
                    float prob = exp2_fast(fmaf(s[0][n][2 * h + j], scale, -lse));
                    if (masked && (key > query + p.offset || key < first))
                        prob = 0.0f;
                    s[0][n][2 * h + j] = prob;
                    dp[0][n][2 * h + j] = prob * (dp[0][n][2 * h + j] - delta);
                }
            }
        }
        uint32_t a[1][NT / 2][4];
        pack_a<1, NT>(a, s);
        product_add<D, 1, NT>(dv, a, d_tile);
        pack_a<1, NT>(a, dp);
        product_add<D, 1, NT>(dk, a, q_tile);
    }
    cp_async_wait<0>();
    __syncthreads();
    const float factor_k[1][2] = {{p.scale, p.scale}}, factor_v[1][2] = {{1.0f, 1.0f}};
    const float *angles = p.rotary_dims ? p.angles + (int64_t)(k0 + row) * p.rotary_dims : nullptr;
    store_result<D, 1>(dk, factor_k, memory, row, view_at<bf16>(p.dk, piece.sequence, k0 + row - p.key0, column),
                       p.dk.row, p.seq_k - k0 - row, p.head_dim, angles, p.rotary_dims);
    store_result<D, 1>(dv, factor_v, memory + tile_bytes<D>(BM), row,
                       view_at<bf16>(p.dv, piece.sequence, k0 + row - p.key0, column), p.dv.row, p.seq_k - k0 - row,
                       p.head_dim, nullptr, 0);
}

template <int D, int WARPS, int BN>
__global__ void __launch_bounds__(WARPS * 32) backward_queries_kernel(const attention_problem p)
{
    using layout = backward_layout<D, WARPS, BN>;
    constexpr int BM = layout::BM, NT = BN / 8, THREADS = WARPS * 32;
    SHARED_MEMORY(memory);
    uint32_t q_tile = shared_address(memory), d_tile = q_tile + tile_bytes<D>(BM);
    int *first = (int *)(memory + layout::EXTRA);
    int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4, row = (int)threadIdx.x / 32 * 16;
    attention_piece piece = take_piece(p, divide_up(p.seq_q, BM), true);
    int q0 = piece.block * BM, keys = min(p.seq_k, q0 + BM + p.offset), column = piece.head * p.head_dim;
    int2 bounds = first_bounds(p, piece.sequence, q0, BM);
    int tile0 = min(bounds.x, keys - 1) / BN, tiles = divide_up(keys, BN) - tile0;
    const bf16 *k = view_at<const bf16>(p.k, piece.sequence, 0, column);
    const bf16 *v = view_at<const bf16>(p.v, piece.sequence, 0, column);
    auto load_keys = [&](int tile, int stage) {
        uint32_t to = q_tile + layout::OWN + stage * layout::STAGE;
        int k0 = tile * BN;
        load_tile<D, BN, THREADS>(to, k + k0 * p.k.row, p.k.row, p.seq_k - k0, p.head_dim);
        load_tile<D, BN, THREADS>(to + tile_bytes<D>(BN), v + k0 * p.v.row, p.v.row, p.seq_k - k0, p.head_dim);
        cp_async_commit();
    };
    load_tile<D, BM, THREADS>(q_tile, view_at<const bf16>(p.q, piece.sequence, q0, column), p.q.row, p.seq_q - q0,
                              p.head_dim);
    load_tile<D, BM, THREADS>(d_tile, view_at<const bf16>(p.d_out, piece.sequence, q0, column), p.d_out.row,
                              p.seq_q - q0, p.head_dim);
    load_keys(tile0 + tiles - 1, 0);
    for (int i = (int)threadIdx.x; i < BM; i += THREADS)
        first[i] = first_of(p, piece.sequence, q0 + i);
    float2 own[2]; /* padded_q is a multiple of 64, a block of queries may reach farther */
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int q = q0 + row + g + 8 * h;
        own[h] = q < p.seq_q ? p.stats[(int64_t)piece.index * p.padded_q + q] : make_float2(INFINITY, 0.0f);
    }
    float dq[1][D / 8][4];
    clear(dq);
    float scale = p.scale * LOG2E;
    for (int i = 0; i < tiles; i++) {
        int k0 = (tile0 + tiles - 1 - i) * BN;
        uint32_t k_tile = q_tile + layout::OWN + i % 2 * layout::STAGE, v_tile = k_tile + tile_bytes<D>(BN);
        cp_async_wait<0>();
        __syncthreads();
        if (i + 1 < tiles)
            load_keys(tile0 + tiles - 2 - i, (i + 1) % 2);
        if (k0 > q0 + row + 15 + p.offset)
            continue;
        float s[1][NT][4], dp[1][NT][4];
        product_rows<D, 1, NT>(s, q_tile, row, k_tile);
        product_rows<D, 1, NT>(dp, d_tile, row, v_tile);
        bool masked = k0 + BN - 1 > q0 + row + p.offset || k0 < bounds.y;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int low = first[row + g + 8 * h], high = q0 + row + g + 8 * h + p.offset;
#pragma unroll
            for (int n = 0; n < NT; n++)
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    int key = k0 + 8 * n + 2 * t + j;
                    float prob = exp2_fast(fmaf(s[0][n][2 * h + j], scale, -own[h].x));
                    if (masked && (key > high || key < low))
                        prob = 0.0f;
                    s[0][n][2 * h + j] = prob * (dp[0][n][2 * h + j] - own[h].y);
                }
        }
        uint32_t a[1][NT / 2][4];
        pack_a<1, NT>(a, s);
        product_add<D, 1, NT>(dq, a, k_tile);
    }
    const float factor[1][2] = {{p.scale, p.scale}};
    const float *angles = p.rotary_dims ? p.angles + (int64_t)(q0 + row + p.offset) * p.rotary_dims : nullptr;
    store_result<D, 1>(dq, factor, memory, row, view_at<bf16>(p.dq, piece.sequence, q0 + row, column), p.dq.row,
                       p.seq_q - q0 - row, p.head_dim, angles, p.rotary_dims);
}

template <int D, int WARPS, int BN>
static void start(const attention_problem &p, cudaStream_t keys, cudaStream_t queries)
{
    using layout = backward_layout<D, WARPS, BN>;
    int64_t heads = (int64_t)p.batch * p.heads;
    launch(backward_keys_kernel<D, WARPS, BN>, divide_up(p.seq_k - p.key0, layout::BM) * heads, WARPS * 32,
           layout::BYTES, keys, p);
    launch(backward_queries_kernel<D, WARPS, BN>, divide_up(p.seq_q, layout::BM) * heads, WARPS * 32, layout::BYTES,
           queries, p);
}

bool attention_mma_backward(const attention_problem &p, cudaStream_t keys, cudaStream_t queries)
{
    if (!attention_shape_fits(p, true))
        return false;
    if (p.head_dim <= 32)
        start<32, 8, 64>(p, keys, queries);
    else if (p.head_dim <= 64)
        start<64, 8, 64>(p, keys, queries);
    else if (p.head_dim <= 96)
        start<96, 4, 64>(p, keys, queries);
    else
        start<128, 4, 32>(p, keys, queries);
    return true;
}
