/* power.h: powers of a block of elements that lies in the first-level cache. */
#ifndef BAKA_KERNELS_CPU_POWER_H
#define BAKA_KERNELS_CPU_POWER_H

#include <math.h>
#include "kernels/cpu/real.h"

enum { ACTIVATION_BLOCK = 256 };

/* t^n by squaring, a loop over the block for each bit; n >= 0. */
static inline void power_integer(int64_t exponent, int n, const real *t, real *power)
{
    real base[ACTIVATION_BLOCK];
    for (int i = 0; i < n; i++) {
        base[i] = t[i];
        power[i] = 1;
    }
    for (; exponent > 0; exponent >>= 1) {
        if (exponent & 1)
            for (int i = 0; i < n; i++)
                power[i] *= base[i];
        if (exponent > 1)
            for (int i = 0; i < n; i++)
                base[i] *= base[i];
    }
}

/* power = t^exponent for 0 <= t <= 1 and exponent >= 0; n <= ACTIVATION_BLOCK. */
static inline void power_block(double exponent, int n, const real *t, real *power)
{
    if (exponent < 1024 && exponent == (double)(int64_t)exponent)
        power_integer((int64_t)exponent, n, t, power);
    else
        for (int i = 0; i < n; i++)
            power[i] = (real)pow((double)t[i], exponent);
}

#endif
