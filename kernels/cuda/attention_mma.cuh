/* attention_mma.cuh: tiles in shared memory and one warp's products with them.
 *
 * A tile is [rows][D] bf16 with 8 elements of padding a row: 8 rows at one column then lie in 8 different groups of
 * banks, for every D here, which is what ldmatrix wants. Columns from head_dim to D are zero, rows beyond the sequence
 * too.
 */
#ifndef BAKA_KERNELS_CUDA_ATTENTION_MMA_CUH
#define BAKA_KERNELS_CUDA_ATTENTION_MMA_CUH

#include "kernels/cuda/attention_common.cuh"

template <int D> __host__ __device__ constexpr int tile_bytes(int rows)
{
    return rows * (D + 8) * 2;
}

/* Starts the copy of ROWS rows, those from `valid` on as zeros. */
template <int D, int ROWS, int THREADS>
__device__ __forceinline__ void load_tile(uint32_t to, const bf16 *from, int64_t stride, int valid, int head_dim)
{
    constexpr int CHUNKS = D / 8;
#pragma unroll
    for (int i = 0; i < ROWS * CHUNKS; i += THREADS) {
        int piece = i + (int)threadIdx.x, row = piece / CHUNKS, chunk = piece % CHUNKS;
        if (ROWS * CHUNKS % THREADS && piece >= ROWS * CHUNKS)
            break;
        bool in = row < valid && chunk * 8 < head_dim;
        cp_async_16(to + (uint32_t)(row * (D + 8) + chunk * 8) * 2, in ? from + row * stride + chunk * 8 : from, in);
    }
}

/* 16 x 16 at (row, column) as A. */
template <int D> __device__ __forceinline__ void load_a(uint32_t (&a)[4], uint32_t tile, int row, int column)
{
    int lane = (int)threadIdx.x % 32;
    ldmatrix(a, tile + (uint32_t)((row + lane % 16) * (D + 8) + column + lane / 16 * 8) * 2);
}

/* Rows row..row+15 of the tile as two columns-of-8 of B, that is B = tile^T; b[0], b[1] for the first 8 rows. */
template <int D> __device__ __forceinline__ void load_b_rows(uint32_t (&b)[4], uint32_t tile, int row, int column)
{
    int lane = (int)threadIdx.x % 32;
    ldmatrix(b, tile + (uint32_t)((row + lane / 16 * 8 + lane % 8) * (D + 8) + column + lane / 8 % 2 * 8) * 2);
}

/* 16 x 16 at (row, column) as two B of 8 columns each; b[0], b[1] for the first 8 columns. */
template <int D> __device__ __forceinline__ void load_b(uint32_t (&b)[4], uint32_t tile, int row, int column)
{
    int lane = (int)threadIdx.x % 32;
    ldmatrix_trans(b, tile + (uint32_t)((row + lane % 16) * (D + 8) + column + lane / 16 * 8) * 2);
}

template <int MT, int NT> __device__ __forceinline__ void clear(float (&c)[MT][NT][4])
{
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                c[m][n][i] = 0.0f;
}

/* c = A B^T: rows row.. of tile a with all 8 * NT rows of tile b, over D. */
template <int D, int MT, int NT>
__device__ __forceinline__ void product_rows(float (&c)[MT][NT][4], uint32_t tile_a, int row, uint32_t tile_b)
{
    clear(c);
#pragma unroll
    for (int k = 0; k < D; k += 16) {
        uint32_t a[MT][4];
#pragma unroll
        for (int m = 0; m < MT; m++)
            load_a<D>(a[m], tile_a, row + 16 * m, k);
#pragma unroll
        for (int n = 0; n < NT; n += 2) {
            uint32_t b[4];
            load_b_rows<D>(b, tile_b, 8 * n, k);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                mma(c[m][n], a[m], b[0], b[1]);
                mma(c[m][n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

/* c += A B: A the fragments of 8 * NT columns (two C tiles packed are one), B a tile of as many rows and D columns. */
template <int D, int MT, int NT>
__device__ __forceinline__ void product_add(float (&c)[MT][D / 8][4], const uint32_t (&a)[MT][NT / 2][4], uint32_t tile)
{
#pragma unroll
    for (int k = 0; k < NT / 2; k++)
#pragma unroll
        for (int n = 0; n < D / 8; n += 2) {
            uint32_t b[4];
            load_b<D>(b, tile, 16 * k, 8 * n);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                mma(c[m][n], a[m][k], b[0], b[1]);
                mma(c[m][n + 1], a[m][k], b[2], b[3]);
            }
        }
}

template <int MT, int NT>
__device__ __forceinline__ void pack_a(uint32_t (&a)[MT][NT / 2][4], const float (&c)[MT][NT][4])
{
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int k = 0; k < NT / 2; k++) {
            a[m][k][0] = pack_bf16(c[m][2 * k][0], c[m][2 * k][1]);
            a[m][k][1] = pack_bf16(c[m][2 * k][2], c[m][2 * k][3]);
            a[m][k][2] = pack_bf16(c[m][2 * k + 1][0], c[m][2 * k + 1][1]);
            a[m][k][3] = pack_bf16(c[m][2 * k + 1][2], c[m][2 * k + 1][3]);
        }
}

/* One warp's rows row.. of a result: factor * c through its own rows of `tile` (bytes at `memory`), then to global
 * memory. The rows of the tile must have been read by this warp alone. */
template <int D, int MT>
__device__ __forceinline__ void store_result(const float (&c)[MT][D / 8][4], const float (&factor)[MT][2],
                                             unsigned char *memory, int row, bf16 *to, int64_t stride, int valid,
                                             int head_dim, const float *angles, int rotary_dims)
{
    int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    __syncwarp();
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                uint32_t pair = pack_bf16(c[m][n][2 * h] * factor[m][h], c[m][n][2 * h + 1] * factor[m][h]);
                *(uint32_t *)(memory + ((row + 16 * m + g + 8 * h) * (D + 8) + 8 * n + 2 * t) * 2) = pair;
            }
    __syncwarp();
    store_rows<16 * MT, D / 8>(
        [&](int r, int chunk) { return *(const uint4 *)(memory + ((row + r) * (D + 8) + chunk * 8) * 2); }, to, stride,
        valid, head_dim, angles, rotary_dims, [](const uint4 &) {});
}

#endif
