/* attention_hopper_forward.cu: FlashAttention's forward pass with wgmma (after Shah et al. 2024, FlashAttention-3).
 *
 * The scores of the next tile are multiplied while this one's probabilities meet the values; the softmax of the next
 * runs meanwhile.
 */
#include "kernels/cuda/attention_hopper.cuh"

template <int PANELS, int GROUPS, int STAGES, int BLOCKS>
__global__ void __launch_bounds__(GROUPS * 128, BLOCKS)
    hopper_forward_kernel(const __grid_constant__ attention_problem p, const __grid_constant__ CUtensorMap map_q,
                          const __grid_constant__ CUtensorMap map_k, const __grid_constant__ CUtensorMap map_v)
{
#if HOPPER_CODE
    using layout = hopper_layout<PANELS, GROUPS, STAGES, 1>;
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
    uint32_t q_tile = base + group * layout::TILE;
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
        barrier_expect(ring.own(), GROUPS * layout::TILE);
        for (int i = 0; i < GROUPS; i++)
            copy_tile<PANELS>(base + i * layout::TILE, &map_q, piece, q0 + 64 * i, ring.own());
        for (int i = 0; i < loaded; i++)
            load(i);
    }
    __syncwarp();
    /* Tiles beyond this group's diagonal; all of them for a group behind the end. */
    int i = 0;
    bool active = row0 < p.seq_q;
    for (; i < tiles && (!active || (last - i) * 64 > row0 + 63 + p.offset); i++) {
        ring.wait_full(i);
        ring.leave(i);
    }
    if (!active)
        return;

    float s[32], o[PANELS][32], top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f}, keep[2];
    uint32_t a[4][4];
    const float scale = p.scale * LOG2E;
    int first[2] = {first_of(p, piece.sequence, row), first_of(p, piece.sequence, row + 8)};
    auto start_scores = [&](int tile) {
        ring.wait_full(tile);
        wgmma_fence();
        tile_product<PANELS>(s, q_tile, base + layout::RING + tile % STAGES * layout::STAGE);
    };
    auto mask = [&](int tile) {
        int k0 = (last - tile) * 64;
        if (k0 + 63 <= row0 + p.offset && k0 >= bounds.y)
            return;
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int key = k0 + 8 * n + 2 * (lane % 4) + j % 2, high = row + p.offset + j / 2 * 8;
                s[4 * n + j] = key > high || key < first[j / 2] ? -INFINITY : s[4 * n + j];
            }
    };
    clear(o);
    barrier_wait(ring.own(), 0);
    start_scores(i);
    wgmma_wait<0>();
    mask(i);
    softmax_step(s, top, sum, keep, scale);
    pack_scores(a, s);
    for (; i + 1 < tiles; i++) {
        if (threadIdx.x == 0)
            for (; loaded < min(tiles, i - 1 + STAGES); loaded++)
                load(loaded);
        __syncwarp();
        start_scores(i + 1);
        tile_add<PANELS>(o, a, base + layout::RING + i % STAGES * layout::STAGE + layout::TILE);
        wgmma_wait<1>();
        mask(i + 1);
        softmax_step(s, top, sum, keep, scale);
        wgmma_wait<0>();
        ring.leave(i);
#pragma unroll
        for (int j = 0; j < 32; j++)
#pragma unroll
            for (int panel = 0; panel < PANELS; panel++)
                o[panel][j] *= keep[j / 2 % 2];
        pack_scores(a, s);
    }
    wgmma_fence();
    tile_add<PANELS>(o, a, base + layout::RING + i % STAGES * layout::STAGE + layout::TILE);
    wgmma_wait<0>();
    float inverse[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float total = quad_sum(sum[h]);
        inverse[h] = 1.0f / total;
        if (lane % 4 == 0 && row + 8 * h < p.seq_q)
            p.lse[(int64_t)piece.index * p.seq_q + row + 8 * h] = (top[h] * scale + log2_fast(total)) * LN2;
    }
    group_barrier(group);
    int warp_row = row - lane / 4;
    store_tile<PANELS>(o, inverse, memory + group * layout::TILE,
                       view_at<bf16>(p.out, piece.sequence, warp_row, piece.head * p.head_dim), p.out.row,
                       p.seq_q - warp_row, p.head_dim, nullptr, 0, [](const uint4 &) {});
#else
    __trap(); /* attention_hopper_available() keeps other code from being run */
#endif
}

template <int PANELS, int GROUPS, int STAGES, int BLOCKS>
static bool start(const attention_problem &p, cudaStream_t stream)
{
    CUtensorMap q, k, v;
    if (!hopper_map(&q, p, p.q, p.seq_q) || !hopper_map(&k, p, p.k, p.seq_k) || !hopper_map(&v, p, p.v, p.seq_k))
        return false;
    launch(hopper_forward_kernel<PANELS, GROUPS, STAGES, BLOCKS>,
           (int64_t)divide_up(p.seq_q, 64 * GROUPS) * p.batch * p.heads, GROUPS * 128,
           hopper_layout<PANELS, GROUPS, STAGES, 1>::BYTES, stream, p, q, k, v);
    return true;
}

bool attention_hopper_forward(const attention_problem &p, cudaStream_t stream)
{
    if (!attention_shape_fits(p, false))
        return false;
    return p.head_dim <= 64 ? start<1, 2, 4, 2>(p, stream) : start<2, 3, 4, 1>(p, stream);
}

typedef CUresult (*encode_function)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                                    const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
                                    CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

static encode_function find_encode()
{
    void *f = nullptr;
    cudaDriverEntryPointQueryResult result;
    cudaError_t e = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &f, 12000, cudaEnableDefault, &result);
    return e == cudaSuccess && result == cudaDriverEntryPointSuccess ? (encode_function)f : nullptr;
}

bool hopper_map(CUtensorMap *map, const attention_problem &p, const struct attention_view &view, int seq)
{
    static const encode_function encode = find_encode();
    cuuint64_t sizes[4] = {(cuuint64_t)p.head_dim, (cuuint64_t)seq, (cuuint64_t)p.heads, (cuuint64_t)p.batch};
    cuuint64_t strides[3] = {(cuuint64_t)view.row * 2, (cuuint64_t)p.head_dim * 2, (cuuint64_t)view.batch * 2};
    cuuint32_t box[4] = {64, 64, 1, 1}, steps[4] = {1, 1, 1, 1};
    return encode && encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, view.data, sizes, strides, box, steps,
                            CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                            CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

/* Whether this GPU runs the code for sm_90a in this program. */
static bool find_available()
{
#ifdef BAKA_CUDA_NO_HOPPER
    return false;
#else
    int device = 0, major = 0, minor = 0;
    cudaFuncAttributes a;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess || major != 9 || minor)
        return false;
    if (cudaFuncGetAttributes(&a, (const void *)hopper_forward_kernel<1, 2, 4, 2>) != cudaSuccess) {
        cudaGetLastError();
        return false;
    }
    return a.binaryVersion == 90 && a.ptxVersion >= 90;
#endif
}

bool attention_hopper_available(const attention_problem &p)
{
    static const bool available = find_available();
    return available && !p.f32;
}
