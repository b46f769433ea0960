/* harness.h: backends for tests of operators: values go in and come out as doubles whatever the storage type. */
#ifndef BAKA_TESTS_KERNELS_HARNESS_H
#define BAKA_TESTS_KERNELS_HARNESS_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/err.h"
#include "kernels/backend.h"
#include "kernels/cpu/device.h"

struct kernel_test {
    struct backend *backend;
    const struct backend_ops *ops;
    unsigned char *next, *end; /* what is left of the arena */
};

/* isa: index into cpu_isas, or -1 for cpu-fp64. Fails the test when opening fails. */
void kernel_test_open(struct kernel_test *k, int isa, int threads);
void kernel_test_close(struct kernel_test *k);
/* Forgets all buffers; poisons their memory. */
void kernel_test_reset(struct kernel_test *k);

/* Buffers of n elements of storage type. */
void *kernel_test_put(struct kernel_test *k, const double *values, int64_t n);
void *kernel_test_fill(struct kernel_test *k, double value, int64_t n);
void *kernel_test_poison(struct kernel_test *k, int64_t n); /* NaN: an output that stays unwritten shows */
void *kernel_test_ints(struct kernel_test *k, const int32_t *values, int64_t n);
double *kernel_test_double(struct kernel_test *k, double value);
void kernel_test_get(struct kernel_test *k, const void *p, int64_t n, double *out);
/* Fails the test when an operator failed. */
void kernel_test_sync(struct kernel_test *k);

/* Deterministic numbers. */
struct draw {
    uint64_t state;
};
double draw_uniform(struct draw *d, double low, double high);
double draw_normal(struct draw *d);
int64_t draw_below(struct draw *d, int64_t n);

/* |a - b| / max(|b|, 1e-30) in the 2-norm; infinite when an element of a is not finite. */
double relative_distance(const double *a, const double *b, int64_t n);
/* Fails, naming what, where the distance is over the tolerance. */
void assert_close(const double *a, const double *b, int64_t n, double tolerance, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

#endif
