/* activation_curve.cuh: value and derivative of the activations, N elements at a time.
 *
 * Arithmetic is fp32. FAST: exponentials, logarithms and quotients are the hardware's approximations (relative error
 * below 1e-5, bf16 rounds at 4e-3), else the accurate ones. The formulas are those of kernels/cpu/activation.c.
 */
#ifndef BAKA_KERNELS_CUDA_ACTIVATION_CURVE_CUH
#define BAKA_KERNELS_CUDA_ACTIVATION_CURVE_CUH

#include "kernels/backend.h"

/* struct activation as kernels need it. */
struct curve {
    enum activation_kind kind;
    float inverse_a, slope; /* 1/a, p/a */
    float power;            /* p - 1 */
    int whole_power;        /* p - 1 where p is a whole number up to 1024, else -1 */
    float most;             /* of u, with fast arithmetic: u^p is below 2^126 */
};

static struct curve curve_of(const struct activation *act)
{
    struct curve c = {};
    c.kind = act->kind;
    c.whole_power = -1;
    if (act->kind != ACT_ELEPHANT)
        return c;
    c.inverse_a = (float)(1 / act->a);
    c.slope = (float)(act->p / act->a);
    c.power = (float)(act->p - 1);
    c.most = (float)exp2(125 / act->p);
    if (act->p <= 1024 && act->p == (double)(int)act->p)
        c.whole_power = (int)act->p - 1;
    return c;
}

template <bool FAST> static __device__ __forceinline__ float reciprocal(float x)
{
    if (!FAST)
        return 1.0f / x;
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

template <bool FAST> static __device__ __forceinline__ float exponential(float x)
{
    return FAST ? __expf(x) : expf(x);
}

/* 1/(1+e^-x) and 1/(1+e^x). The divisor is within [1, 2], where the fast reciprocal is accurate. */
template <bool FAST> static __device__ __forceinline__ void logistic(float x, float *s, float *complement)
{
    const float e = exponential<FAST>(-fabsf(x)), big = reciprocal<FAST>(1.0f + e), small = e * big;
    *s = x < 0.0f ? small : big;
    *complement = x < 0.0f ? big : small;
}

/* Distribution and density of N(0,1), with the polynomial of kernels/cpu/vmath.h for 0.5 exp(x^2/2) erfc(|x|/sqrt 2):
 * accurate in the left tail too, and one exponential serves both. */
template <bool FAST> static __device__ __forceinline__ void normal(float x, float *cdf, float *density)
{
    const float y = fminf(fabsf(x), 15.0f), e = exponential<FAST>(-0.5f * y * y);
    const float t = reciprocal<FAST>(1.0f + 0.3f * y), s = t - 0.5f;
    float p = -0.020628649346117967f;
    p = p * s + 0.019635813905846886f;
    p = p * s + 0.03591642740895948f;
    p = p * s + -0.036460854853399706f;
    p = p * s + -0.07755158280928408f;
    p = p * s + 0.02905652425768693f;
    p = p * s + 0.22208268418883334f;
    p = p * s + 0.34619884040510596f;
    p = p * s + 0.3291589709234389f;
    p = p * s + 0.22197061307812385f;
    const float tail = p * t * e;
    *cdf = x < 0.0f ? tail : 1.0f - tail;
    *density = e * 0.39894228040143267794f;
}

/* r = t^(p-1) for t >= 0 that does not overflow. The branches are the same for all threads. */
template <bool FAST, int N>
static __device__ __forceinline__ void power(const curve &c, const float (&t)[N], float (&r)[N])
{
    if (c.whole_power == 7) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            const float t2 = t[i] * t[i];
            r[i] = t2 * t2 * (t2 * t[i]);
        }
    } else if (c.whole_power == 3) {
#pragma unroll
        for (int i = 0; i < N; i++)
            r[i] = t[i] * t[i] * t[i];
    } else if (c.whole_power >= 0) {
        float base[N];
#pragma unroll
        for (int i = 0; i < N; i++) {
            base[i] = t[i];
            r[i] = 1.0f;
        }
        for (int e = c.whole_power; e > 0; e >>= 1) {
#pragma unroll
            for (int i = 0; i < N; i++) {
                r[i] = e & 1 ? r[i] * base[i] : r[i];
                base[i] *= base[i];
            }
        }
    } else { /* p is above 1 here, so that t = 0 gives exp2(-inf) = 0 */
#pragma unroll
        for (int i = 0; i < N; i++)
            r[i] = exp2f(c.power * (FAST ? __log2f(t[i]) : log2f(t[i])));
    }
}

