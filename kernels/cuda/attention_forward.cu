/* attention_forward.cu: FlashAttention-2's forward pass (Dao 2023, algorithm 1) on bf16 tensor cores, any GPU from
 * compute capability 8.0.
 *
 * A thread block owns WARPS * 16 * MT queries and walks over the tiles of keys that they see, from the last one, where
 * the diagonal is, to the first; the next tile travels while this one is computed. Each warp owns 16 * MT rows, so the
 * softmax needs no exchange between warps.
 */
#include "kernels/cuda/attention_mma.cuh"

template <int D, int WARPS, int MT, int BN> struct forward_layout {
    static constexpr int BM = WARPS * 16 * MT;
    static constexpr int K = tile_bytes<D>(BM), STAGE = 2 * tile_bytes<D>(BN), FIRST = K + 2 * STAGE;
    static constexpr int BYTES = FIRST + BM * 4;
};

/* Sets the scores that are invisible to -infinity; q and k0 are the thread's first row and the tile's first key. */
template <int MT, int NT>
__device__ __forceinline__ void mask_scores(float (&s)[MT][NT][4], const int *first, int row, int last_key, int k0)
{
    int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int r = row + 16 * m + 8 * h + g, low = first[r], high = last_key + 16 * m + 8 * h + g;
#pragma unroll
            for (int n = 0; n < NT; n++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    int key = k0 + 8 * n + 2 * t + i;
                    s[m][n][2 * h + i] = key < low || key > high ? -INFINITY : s[m][n][2 * h + i];
                }
        }
}

template <int D, int WARPS, int MT, int BN>
__global__ void __launch_bounds__(WARPS * 32) forward_kernel(const attention_problem p)
{
    using layout = forward_layout<D, WARPS, MT, BN>;
    constexpr int BM = layout::BM, NT = BN / 8, THREADS = WARPS * 32;
    SHARED_MEMORY(memory);
    uint32_t q_tile = shared_address(memory);
    int *first = (int *)(memory + layout::FIRST);
    int lane = (int)threadIdx.x % 32, row = (int)threadIdx.x / 32 * 16 * MT;
    attention_piece piece = take_piece(p, divide_up(p.seq_q, BM), true);
    int q0 = piece.block * BM, keys = min(p.seq_k, q0 + BM + p.offset), column = piece.head * p.head_dim;
    int2 bounds = first_bounds(p, piece.sequence, q0, BM);
    int tile0 = min(bounds.x, keys - 1) / BN, tiles = divide_up(keys, BN) - tile0;
    const bf16 *k = view_at<const bf16>(p.k, piece.sequence, 0, column);
    const bf16 *v = view_at<const bf16>(p.v, piece.sequence, 0, column);
    auto load_keys = [&](int tile, int stage) {
        uint32_t to = q_tile + layout::K + stage * layout::STAGE;
        int k0 = tile * BN;
        load_tile<D, BN, THREADS>(to, k + k0 * p.k.row, p.k.row, p.seq_k - k0, p.head_dim);
        load_tile<D, BN, THREADS>(to + tile_bytes<D>(BN), v + k0 * p.v.row, p.v.row, p.seq_k - k0, p.head_dim);
        cp_async_commit();
    };
    load_tile<D, BM, THREADS>(q_tile, view_at<const bf16>(p.q, piece.sequence, q0, column), p.q.row, p.seq_q - q0,
                              p.head_dim);
    load_keys(tile0 + tiles - 1, 0);
    for (int i = (int)threadIdx.x; i < BM; i += THREADS)
        first[i] = first_of(p, piece.sequence, q0 + i);

    float o[MT][D / 8][4], top[MT][2], sum[MT][2];
    clear(o);
#pragma unroll
    for (int m = 0; m < MT; m++)
        top[m][0] = top[m][1] = -INFINITY, sum[m][0] = sum[m][1] = 0.0f;
    float scale = p.scale * LOG2E;
    for (int i = 0; i < tiles; i++) {
        int k0 = (tile0 + tiles - 1 - i) * BN;
        uint32_t k_tile = q_tile + layout::K + i % 2 * layout::STAGE;
        cp_async_wait<0>();
        __syncthreads(); /* this tile is there, and nobody reads the other stage any more */
        if (i + 1 < tiles)
            load_keys(tile0 + tiles - 2 - i, (i + 1) % 2);
        if (k0 > q0 + row + 16 * MT - 1 + p.offset)
            continue;
        float s[MT][NT][4];
        product_rows<D, MT, NT>(s, q_tile, row, k_tile);
        if (k0 + BN - 1 > q0 + row + p.offset || k0 < bounds.y)
            mask_scores<MT, NT>(s, first, row, q0 + row + p.offset, k0);
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                float high = top[m][h];
#pragma unroll
                for (int n = 0; n < NT; n++)
                    high = fmaxf(high, fmaxf(s[m][n][2 * h], s[m][n][2 * h + 1]));
                high = quad_max(high);
                float base = high == -INFINITY ? 0.0f : high * scale;
                float keep = exp2_fast(top[m][h] * scale - base), part = 0.0f;
                top[m][h] = high;
#pragma unroll
                for (int n = 0; n < NT; n++)
#pragma unroll
                    for (int j = 0; j < 2; j++) {
                        float x = exp2_fast(fmaf(s[m][n][2 * h + j], scale, -base));
                        s[m][n][2 * h + j] = x;
                        part += x;
                    }
                sum[m][h] = sum[m][h] * keep + part;
#pragma unroll
                for (int n = 0; n < D / 8; n++) {
                    o[m][n][2 * h] *= keep;
                    o[m][n][2 * h + 1] *= keep;
                }
            }
        uint32_t a[MT][NT / 2][4];
        pack_a<MT, NT>(a, s);
        product_add<D, MT, NT>(o, a, k_tile + tile_bytes<D>(BN));
    }
    cp_async_wait<0>();
    float inverse[MT][2];
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float total = quad_sum(sum[m][h]);
            int q = q0 + row + 16 * m + 8 * h + lane / 4;
            inverse[m][h] = 1.0f / total;
            if (lane % 4 == 0 && q < p.seq_q)
                p.lse[(int64_t)piece.index * p.seq_q + q] = (top[m][h] * scale + log2_fast(total)) * LN2;
        }
    store_result<D, MT>(o, inverse, memory, row, view_at<bf16>(p.out, piece.sequence, q0 + row, column), p.out.row,
                        p.seq_q - q0 - row, p.head_dim, nullptr, 0);
}

template <int D, int WARPS, int MT, int BN> static void start(const attention_problem &p, cudaStream_t stream)
{
    using layout = forward_layout<D, WARPS, MT, BN>;
    int64_t blocks = (int64_t)divide_up(p.seq_q, layout::BM) * p.batch * p.heads;
    launch(forward_kernel<D, WARPS, MT, BN>, blocks, WARPS * 32, layout::BYTES, stream, p);
}

bool attention_mma_forward(const attention_problem &p, cudaStream_t stream)
{
    if (!attention_shape_fits(p, false))
        return false;
    if (p.head_dim <= 32)
        start<32, 4, 2, 64>(p, stream);
    else if (p.head_dim <= 64)
        start<64, 4, 2, 64>(p, stream);
    else if (p.head_dim <= 96)
        start<96, 8, 1, 64>(p, stream);
    else
        start<128, 8, 1, 32>(p, stream);
    return true;
}
