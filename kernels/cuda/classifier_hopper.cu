/* classifier_hopper.cu: the classifier for narrow models and large vocabularies, without logits in memory.
 *
 * It is attention: positions are queries, classes are keys, and what a position's probabilities gather of the classes'
 * weights is the gradient of its input. So one pass over the classes, as FlashAttention's forward, finds the loss and
 * dx; another, that owns classes and streams positions, finds d_w. The logits are multiplied twice, which costs less
 * than to store them once and read them three times, as long as rows are short. The first pass leaves out a position's
 * own class: its share of dx, p - 1 times its weights, would lose its digits in the sum where p is nearly 1.
 *
 * Classes are cut in splits, so that few positions fill the GPU too; a third, small kernel puts the splits together.
 */
#include "kernels/cuda/attention_hopper.cuh"
#include "kernels/cuda/classifier.cuh"
#include "kernels/cuda/vector.cuh"

enum { TILE_ROWS = 64, MOST_SPLITS = 16 };

/* What the second pass knows of a position: log2 of the sum of 2^(logit log2 e), and its class. */
struct head_column {
    float lse;
    int target;
};

struct head_problem {
    int rows, padded_rows, vocab, dim;
    int splits, split_tiles; /* tiles of classes of a split */
    const bf16 *x, *w;
    const int32_t *targets;
    float *gathered;             /* [splits][rows][dim] sum of exp(logit - top) w, without the own class */
    float2 *sums;                /* [splits][rows] top, and the sum of exp(logit - top) */
    struct head_column *columns; /* [padded_rows] */
    double *losses;
    bf16 *dx;
    float *d_w;
    bool d_w_overwrite;
    const struct cuda_step_values *values;
};

/* GROUPS own tiles, then a ring of tiles of the other side, each with its columns. */
template <int PANELS, int GROUPS, int STAGES> struct head_layout {
    static constexpr int TILE = PANELS * 64 * 128, RING = GROUPS * TILE;
    static constexpr int COLUMNS = RING + STAGES * TILE, COLUMNS_BYTES = TILE_ROWS * sizeof(struct head_column);
    static constexpr int BARRIERS = COLUMNS + STAGES * COLUMNS_BYTES;
    static constexpr int BYTES = BARRIERS + 8 * (2 * STAGES + 1) + 1024; /* the start is rounded up to 1024 */
};

