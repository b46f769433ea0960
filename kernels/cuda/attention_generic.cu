/* attention_generic.cu: attention in fp32 arithmetic for any type, head_dim and stride.
 *
 * A block of 256 threads owns 64 rows (queries, or keys for dK and dV) and 64 columns of the head; heads wider than
 * that are computed by several blocks, each with the whole scores. It walks over tiles of 64 rows of the other side; a
 * thread holds 4 x 4 of each product, rows 4 * (thread / 16) + i, columns thread % 16 + 16 * j.
 */
#include "kernels/cuda/attention_common.cuh"

namespace
{

enum { TILE = 64, STEP = 16, PITCH = TILE + 1 };

__device__ __forceinline__ float to_float(float x)
{
    return x;
}
__device__ __forceinline__ float to_float(bf16 x)
{
    return __bfloat162float(x);
}
__device__ __forceinline__ void from_float(float *to, float x)
{
    *to = x;
}
__device__ __forceinline__ void from_float(bf16 *to, float x)
{
    *to = __float2bfloat16_rn(x);
}

struct tiles {
    float a[STEP][PITCH], b[STEP][PITCH]; /* steps of two operands, transposed */
    float scores[TILE][PITCH], rows[TILE][PITCH];
};

__device__ __forceinline__ void clear(float (&c)[4][4])
{
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            c[i][j] = 0.0f;
}

/* c = A B^T of two tiles of rows, the invalid ones zero. */
template <class T>
__device__ void product_rows(float (&c)[4][4], tiles &s, const T *a, int64_t stride_a, int valid_a, const T *b,
                             int64_t stride_b, int valid_b, int dim)
{
    int x = (int)threadIdx.x % 16, y = (int)threadIdx.x / 16;
    clear(c);
    for (int d0 = 0; d0 < dim; d0 += STEP) {
        __syncthreads();
        for (int i = (int)threadIdx.x; i < TILE * STEP; i += 256) {
            int row = i / STEP, d = i % STEP;
            bool in = d0 + d < dim;
            s.a[d][row] = in && row < valid_a ? to_float(a[row * stride_a + d0 + d]) : 0.0f;
            s.b[d][row] = in && row < valid_b ? to_float(b[row * stride_b + d0 + d]) : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int d = 0; d < STEP; d++) {
            float u[4], w[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                u[i] = s.a[d][4 * y + i];
                w[i] = s.b[d][x + 16 * i];
            }
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++)
                    c[i][j] = fmaf(u[i], w[j], c[i][j]);
        }
    }
}

/* c += P B with P in the threads' registers and B 64 columns of a tile of rows. */
template <class T>
__device__ void product_add(float (&c)[4][4], tiles &s, const float (&p)[4][4], const T *b, int64_t stride, int valid,
                            int columns)
{
    int x = (int)threadIdx.x % 16, y = (int)threadIdx.x / 16;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            s.scores[4 * y + i][x + 16 * j] = p[i][j];
    for (int i = (int)threadIdx.x; i < TILE * TILE; i += 256) {
        int row = i / TILE, column = i % TILE;
        s.rows[row][column] = row < valid && column < columns ? to_float(b[row * stride + column]) : 0.0f;
    }
    __syncthreads();
#pragma unroll 4
    for (int k = 0; k < TILE; k++) {
        float u[4], w[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            u[i] = s.scores[4 * y + i][k];
            w[i] = s.rows[k][x + 16 * i];
        }
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                c[i][j] = fmaf(u[i], w[j], c[i][j]);
    }
}

template <class T>
__device__ void store_result(const float (&c)[4][4], const float (&factor)[4], T *to, int64_t stride, int valid,
                             int columns)
{
    int x = (int)threadIdx.x % 16, y = (int)threadIdx.x / 16;
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (4 * y + i < valid && x + 16 * j < columns)
                from_float(to + (4 * y + i) * stride + x + 16 * j, c[i][j] * factor[i]);
}

/* Over the 16 threads that share rows. */
__device__ __forceinline__ float row_max(float v)
{
    for (int mask = 1; mask < 16; mask *= 2)
        v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, mask));
    return v;
}
__device__ __forceinline__ float row_sum(float v)
{
    for (int mask = 1; mask < 16; mask *= 2)
        v += __shfl_xor_sync(0xffffffffu, v, mask);
    return v;
}

struct owner {
    int sequence, column, head, index, row0, part;
};

