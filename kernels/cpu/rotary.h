/* rotary.h: the table of angles that attention turns queries and keys by. */
#ifndef BAKA_KERNELS_CPU_ROTARY_H
#define BAKA_KERNELS_CPU_ROTARY_H

#include "kernels/cpu/cpu.h"

/* Row t: rotary_dims/2 cosines, then as many sines, of t * base^(-2i/rotary_dims); kept for the next call of the same
 * shape. NULL (and a sticky error) where it does not fit. */
const real *SYM(rotary_table)(struct cpu_backend *c, int64_t seq, int64_t rotary_dims, double base);

/* One row of such a table. */
void SYM(rotary_row)(int64_t position, int64_t rotary_dims, double base, real *row);

/* Pair (i, i + pairs) of a head's first 2 * pairs elements, turned by the row's angles; sign -1 turns back. */
static inline void rotary_turn(real *head, int64_t pairs, const real *angles, real sign)
{
#pragma omp simd
    for (int64_t i = 0; i < pairs; i++) {
        real c = angles[i], s = sign * angles[pairs + i], x = head[i], y = head[pairs + i];
        head[i] = x * c - y * s;
        head[pairs + i] = y * c + x * s;
    }
}

#endif
