/* gemm_simt.cu: the product on CUDA cores, for shapes that cuBLASLt has nothing for. Right before fast.
 *
 * A block computes a tile of 64 x 64, 4 x 4 a thread, over k in slices of 16 through shared memory. Sums go along k in
 * order, a slice at a time, so that rounding errors of long sums stay small.
 */
#include "kernels/cuda/gemm_plan.cuh"

#include <cuda_bf16.h>

enum { TILE = 64, SLICE = 16, THREADS = 256, EACH = 4 };

static __device__ float widen(float x)
{
    return x;
}

static __device__ float widen(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}

static __device__ void store(float *p, float x)
{
    *p = x;
}

static __device__ void store(__nv_bfloat16 *p, float x)
{
    *p = __float2bfloat16(x);
}

/* Where element (i, l) of op(A) and (l, j) of op(B) lie. */
struct strides {
    int64_t a_i, a_l, b_l, b_j;
};

template <typename In, typename Out>
static __global__ __launch_bounds__(THREADS) void product(struct gemm_key key, struct strides st, const In *a,
                                                          const In *b, Out *c, const In *bias)
{
    __shared__ float tile_a[SLICE][TILE + 1], tile_b[SLICE][TILE + 1];
    int64_t across = (key.n + TILE - 1) / TILE;
    int64_t i0 = blockIdx.x / across * TILE, j0 = blockIdx.x % across * TILE;
    int row = threadIdx.x / (TILE / EACH), column = threadIdx.x % (TILE / EACH);
    float total[EACH][EACH] = {};
    for (int64_t l0 = 0; l0 < key.k; l0 += SLICE) {
        for (int e = threadIdx.x; e < TILE * SLICE; e += THREADS) {
            /* The index that runs fastest over threads is the one that is contiguous in memory. */
            int la = st.a_l == 1 ? e % SLICE : e / TILE, ia = st.a_l == 1 ? e / SLICE : e % TILE;
            int lb = st.b_l == 1 ? e % SLICE : e / TILE, jb = st.b_l == 1 ? e / SLICE : e % TILE;
            tile_a[la][ia] =
                i0 + ia < key.m && l0 + la < key.k ? widen(a[(i0 + ia) * st.a_i + (l0 + la) * st.a_l]) : 0.0f;
            tile_b[lb][jb] =
                j0 + jb < key.n && l0 + lb < key.k ? widen(b[(l0 + lb) * st.b_l + (j0 + jb) * st.b_j]) : 0.0f;
        }
        __syncthreads();
        float part[EACH][EACH] = {};
#pragma unroll
        for (int l = 0; l < SLICE; l++) {
            float left[EACH], right[EACH];
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                left[i] = tile_a[l][row + i * (TILE / EACH)];
                right[i] = tile_b[l][column + i * (TILE / EACH)];
            }
#pragma unroll
            for (int i = 0; i < EACH; i++)
#pragma unroll
                for (int j = 0; j < EACH; j++)
                    part[i][j] = fmaf(left[i], right[j], part[i][j]);
        }
        __syncthreads();
#pragma unroll
        for (int i = 0; i < EACH; i++)
#pragma unroll
            for (int j = 0; j < EACH; j++)
                total[i][j] += part[i][j];
    }
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            int64_t at_i = i0 + row + i * (TILE / EACH), at_j = j0 + column + j * (TILE / EACH);
            if (at_i >= key.m || at_j >= key.n)
                continue;
            Out *out = c + at_i * key.ldc + at_j;
            float x = total[i][j];
            if (bias)
                x += widen(bias[at_j]);
            if (key.accumulate)
                x += widen(*out);
            store(out, x);
        }
}

template <typename In, typename Out>
static void launch(const struct gemm_key *key, const void *a, const void *b, void *c, const void *bias,
                   cudaStream_t stream)
{
    struct strides st;
    st.a_i = key->ta ? 1 : key->lda;
    st.a_l = key->ta ? key->lda : 1;
    st.b_l = key->tb ? 1 : key->ldb;
    st.b_j = key->tb ? key->ldb : 1;
    int64_t blocks = (key->m + TILE - 1) / TILE * ((key->n + TILE - 1) / TILE);
    product<In, Out>
        <<<(unsigned)blocks, THREADS, 0, stream>>>(*key, st, (const In *)a, (const In *)b, (Out *)c, (const In *)bias);
}

void gemm_simt(const struct gemm_key *key, const void *a, const void *b, void *c, const void *bias, cudaStream_t stream)
{
    if (!key->bf16)
        launch<float, float>(key, a, b, c, bias, stream);
    else if (key->c_float)
        launch<__nv_bfloat16, float>(key, a, b, c, bias, stream);
    else
        launch<__nv_bfloat16, __nv_bfloat16>(key, a, b, c, bias, stream);
}