__device__ __forceinline__ owner take_owner(const attention_problem &p, int blocks)
{
    int parts = divide_up(p.head_dim, TILE), id = (int)blockIdx.x;
    owner o;
    o.part = id % parts * TILE;
    o.row0 = id / parts % blocks * TILE;
    o.index = id / parts / blocks;
    o.sequence = o.index / p.heads;
    o.head = o.index - o.sequence * p.heads;
    o.column = o.head * p.head_dim;
    return o;
}

template <class T> __global__ void __launch_bounds__(256) forward_kernel(const attention_problem p)
{
    __shared__ tiles s;
    int x = (int)threadIdx.x % 16, y = (int)threadIdx.x / 16;
    owner o = take_owner(p, divide_up(p.seq_q, TILE));
    int q0 = o.row0, keys = min(p.seq_k, q0 + TILE + p.offset), first[4];
    const T *q = view_at<const T>(p.q, o.sequence, q0, o.column);
    float out[4][4], top[4], sum[4];
    clear(out);
    for (int i = 0; i < 4; i++) {
        first[i] = first_of(p, o.sequence, q0 + 4 * y + i);
        top[i] = -INFINITY;
        sum[i] = 0.0f;
    }
    int low = min(first_bounds(p, o.sequence, q0, TILE).x, keys - 1);
    for (int k0 = low / TILE * TILE; k0 < keys; k0 += TILE) {
        const T *v = view_at<const T>(p.v, o.sequence, k0, o.column + o.part);
        float c[4][4];
        product_rows(c, s, q, p.q.row, p.seq_q - q0, view_at<const T>(p.k, o.sequence, k0, o.column), p.k.row,
                     p.seq_k - k0, p.head_dim);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float high = top[i], part = 0.0f;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int key = k0 + x + 16 * j, query = q0 + 4 * y + i;
                bool seen = key >= first[i] && key <= query + p.offset && key < p.seq_k;
                c[i][j] = seen ? c[i][j] * p.scale : -INFINITY;
                high = fmaxf(high, c[i][j]);
            }
            high = row_max(high);
            float base = high == -INFINITY ? 0.0f : high, keep = expf(top[i] - base);
            top[i] = high;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                c[i][j] = expf(c[i][j] - base);
                part += c[i][j];
                out[i][j] *= keep;
            }
            sum[i] = sum[i] * keep + row_sum(part);
        }
        product_add(out, s, c, v, p.v.row, p.seq_k - k0, p.head_dim - o.part);
    }
    float inverse[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int query = q0 + 4 * y + i;
        inverse[i] = 1.0f / sum[i];
        if (o.part == 0 && x == 0 && query < p.seq_q)
            p.lse[(int64_t)o.index * p.seq_q + query] = top[i] + logf(sum[i]);
    }
    store_result(out, inverse, view_at<T>(p.out, o.sequence, q0, o.column + o.part), p.out.row, p.seq_q - q0,
                 p.head_dim - o.part);
}

template <class T> __global__ void __launch_bounds__(256) backward_queries_kernel(const attention_problem p)
{
    __shared__ tiles s;
    int x = (int)threadIdx.x % 16, y = (int)threadIdx.x / 16;
    owner o = take_owner(p, divide_up(p.seq_q, TILE));
    int q0 = o.row0, keys = min(p.seq_k, q0 + TILE + p.offset), first[4];
    const T *q = view_at<const T>(p.q, o.sequence, q0, o.column);
    const T *d_out = view_at<const T>(p.d_out, o.sequence, q0, o.column);
    float dq[4][4], lse[4], delta[4];
    clear(dq);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int query = min(q0 + 4 * y + i, p.seq_q - 1);
        first[i] = first_of(p, o.sequence, query);
        lse[i] = p.lse[(int64_t)o.index * p.seq_q + query];
        delta[i] = p.stats[(int64_t)o.index * p.padded_q + query].y;
    }
    int low = min(first_bounds(p, o.sequence, q0, TILE).x, keys - 1);
    for (int k0 = low / TILE * TILE; k0 < keys; k0 += TILE) {
        const T *k = view_at<const T>(p.k, o.sequence, k0, o.column);
        const T *v = view_at<const T>(p.v, o.sequence, k0, o.column);
        float c[4][4], dp[4][4];
        product_rows(c, s, q, p.q.row, p.seq_q - q0, k, p.k.row, p.seq_k - k0, p.head_dim);
        product_rows(dp, s, d_out, p.d_out.row, p.seq_q - q0, v, p.v.row, p.seq_k - k0, p.head_dim);
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int key = k0 + x + 16 * j, query = q0 + 4 * y + i;
                bool seen = key >= first[i] && key <= query + p.offset && key < p.seq_k && query < p.seq_q;
                c[i][j] = seen ? expf(c[i][j] * p.scale - lse[i]) * (dp[i][j] - delta[i]) : 0.0f;
            }
        product_add(dq, s, c, k + o.part, p.k.row, p.seq_k - k0, p.head_dim - o.part);
    }
    float factor[4] = {p.scale, p.scale, p.scale, p.scale};
    store_result(dq, factor, view_at<T>(p.dq, o.sequence, q0, o.column + o.part), p.dq.row, p.seq_q - q0,
                 p.head_dim - o.part);
}