/* Owns positions, streams a split's classes. GRADIENT: gathers too. */
template <int PANELS, int GROUPS, int STAGES, bool GRADIENT>
__global__ void __launch_bounds__(GROUPS * 128, 1)
    head_rows_kernel(const __grid_constant__ head_problem p, const __grid_constant__ CUtensorMap map_x,
                     const __grid_constant__ CUtensorMap map_w)
{
#if HOPPER_CODE
    using layout = head_layout<PANELS, GROUPS, STAGES>;
    SHARED_MEMORY(raw);
    unsigned char *memory = raw + (-shared_address(raw) & 1023);
    const uint32_t base = shared_address(memory);
    const hopper_ring<STAGES> ring = {base + layout::BARRIERS};
    const attention_piece piece = {};
    const int group = __shfl_sync(0xffffffffu, (int)threadIdx.x / 128, 0), lane = (int)threadIdx.x % 32;
    const int blocks = divide_up(p.rows, 64 * GROUPS), split = (int)blockIdx.x / blocks;
    const int block0 = ((int)blockIdx.x - split * blocks) * 64 * GROUPS, row0 = block0 + 64 * group;
    const int row = row0 + (int)threadIdx.x / 32 % 4 * 16 + lane / 4;
    const int tile0 = split * p.split_tiles, tiles = min(p.split_tiles, divide_up(p.vocab, TILE_ROWS) - tile0);
    const uint32_t x_tile = base + group * layout::TILE;
    auto load = [&](int i) {
        ring.wait_empty(i);
        barrier_expect(ring.full(i), layout::TILE);
        copy_tile<PANELS>(base + layout::RING + i % STAGES * layout::TILE, &map_w, piece, (tile0 + i) * TILE_ROWS,
                          ring.full(i));
    };
    ring.init(4 * GROUPS);
    int loaded = min(STAGES, tiles);
    if (threadIdx.x == 0) {
        barrier_expect(ring.own(), GROUPS * layout::TILE);
        for (int i = 0; i < GROUPS; i++)
            copy_tile<PANELS>(base + i * layout::TILE, &map_x, piece, block0 + 64 * i, ring.own());
        for (int i = 0; i < loaded; i++)
            load(i);
    }
    __syncwarp();
    if (row0 >= p.rows) { /* never the group that loads */
        for (int i = 0; i < tiles; i++) {
            ring.wait_full(i);
            ring.leave(i);
        }
        return;
    }
    float s[32], o[PANELS][32], top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f}, keep[2];
    uint32_t a[4][4];
    const int target[2] = {row < p.rows ? p.targets[row] : -1, row + 8 < p.rows ? p.targets[row + 8] : -1};
    auto start_scores = [&](int tile) {
        ring.wait_full(tile);
        wgmma_fence();
        tile_product<PANELS>(s, x_tile, base + layout::RING + tile % STAGES * layout::TILE);
    };
    auto mask = [&](int tile) {
        const int k0 = (tile0 + tile) * TILE_ROWS;
        if (k0 + TILE_ROWS <= p.vocab && (unsigned)(target[0] - k0) >= TILE_ROWS &&
            (unsigned)(target[1] - k0) >= TILE_ROWS)
            return;
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const int class_ = k0 + 8 * n + 2 * (lane % 4) + j % 2;
                s[4 * n + j] = class_ >= p.vocab || class_ == target[j / 2] ? -INFINITY : s[4 * n + j];
            }
    };
    auto load_more = [&](int i) {
        if (threadIdx.x == 0)
            for (; loaded < min(tiles, i - 1 + STAGES); loaded++)
                load(loaded);
        __syncwarp();
    };
    if (GRADIENT)
        clear(o);
    barrier_wait(ring.own(), 0);
    start_scores(0);
    wgmma_wait<0>();
    mask(0);
    softmax_step(s, top, sum, keep, LOG2E);
    if (GRADIENT)
        pack_scores(a, s);
    for (int i = 0; i + 1 < tiles; i++) {
        load_more(i);
        start_scores(i + 1);
        if (GRADIENT) {
            tile_add<PANELS>(o, a, base + layout::RING + i % STAGES * layout::TILE);
            wgmma_wait<1>();
        } else {
            wgmma_wait<0>();
            ring.leave(i);
        }
        mask(i + 1);
        softmax_step(s, top, sum, keep, LOG2E);
        if (GRADIENT) {
            wgmma_wait<0>();
            ring.leave(i);
#pragma unroll
            for (int panel = 0; panel < PANELS; panel++)
#pragma unroll
                for (int j = 0; j < 32; j++)
                    o[panel][j] *= keep[j / 2 % 2];
            pack_scores(a, s);
        }
    }
    if (GRADIENT) {
        wgmma_fence();
        tile_add<PANELS>(o, a, base + layout::RING + (tiles - 1) % STAGES * layout::TILE);
        wgmma_wait<0>();
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const float total = quad_sum(sum[h]);
        if (row + 8 * h >= p.rows)
            continue;
        const int64_t at = (int64_t)split * p.rows + row + 8 * h;
        if (lane % 4 == 0)
            p.sums[at] = make_float2(top[h], total);
        if (GRADIENT)
#pragma unroll
            for (int panel = 0; panel < PANELS; panel++)
#pragma unroll
                for (int n = 0; n < 8; n++) {
                    const int column = 64 * panel + 8 * n + 2 * (lane % 4);
                    if (column < p.dim)
                        *(float2 *)(p.gathered + at * p.dim + column) =
                            make_float2(o[panel][4 * n + 2 * h], o[panel][4 * n + 2 * h + 1]);
                }
    }
#else
    __trap(); /* attention_hopper_available() keeps other code from being run */
#endif
}

