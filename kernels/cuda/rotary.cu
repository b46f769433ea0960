/* rotary.cu: the table of angles, and turning heads in place by it.
 *
 * A position times a frequency is rounded to float only after its cosine and sine are taken in double precision: float
 * angles would lose digits as positions grow.
 */
#include "kernels/cuda/attention_common.cuh"

static __global__ void table_kernel(float *table, int seq, int pairs, double base, int64_t position0)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= seq * pairs)
        return;
    int t = i / pairs, pair = i - t * pairs;
    double sine, cosine, angle = (double)(t + position0) * pow(base, -(double)pair / (double)pairs);
    sincos(angle, &sine, &cosine);
    table[(int64_t)t * 2 * pairs + pair] = (float)cosine;
    table[(int64_t)t * 2 * pairs + pairs + pair] = (float)sine;
}

/* cos | sin of position t + position0 in row t. */
void rotary_table(float *table, int64_t seq, int64_t rotary_dims, double base, int64_t position0, cudaStream_t stream)
{
    int pairs = (int)(rotary_dims / 2);
    launch(table_kernel, (seq * pairs + 127) / 128, 128, 0, stream, table, (int)seq, pairs, base, position0);
}

__device__ __forceinline__ float to_float(float x)
{
    return x;
}
__device__ __forceinline__ float to_float(bf16 x)
{
    return __bfloat162float(x);
}
__device__ __forceinline__ void store(float *to, float x)
{
    *to = x;
}
__device__ __forceinline__ void store(bf16 *to, float x)
{
    *to = __float2bfloat16_rn(x);
}

struct rotary_problem {
    int64_t pieces; /* batch * seq * heads * (pieces a head) */
    int seq, heads, head_dim, pairs;
    float sign;
    const float *table;
    struct attention_view x;
};

template <class T> static __global__ void turn_kernel(const rotary_problem p)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.pieces)
        return;
    int pair = (int)(i % p.pairs), head = (int)(i / p.pairs % p.heads);
    int64_t position = i / p.pairs / p.heads;
    int sequence = (int)(position / p.seq), t = (int)(position - (int64_t)sequence * p.seq);
    const float *angles = p.table + (int64_t)t * 2 * p.pairs + pair;
    T *low = view_at<T>(p.x, sequence, t, head * p.head_dim + pair), *high = low + p.pairs;
    float c = angles[0], s = p.sign * angles[p.pairs], x = to_float(*low), y = to_float(*high);
    store(low, x * c - y * s);
    store(high, y * c + x * s);
}

/* 8 pairs a thread, for rows and halves of whole 16-byte pieces. */
static __global__ void turn_eight_kernel(const rotary_problem p)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.pieces)
        return;
    int eights = p.pairs / 8, pair = (int)(i % eights) * 8, head = (int)(i / eights % p.heads);
    int64_t position = i / eights / p.heads;
    int sequence = (int)(position / p.seq), t = (int)(position - (int64_t)sequence * p.seq);
    const float4 *angles = (const float4 *)(p.table + (int64_t)t * 2 * p.pairs + pair);
    bf16 *at = view_at<bf16>(p.x, sequence, t, head * p.head_dim + pair);
    uint4 *low = (uint4 *)at, *high = (uint4 *)(at + p.pairs), a = *low, b = *high;
    uint32_t x[4] = {a.x, a.y, a.z, a.w}, y[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float4 c4 = angles[h], s4 = angles[p.pairs / 4 + h];
        float c[4] = {c4.x, c4.y, c4.z, c4.w}, s[4] = {s4.x, s4.y, s4.z, s4.w};
#pragma unroll
        for (int j = 0; j < 2; j++) {
            uint32_t u = x[2 * h + j], w = y[2 * h + j];
            float s0 = p.sign * s[2 * j], s1 = p.sign * s[2 * j + 1], c0 = c[2 * j], c1 = c[2 * j + 1];
            x[2 * h + j] = pack_bf16(low_bf16(u) * c0 - low_bf16(w) * s0, high_bf16(u) * c1 - high_bf16(w) * s1);
            y[2 * h + j] = pack_bf16(low_bf16(w) * c0 + low_bf16(u) * s0, high_bf16(w) * c1 + high_bf16(u) * s1);
        }
    }
    *low = make_uint4(x[0], x[1], x[2], x[3]);
    *high = make_uint4(y[0], y[1], y[2], y[3]);
}

void rotary_apply(const struct rotary_args &a, bool f32, const float *table, cudaStream_t stream)
{
    rotary_problem p = {a.batch * a.seq * a.heads, (int)a.seq, (int)a.heads, (int)a.head_dim, (int)(a.rotary_dims / 2),
                        a.inverse ? -1.0f : 1.0f,  table,      a.x};
    bool eights = !f32 && p.pairs % 8 == 0 && a.head_dim % 8 == 0 && ((uintptr_t)a.x.data & 15) == 0 &&
                  a.x.row % 8 == 0 && a.x.batch % 8 == 0;
    p.pieces *= eights ? p.pairs / 8 : p.pairs;
    int64_t blocks = (p.pieces + 255) / 256;
    if (eights)
        launch(turn_eight_kernel, blocks, 256, 0, stream, p);
    else if (f32)
        launch(turn_kernel<float>, blocks, 256, 0, stream, p);
    else
        launch(turn_kernel<bf16>, blocks, 256, 0, stream, p);
}
