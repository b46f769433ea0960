/* reduce.h: sums and maxima over one contiguous row, in an order that depends on its length alone (the compiler may
 * not reassociate floating-point sums, so the lanes are written out). */
#ifndef BAKA_KERNELS_CPU_REDUCE_H
#define BAKA_KERNELS_CPU_REDUCE_H

#include "kernels/cpu/real.h"

static inline vec vec_load(const real *p)
{
    return *(const vec *)p;
}

static inline void vec_store(real *p, vec v)
{
    *(vec *)p = v;
}

static inline vec vec_zero(void)
{
    return (vec){0};
}

static inline vec vec_set(real x)
{
    return x - vec_zero();
}

static inline real vec_sum(vec v)
{
    real lanes[VECTOR];
    vec_store(lanes, v);
    for (int width = VECTOR / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lanes[i] += lanes[i + width];
    return lanes[0];
}

static inline real row_sum(const real *x, int64_t n)
{
    vec s0 = vec_zero(), s1 = vec_zero();
    int64_t i = 0;
    for (; i + 2 * VECTOR <= n; i += 2 * VECTOR) {
        s0 += vec_load(x + i);
        s1 += vec_load(x + i + VECTOR);
    }
    real s = vec_sum(s0 + s1);
    for (; i < n; i++)
        s += x[i];
    return s;
}

/* Sum of (x - shift)^2. */
static inline real row_square_sum(const real *x, int64_t n, real shift)
{
    vec s0 = vec_zero(), s1 = vec_zero(), c = vec_set(shift);
    int64_t i = 0;
    for (; i + 2 * VECTOR <= n; i += 2 * VECTOR) {
        vec a = vec_load(x + i) - c, b = vec_load(x + i + VECTOR) - c;
        s0 += a * a;
        s1 += b * b;
    }
    real s = vec_sum(s0 + s1);
    for (; i < n; i++)
        s += (x[i] - shift) * (x[i] - shift);
    return s;
}

static inline real row_dot(const real *x, const real *y, int64_t n)
{
    vec s0 = vec_zero(), s1 = vec_zero();
    int64_t i = 0;
    for (; i + 2 * VECTOR <= n; i += 2 * VECTOR) {
        s0 += vec_load(x + i) * vec_load(y + i);
        s1 += vec_load(x + i + VECTOR) * vec_load(y + i + VECTOR);
    }
    real s = vec_sum(s0 + s1);
    for (; i < n; i++)
        s += x[i] * y[i];
    return s;
}

/* n >= 1. NaN elements may be passed over: callers find them in the sums that follow. */
static inline real row_max(const real *x, int64_t n)
{
    real lanes[VECTOR];
    for (int l = 0; l < VECTOR; l++)
        lanes[l] = x[0];
    int64_t i = 0;
    for (; i + VECTOR <= n; i += VECTOR)
#pragma omp simd
        for (int l = 0; l < VECTOR; l++)
            lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
    for (; i < n; i++)
        lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
    real best = lanes[0];
    for (int l = 1; l < VECTOR; l++)
        best = lanes[l] > best ? lanes[l] : best;
    return best;
}

#endif