static __device__ __forceinline__ float least_or_nan(float x, float y)
{
    float z;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
    return z;
}

/* E = 1/(1 + u^p), |E'| = (p/a) u^(p-1) E^2. Beyond `most` E is below 2^-125, which bf16 stores next to nothing of: so
 * u stops there, and u^(p-1) E, taken first, is never above 1/u. */
template <int N>
static __device__ __forceinline__ void elephant_fast(const curve &c, const float (&x)[N], float (&f)[N], float (&d)[N])
{
    float u[N], r[N];
#pragma unroll
    for (int i = 0; i < N; i++)
        u[i] = least_or_nan(fabsf(x[i]) * c.inverse_a, c.most);
    power<true, N>(c, u, r);
#pragma unroll
    for (int i = 0; i < N; i++) {
        const float sign = x[i] > 0.0f ? -c.slope : x[i] < 0.0f ? c.slope : 0.0f;
        f[i] = reciprocal<true>(1.0f + r[i] * u[i]);
        d[i] = sign * ((r[i] * f[i]) * f[i]);
    }
}

/* With t = min(u, 1/u) and r = t^(p-1) nothing overflows: E = (u > 1 ? t^p : 1)/(1 + t^p) and
 * |E'| = (p/a) (u > 1 ? t^(p+1) : t^(p-1))/(1 + t^p)^2. An infinite u gives t = 0. */
template <int N>
static __device__ __forceinline__ void elephant_exact(const curve &c, const float (&x)[N], float (&f)[N], float (&d)[N])
{
    float t[N], r[N];
#pragma unroll
    for (int i = 0; i < N; i++) {
        const float u = fabsf(x[i]) * c.inverse_a;
        t[i] = u > 1.0f ? 1.0f / u : u;
    }
    power<false, N>(c, t, r);
#pragma unroll
    for (int i = 0; i < N; i++) {
        const bool large = fabsf(x[i]) * c.inverse_a > 1.0f;
        const float q = r[i] * t[i], scaled = 1.0f / (1.0f + q);
        const float sign = x[i] > 0.0f ? -c.slope : x[i] < 0.0f ? c.slope : 0.0f;
        f[i] = (large ? q : 1.0f) * scaled;
        d[i] = sign * ((large ? q * t[i] : r[i]) * (scaled * scaled));
    }
}

/* f = act(x), d = act'(x). What a caller does not use, the compiler leaves out. KIND is negative: read it from c. */
template <int KIND, bool FAST, int N>
static __device__ __forceinline__ void activate(const curve &c, const float (&x)[N], float (&f)[N], float (&d)[N])
{
    const int kind = KIND < 0 ? (int)c.kind : KIND;
    if (kind == ACT_ELEPHANT) {
        if constexpr (FAST)
            elephant_fast<N>(c, x, f, d);
        else
            elephant_exact<N>(c, x, f, d);
    } else if (kind == ACT_GELU_ERF) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            float cdf, density;
            normal<FAST>(x[i], &cdf, &density);
            f[i] = x[i] * cdf;
            d[i] = cdf + x[i] * density;
        }
    } else if (kind == ACT_GELU_TANH) {
        /* 0.5 x (1 + tanh z) = x sigmoid(2 z); beyond 20 the logistic is 0 or 1, and the cube must not overflow. */
        const float k = (float)(2 * 0.79788456080286535588), cubic = 0.044715f;
#pragma unroll
        for (int i = 0; i < N; i++) {
            const float y = x[i] > 20.0f ? 20.0f : x[i] < -20.0f ? -20.0f : x[i];
            float s, complement;
            logistic<FAST>(k * (y + cubic * y * y * y), &s, &complement);
            f[i] = x[i] * s;
            d[i] = s + y * (s * complement) * (k * (1.0f + 3.0f * cubic * y * y));
        }
    } else if (kind == ACT_RELU2) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            const float y = x[i] < 0.0f ? 0.0f : x[i];
            f[i] = y * y;
            d[i] = 2.0f * y;
        }
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) {
            float s, complement;
            logistic<FAST>(x[i], &s, &complement);
            f[i] = x[i] * s;
            d[i] = s + x[i] * (s * complement);
        }
    }
}

#endif
