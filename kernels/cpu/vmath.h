/* vmath.h: exp, the logistic function and the normal distribution, written without branches so that loops over them
 * become vector code.
 *
 * float: exp within 2 ulp, sigmoid within 3, erf (from the normal distribution) within 3 ulp of 1, the distribution's
 * left tail within 6 of itself, the density within 4; NaN stays NaN, infinities have their limits, results below the
 * smallest normal number are gradual. double: libm.
 * tests/kernels/test_vmath.c holds these bounds.
 */
#ifndef BAKA_KERNELS_CPU_VMATH_H
#define BAKA_KERNELS_CPU_VMATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#include "kernels/cpu/real.h"

struct normal {
    real cdf, density;
};

#if KERNEL_F64

static inline real exp_real(real x)
{
    return exp(x);
}

static inline real sqrt_real(real x)
{
    return sqrt(x);
}

/* Distribution and density of N(0,1) at x. */
static inline struct normal normal_real(real x)
{
    return (struct normal){0.5 * erfc(-x * 0.70710678118654752440), exp(-0.5 * x * x) * 0.39894228040143267794};
}

#else

static inline real sqrt_real(real x)
{
    return sqrtf(x);
}

static inline float float_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint32_t bits_of_float(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* Cody and Waite's reduction to |r| <= ln(2)/2, Cephes' expf polynomial, 2^n applied in two halves so that overflow
 * gives infinity and underflow is gradual. Adding 1.5*2^23 rounds to the nearest integer and leaves it in the low bits,
 * which avoids a conversion that SSE2 could not do for NaN. */
static inline real exp_real(real x)
{
    x = x > 89.0f ? 89.0f : x;
    x = x < -105.0f ? -105.0f : x;
    float shifted = x * 1.44269504088896341f + 12582912.0f;
    float n = shifted - 12582912.0f;
    float r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    int32_t exponent = (int32_t)(bits_of_float(shifted) - 0x4B400000u);
    int32_t half = exponent >> 1;
    float a = float_of_bits((uint32_t)(half + 127) << 23);
    float b = float_of_bits((uint32_t)(exponent - half + 127) << 23);
    return p * a * b;
}

/* exp(-x^2/2) with the square's rounding error put back (Dekker's product), times a polynomial in t = 1/(1 + 0.3|x|)
 * for 0.5 exp(x^2/2) erfc(|x|/sqrt 2), fitted to 3.5e-9 relative for |x| <= 15, beyond which both are below the
 * smallest float. */
static inline struct normal normal_real(real x)
{
    float y = x < 0.0f ? -x : x;
    y = y > 15.0f ? 15.0f : y;
    float high = float_of_bits(bits_of_float(y) & 0xFFFFF000u), low = y - high;
    float square = y * y;
    float error = ((high * high - square) + 2.0f * high * low) + low * low;
    float e = exp_real(-0.5f * square) * (1.0f - 0.5f * error);
    float t = 1.0f / (1.0f + 0.3f * y);
    float s = t - 0.5f;
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
    float tail = p * t * e;
    return (struct normal){x < 0.0f ? tail : 1.0f - tail, e * 0.39894228040143267794f};
}

#endif

struct logistic {
    real s, complement; /* 1/(1+e^-x) and 1/(1+e^x): each accurate where it is small */
};

static inline struct logistic logistic_real(real x)
{
    real e = exp_real(x < 0 ? x : -x);
    real big = 1 / (1 + e), small = e / (1 + e);
    return (struct logistic){x < 0 ? small : big, x < 0 ? big : small};
}

#endif