/* A warp a position: the splits and its own class together. Behind the last one columns that count for nothing. */
template <bool GRADIENT> __global__ void __launch_bounds__(256) head_join_kernel(const head_problem p)
{
    const int row = (int)(blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = (int)threadIdx.x % WARP;
    if (row >= p.padded_rows)
        return;
    const int target = row < p.rows ? p.targets[row] : -1;
    if (target < 0 || target >= p.vocab) {
        const float value = target == -1 ? 0.0f : __int_as_float(0x7fffffff);
        if (lane == 0) {
            p.columns[row] = {target == -1 ? INFINITY : value, -1};
            if (row < p.rows)
                p.losses[row] = value;
        }
        for (int d = lane; GRADIENT && row < p.rows && d < p.dim; d += WARP)
            p.dx[(int64_t)row * p.dim + d] = __float2bfloat16_rn(value);
        return;
    }
    const bf16 *x = p.x + (int64_t)row * p.dim, *w = p.w + (int64_t)target * p.dim;
    float own = 0.0f, top, others = 0.0f;
    for (int d = lane; d < p.dim; d += WARP)
        own = fmaf(__bfloat162float(x[d]), __bfloat162float(w[d]), own);
    own = top = warp_sum(own);
    for (int i = 0; i < p.splits; i++)
        top = fmaxf(top, p.sums[(int64_t)i * p.rows + row].x);
    for (int i = 0; i < p.splits; i++) {
        const float2 s = p.sums[(int64_t)i * p.rows + row];
        others += s.y * exp2_fast((s.x - top) * LOG2E);
    }
    const float total = others + exp2_fast((own - top) * LOG2E);
    if (lane == 0) {
        p.losses[row] = log((double)total) + ((double)top - (double)own);
        p.columns[row] = {top * LOG2E + log2f(total), target};
    }
    const float factor = (float)p.values->loss_scale / total;
    for (int d = lane; GRADIENT && d < p.dim; d += WARP) {
        float g = 0.0f;
        for (int i = 0; i < p.splits; i++) {
            const int64_t at = (int64_t)i * p.rows + row;
            g = fmaf(p.gathered[at * p.dim + d], exp2_fast((p.sums[at].x - top) * LOG2E), g);
        }
        p.dx[(int64_t)row * p.dim + d] = __float2bfloat16_rn((g - others * __bfloat162float(w[d])) * factor);
    }
}

/* Owns classes, streams positions; scores are [class][position]. */
template <int PANELS, int GROUPS, int STAGES>
__global__ void __launch_bounds__(GROUPS * 128, 1)
    head_classes_kernel(const __grid_constant__ head_problem p, const __grid_constant__ CUtensorMap map_x,
                        const __grid_constant__ CUtensorMap map_w)
{
#if HOPPER_CODE
    using layout = head_layout<PANELS, GROUPS, STAGES>;
    SHARED_MEMORY(raw);
    unsigned char *memory = raw + (-shared_address(raw) & 1023);
    const uint32_t base = shared_address(memory);
    const hopper_ring<STAGES> ring = {base + layout::BARRIERS};
    const attention_piece piece = {};
    const int group = __shfl_sync(0xffffffffu, (int)threadIdx.x / 128, 0), lane = (int)threadIdx.x % 32;
    const int block0 = (int)blockIdx.x * 64 * GROUPS, class0 = block0 + 64 * group;
    const int row = class0 + (int)threadIdx.x / 32 % 4 * 16 + lane / 4, tiles = p.padded_rows / TILE_ROWS;
    const uint32_t w_tile = base + group * layout::TILE;
    auto load = [&](int i) {
        ring.wait_empty(i);
        barrier_expect(ring.full(i), layout::TILE + layout::COLUMNS_BYTES);
        copy_tile<PANELS>(base + layout::RING + i % STAGES * layout::TILE, &map_x, piece, i * TILE_ROWS, ring.full(i));
        copy_bytes(base + layout::COLUMNS + i % STAGES * layout::COLUMNS_BYTES, p.columns + i * TILE_ROWS,
                   layout::COLUMNS_BYTES, ring.full(i));
    };
    ring.init(4 * GROUPS);
    int loaded = min(STAGES, tiles);
    if (threadIdx.x == 0) {
        barrier_expect(ring.own(), GROUPS * layout::TILE);
        for (int i = 0; i < GROUPS; i++)
            copy_tile<PANELS>(base + i * layout::TILE, &map_w, piece, block0 + 64 * i, ring.own());
        for (int i = 0; i < loaded; i++)
            load(i);
    }
    __syncwarp();
    if (class0 >= p.vocab) {
        for (int i = 0; i < tiles; i++) {
            ring.wait_full(i);
            ring.leave(i);
        }
        return;
    }
    float s[32], dw[PANELS][32];
    uint32_t a[4][4];
    clear(dw);
    auto start_scores = [&](int tile) {
        ring.wait_full(tile);
        wgmma_fence();
        tile_product<PANELS>(s, w_tile, base + layout::RING + tile % STAGES * layout::TILE);
    };
    auto probabilities = [&](int tile) {
        const int4 *columns = (const int4 *)(memory + layout::COLUMNS + tile % STAGES * layout::COLUMNS_BYTES);
        bool own = false;
#pragma unroll
        for (int n = 0; n < 8; n++) {
            const int4 c = columns[4 * n + lane % 4]; /* two positions */
            own = own || (unsigned)(c.y - class0) < 64 || (unsigned)(c.w - class0) < 64;
#pragma unroll
            for (int j = 0; j < 4; j++)
                s[4 * n + j] = exp2_fast(fmaf(s[4 * n + j], LOG2E, -__int_as_float(j % 2 ? c.z : c.x)));
        }
        if (!own)
            return;
#pragma unroll
        for (int n = 0; n < 8; n++) {
            const int4 c = columns[4 * n + lane % 4];
#pragma unroll
            for (int j = 0; j < 4; j++)
                s[4 * n + j] -= (j % 2 ? c.w : c.y) == row + j / 2 * 8 ? 1.0f : 0.0f;
        }
    };
    barrier_wait(ring.own(), 0);
    start_scores(0);
    wgmma_wait<0>();
    probabilities(0);
    pack_scores(a, s);
    for (int i = 0; i + 1 < tiles; i++) {
        if (threadIdx.x == 0)
            for (; loaded < min(tiles, i - 1 + STAGES); loaded++)
                load(loaded);
        __syncwarp();
        start_scores(i + 1);
        tile_add<PANELS>(dw, a, base + layout::RING + i % STAGES * layout::TILE);
        wgmma_wait<1>();
        probabilities(i + 1);
        wgmma_wait<0>();
        ring.leave(i);
        pack_scores(a, s);
    }
    wgmma_fence();
    tile_add<PANELS>(dw, a, base + layout::RING + (tiles - 1) % STAGES * layout::TILE);
    wgmma_wait<0>();
    const float scale = (float)p.values->loss_scale;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        if (row + 8 * h >= p.vocab)
            continue;
        float *to = p.d_w + (int64_t)(row + 8 * h) * p.dim;
#pragma unroll
        for (int panel = 0; panel < PANELS; panel++)
#pragma unroll
            for (int n = 0; n < 8; n++) {
                const int column = 64 * panel + 8 * n + 2 * (lane % 4);
                if (column >= p.dim)
                    continue;
                float2 *at = (float2 *)(to + column), before = p.d_w_overwrite ? make_float2(0.0f, 0.0f) : *at;
                *at = make_float2(before.x + dw[panel][4 * n + 2 * h] * scale,
                                  before.y + dw[panel][4 * n + 2 * h + 1] * scale);
            }
    }
#else
    __trap(); /* attention_hopper_available() keeps other code from being run */
#endif
}