template <class T> __global__ void __launch_bounds__(256) backward_keys_kernel(const attention_problem p)
{
    __shared__ tiles s;
    int x = (int)threadIdx.x % 16, y = (int)threadIdx.x / 16;
    owner o = take_owner(p, divide_up(p.seq_k - p.key0, TILE));
    int k0 = p.key0 + o.row0;
    const T *k = view_at<const T>(p.k, o.sequence, k0, o.column);
    const T *v = view_at<const T>(p.v, o.sequence, k0, o.column);
    float dk[4][4], dv[4][4];
    clear(dk);
    clear(dv);
    for (int q0 = max(k0 - p.offset, 0) / TILE * TILE; q0 < p.seq_q; q0 += TILE) {
        if (first_bounds(p, o.sequence, q0, TILE).x >= k0 + TILE)
            continue;
        const T *q = view_at<const T>(p.q, o.sequence, q0, o.column);
        const T *d_out = view_at<const T>(p.d_out, o.sequence, q0, o.column);
        float c[4][4], dp[4][4];
        product_rows(c, s, k, p.k.row, p.seq_k - k0, q, p.q.row, p.seq_q - q0, p.head_dim);
        product_rows(dp, s, v, p.v.row, p.seq_k - k0, d_out, p.d_out.row, p.seq_q - q0, p.head_dim);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int query = q0 + x + 16 * j, at = min(query, p.seq_q - 1), first = first_of(p, o.sequence, at);
            float lse = p.lse[(int64_t)o.index * p.seq_q + at];
            float delta = p.stats[(int64_t)o.index * p.padded_q + at].y;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int key = k0 + 4 * y + i;
                bool seen = key >= first && key <= query + p.offset && query < p.seq_q;
                c[i][j] = seen ? expf(c[i][j] * p.scale - lse) : 0.0f;
                dp[i][j] = c[i][j] * (dp[i][j] - delta);
            }
        }
        product_add(dv, s, c, d_out + o.part, p.d_out.row, p.seq_q - q0, p.head_dim - o.part);
        product_add(dk, s, dp, q + o.part, p.q.row, p.seq_q - q0, p.head_dim - o.part);
    }
    float factor_k[4] = {p.scale, p.scale, p.scale, p.scale}, factor_v[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    store_result(dk, factor_k, view_at<T>(p.dk, o.sequence, o.row0, o.column + o.part), p.dk.row, p.seq_k - k0,
                 p.head_dim - o.part);
    store_result(dv, factor_v, view_at<T>(p.dv, o.sequence, o.row0, o.column + o.part), p.dv.row, p.seq_k - k0,
                 p.head_dim - o.part);
}

template <class T> void start_backward(const attention_problem &p, cudaStream_t stream)
{
    int64_t pieces = (int64_t)p.batch * p.heads * divide_up(p.head_dim, TILE);
    launch(backward_keys_kernel<T>, divide_up(p.seq_k - p.key0, TILE) * pieces, 256, 0, stream, p);
    launch(backward_queries_kernel<T>, divide_up(p.seq_q, TILE) * pieces, 256, 0, stream, p);
}

} // namespace

void attention_generic_forward(const attention_problem &p, cudaStream_t stream)
{
    int64_t blocks = (int64_t)p.batch * p.heads * divide_up(p.head_dim, TILE) * divide_up(p.seq_q, TILE);
    if (p.f32)
        launch(forward_kernel<float>, blocks, 256, 0, stream, p);
    else
        launch(forward_kernel<bf16>, blocks, 256, 0, stream, p);
}

void attention_generic_backward(const attention_problem &p, cudaStream_t stream)
{
    if (p.f32)
        start_backward<float>(p, stream);
    else
        start_backward<bf16>(p, stream);
}
