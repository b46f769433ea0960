/* tile.h: products of small tiles that lie in the cache, for attention.
 *
 * All tiles are padded: rows of b and c have a multiple of VECTOR elements, c a multiple of TILE_ROWS rows.
 */
#ifndef BAKA_KERNELS_CPU_TILE_H
#define BAKA_KERNELS_CPU_TILE_H

#include "kernels/cpu/reduce.h"

/* Rows that one pass holds in registers, two vectors each: 16 of AVX-512's 32 registers, 8 of the others' 16. */
enum { TILE_ROWS = VECTOR_BYTES == 64 ? 8 : 4 };

/* c[TILE_ROWS, NV vectors] = (or +=) a b over k; element (i, l) of a is a[i * row_step + l * k_step]. */
#define TILE_PASS(name, NV)                                                                                            \
    static inline __attribute__((always_inline)) void name(int64_t k, const real *a, int64_t row_step, int64_t k_step, \
                                                           const real *b, int64_t ldb, real *c, int64_t ldc,           \
                                                           bool accumulate)                                            \
    {                                                                                                                  \
        vec sum[TILE_ROWS][NV];                                                                                        \
        for (int i = 0; i < TILE_ROWS; i++)                                                                            \
            for (int v = 0; v < NV; v++)                                                                               \
                sum[i][v] = accumulate ? vec_load(c + i * ldc + v * VECTOR) : vec_zero();                              \
        for (int64_t l = 0; l < k; l++) {                                                                              \
            vec right[NV];                                                                                             \
            for (int v = 0; v < NV; v++)                                                                               \
                right[v] = vec_load(b + l * ldb + v * VECTOR);                                                         \
            for (int i = 0; i < TILE_ROWS; i++) {                                                                      \
                vec left = vec_set(a[i * row_step + l * k_step]);                                                      \
                for (int v = 0; v < NV; v++)                                                                           \
                    sum[i][v] += left * right[v];                                                                      \
            }                                                                                                          \
        }                                                                                                              \
        for (int i = 0; i < TILE_ROWS; i++)                                                                            \
            for (int v = 0; v < NV; v++)                                                                               \
                vec_store(c + i * ldc + v * VECTOR, sum[i][v]);                                                        \
    }
TILE_PASS(tile_pass2, 2)
TILE_PASS(tile_pass1, 1)

/* c[TILE_ROWS, n], n a multiple of VECTOR. */
static inline void tile_rows(int64_t n, int64_t k, const real *a, int64_t row_step, int64_t k_step, const real *b,
                             int64_t ldb, real *c, int64_t ldc, bool accumulate)
{
    int64_t j = 0;
    for (; j + 2 * VECTOR <= n; j += 2 * VECTOR)
        tile_pass2(k, a, row_step, k_step, b + j, ldb, c + j, ldc, accumulate);
    for (; j < n; j += VECTOR)
        tile_pass1(k, a, row_step, k_step, b + j, ldb, c + j, ldc, accumulate);
}

#endif