/* As many splits as fill the last wave of blocks best; few, where that makes no difference. */
static int choose_splits(int blocks, int tiles, int multiprocessors, int most)
{
    int best = 1;
    double least = INFINITY;
    for (int splits = 1; splits <= most && splits <= tiles; splits++) {
        const double waves = divide_up(blocks * splits, multiprocessors);
        const double time = waves * (divide_up(tiles, splits) + 4); /* a block's start and end are some tiles' time */
        if (time < least * 0.98) {
            best = splits;
            least = time;
        }
    }
    return best;
}

template <int PANELS>
static void start(const head_problem &p, bool gradient, const CUtensorMap &x, const CUtensorMap &w, cudaStream_t stream)
{
    enum { GROUPS = 3, STAGES = PANELS == 1 ? 8 : 5 };
    const size_t shared = head_layout<PANELS, GROUPS, STAGES>::BYTES;
    const int64_t blocks = (int64_t)divide_up(p.rows, 64 * GROUPS) * p.splits, joins = divide_up(p.padded_rows, 8);
    if (!gradient) {
        launch(head_rows_kernel<PANELS, GROUPS, STAGES, false>, blocks, GROUPS * 128, shared, stream, p, x, w);
        launch(head_join_kernel<false>, joins, 256, 0, stream, p);
        return;
    }
    launch(head_rows_kernel<PANELS, GROUPS, STAGES, true>, blocks, GROUPS * 128, shared, stream, p, x, w);
    launch(head_join_kernel<true>, joins, 256, 0, stream, p);
    launch(head_classes_kernel<PANELS, GROUPS, STAGES>, divide_up(p.vocab, 64 * GROUPS), GROUPS * 128, shared, stream,
           p, x, w);
}

