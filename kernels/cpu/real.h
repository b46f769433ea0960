/* real.h: the element type and vector type of one compiled copy of the CPU operators.
 *
 * The operators are written once and compiled several times (kernels/meson.build): for float at each x86-64 level and
 * for double, which only tests use. KERNEL_SUFFIX keeps the copies apart, SYM(name) is a name within one copy.
 */
#ifndef BAKA_KERNELS_CPU_REAL_H
#define BAKA_KERNELS_CPU_REAL_H

#include <stdint.h>

#if KERNEL_F64
typedef double real;
#else
typedef float real;
#endif

#define KERNEL_JOIN2(a, b) a##_##b
#define KERNEL_JOIN(a, b) KERNEL_JOIN2(a, b)
#define SYM(name) KERNEL_JOIN(name, KERNEL_SUFFIX)

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

/* Loads and stores through this type need the alignment of one element only. */
typedef real vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

enum { VECTOR = VECTOR_BYTES / sizeof(real) };

static inline int64_t round_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

#endif
