/* vector.cuh: elements of float or bf16 storage as floats in registers, and sums in a fixed order.
 *
 * packed<T, N> is N elements as they lie in memory: N = VECTOR moves in accesses of 16 bytes (bf16 one, float two) and
 * needs pointers aligned to 16 bytes and row lengths that are multiples of VECTOR (vectors_fit); N = 1 takes anything.
 */
#ifndef BAKA_KERNELS_CUDA_VECTOR_CUH
#define BAKA_KERNELS_CUDA_VECTOR_CUH

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>
#include <initializer_list>

enum { VECTOR = 8, WARP = 32 };

static __device__ __forceinline__ float element_load(float x)
{
    return x;
}

static __device__ __forceinline__ float element_load(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}

static __device__ __forceinline__ void element_store(float *to, float x)
{
    *to = x;
}

static __device__ __forceinline__ void element_store(__nv_bfloat16 *to, float x)
{
    *to = __float2bfloat16_rn(x);
}

template <class T, int N> struct packed {
    uint4 q[N * sizeof(T) / 16];
};

template <class T> struct packed<T, 1> {
    T x;
};

template <class T, int N> static __device__ __forceinline__ void packed_load(packed<T, N> *v, const T *p)
{
    if constexpr (N == 1) {
        v->x = *p;
    } else {
#pragma unroll
        for (int i = 0; i < (int)(N * sizeof(T) / 16); i++)
            v->q[i] = reinterpret_cast<const uint4 *>(p)[i];
    }
}

template <class T, int N> static __device__ __forceinline__ void packed_store(T *p, const packed<T, N> &v)
{
    if constexpr (N == 1) {
        *p = v.x;
    } else {
#pragma unroll
        for (int i = 0; i < (int)(N * sizeof(T) / 16); i++)
            reinterpret_cast<uint4 *>(p)[i] = v.q[i];
    }
}

template <class T, int N> static __device__ __forceinline__ void packed_zero(packed<T, N> *v)
{
    if constexpr (N == 1) {
        v->x = T(0.0f);
    } else {
#pragma unroll
        for (int i = 0; i < (int)(N * sizeof(T) / 16); i++)
            v->q[i] = make_uint4(0, 0, 0, 0);
    }
}

/* bf16 is the upper half of a float; the lower address is the lower half of a word. */
static __device__ __forceinline__ void words_unpack(const uint4 &q, float *x, __nv_bfloat16)
{
    const uint32_t w[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        x[2 * i] = __uint_as_float(w[i] << 16);
        x[2 * i + 1] = __uint_as_float(w[i] & 0xffff0000u);
    }
}

static __device__ __forceinline__ void words_unpack(const uint4 &q, float *x, float)
{
    x[0] = __uint_as_float(q.x);
    x[1] = __uint_as_float(q.y);
    x[2] = __uint_as_float(q.z);
    x[3] = __uint_as_float(q.w);
}

static __device__ __forceinline__ uint32_t bf16_pair(float low, float high)
{
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return (uint32_t)__bfloat16_as_ushort(pair.x) | (uint32_t)__bfloat16_as_ushort(pair.y) << 16;
}

static __device__ __forceinline__ uint4 words_pack(const float *x, __nv_bfloat16)
{
    return make_uint4(bf16_pair(x[0], x[1]), bf16_pair(x[2], x[3]), bf16_pair(x[4], x[5]), bf16_pair(x[6], x[7]));
}

static __device__ __forceinline__ uint4 words_pack(const float *x, float)
{
    return make_uint4(__float_as_uint(x[0]), __float_as_uint(x[1]), __float_as_uint(x[2]), __float_as_uint(x[3]));
}

template <class T, int N> static __device__ __forceinline__ void unpack(const packed<T, N> &v, float (&x)[N])
{
    if constexpr (N == 1) {
        x[0] = element_load(v.x);
    } else {
#pragma unroll
        for (int i = 0; i < (int)(N * sizeof(T) / 16); i++)
            words_unpack(v.q[i], x + i * (16 / sizeof(T)), T());
    }
}

/* Loads or stores N elements at p. */
template <class T, int N> static __device__ __forceinline__ void elements_load(const T *p, float (&x)[N])
{
    packed<T, N> v;
    packed_load<T, N>(&v, p);
    unpack<T, N>(v, x);
}

template <class T, int N> static __device__ __forceinline__ void elements_store(T *p, const float (&x)[N])
{
    if constexpr (N == 1) {
        element_store(p, x[0]);
    } else {
#pragma unroll
        for (int i = 0; i < (int)(N * sizeof(T) / 16); i++)
            reinterpret_cast<uint4 *>(p)[i] = words_pack(x + i * (16 / sizeof(T)), T());
    }
}

/* Every lane gets the sum over the warp; all 32 lanes must call. The tree is symmetric, so all get equal bits. */
static __device__ __forceinline__ float warp_sum(float x)
{
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

static __device__ __forceinline__ double warp_sum(double x)
{
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

/* Every thread gets the sum over the block, warps in order. `slots` is shared memory for one value a warp; it may be
 * used again after the next barrier only. The block is a multiple of 32 threads. */
template <class V> static __device__ __forceinline__ V block_sum(V x, V *slots)
{
    x = warp_sum(x);
    if (threadIdx.x % WARP == 0)
        slots[threadIdx.x / WARP] = x;
    __syncthreads();
    V sum = 0;
    for (int w = 0; w < (int)(blockDim.x / WARP); w++)
        sum += slots[w];
    return sum;
}

/* Host: may rows of `n` elements at these pointers be moved VECTOR elements at a time? NULL pointers do not count. */
static inline bool vectors_fit(int64_t n, std::initializer_list<const void *> pointers)
{
    uintptr_t low_bits = 0;
    for (const void *p : pointers)
        low_bits |= (uintptr_t)p;
    return n % VECTOR == 0 && low_bits % 16 == 0;
}

static inline int64_t pieces_of(int64_t n, int64_t piece)
{
    return (n + piece - 1) / piece;
}

#endif