static size_t pad_256(size_t bytes)
{
    return (bytes + 255) & ~(size_t)255;
}

/* Of the logits' memory. */
static size_t bytes_of(const head_problem &p, int splits)
{
    return pad_256((size_t)splits * (size_t)p.rows * (size_t)p.dim * sizeof *p.gathered) +
           pad_256((size_t)splits * (size_t)p.rows * sizeof *p.sums) + (size_t)p.padded_rows * sizeof *p.columns;
}

static bool shape_fits(struct backend *b, const struct classifier_args *a)
{
    return cuda_is_bf16(b) && a->dim <= 128 && a->dim % 8 == 0 && a->rows <= 1 << 24 &&
           a->vocab >= 96 * (int64_t)cuda_multiprocessors(b) && a->vocab <= 1 << 24 &&
           vectors_fit(0, {a->x, a->w, a->logits, a->dx, a->d_w});
}

bool cuda_classifier_hopper(struct backend *b, const struct classifier_args *a, double *losses)
{
    attention_problem shape = {};
    shape.heads = shape.batch = 1;
    shape.head_dim = (int)a->dim;
    if (!shape_fits(b, a) || !attention_hopper_available(shape))
        return false;
    head_problem p = {};
    p.rows = (int)a->rows;
    p.padded_rows = divide_up(p.rows, TILE_ROWS) * TILE_ROWS;
    p.vocab = (int)a->vocab;
    p.dim = (int)a->dim;
    int most = MOST_SPLITS;
    const size_t room = (size_t)a->chunk_rows * (size_t)a->vocab * sizeof(bf16);
    while (most > 0 && bytes_of(p, most) > room)
        most--;
    if (most == 0)
        return false;
    const int tiles = divide_up(p.vocab, TILE_ROWS), blocks = divide_up(p.rows, 64 * 3);
    p.split_tiles = divide_up(tiles, choose_splits(blocks, tiles, cuda_multiprocessors(b), most));
    p.splits = divide_up(tiles, p.split_tiles); /* none is empty */
    p.x = (const bf16 *)a->x;
    p.w = (const bf16 *)a->w;
    p.targets = a->targets;
    p.gathered = (float *)a->logits;
    p.sums = (float2 *)((char *)a->logits + pad_256((size_t)p.splits * (size_t)p.rows * (size_t)p.dim * sizeof(float)));
    p.columns = (struct head_column *)((char *)p.sums + pad_256((size_t)p.splits * (size_t)p.rows * sizeof *p.sums));
    p.losses = losses;
    p.dx = (bf16 *)a->dx;
    p.d_w = (float *)a->d_w;
    p.d_w_overwrite = a->d_w_overwrite;
    p.values = cuda_values(b);
    CUtensorMap x, w;
    if (!hopper_map(&x, shape, {(void *)a->x, a->rows * a->dim, a->dim}, p.rows) ||
        !hopper_map(&w, shape, {(void *)a->w, a->vocab * a->dim, a->dim}, p.vocab))
        return false;
    if (a->dim <= 64)
        start<1>(p, a->dx != NULL, x, w, cuda_stream(b));
    else
        start<2>(p, a->dx != NULL, x, w, cuda_stream(b));
    cuda_check(b, "classifier");
    return true;
}
