#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BYTES = 16 << 20, WORKSPACE_BYTES = 32 << 20 };

void kernel_test_open(struct kernel_test *k, int isa, int threads)
{
    const struct backend_options options = {
        .storage = isa < 0 ? DTYPE_F64 : DTYPE_F32, .threads = threads, .workspace_bytes = WORKSPACE_BYTES};
    struct err err = {0};
    int rc = isa < 0 ? backend_open("cpu-fp64", &options, &k->backend, &err)
                     : cpu_open_isa(&cpu_isas[isa], &options, &k->backend, &err);
    if (rc)
        fail_msg("open: %s", err.message);
    k->ops = k->backend->ops;
    void *base;
    if (k->ops->arena(k->backend, ARENA_BYTES, &base, &err))
        fail_msg("arena: %s", err.message);
    k->next = base;
    k->end = k->next + ARENA_BYTES;
    kernel_test_reset(k);
}

void kernel_test_close(struct kernel_test *k)
{
    k->ops->close(k->backend);
}

void kernel_test_reset(struct kernel_test *k)
{
    k->next = k->end - ARENA_BYTES;
}

static void *take(struct kernel_test *k, size_t bytes)
{
    void *p = k->next;
    k->next += (bytes + 255) / 256 * 256 + 256;
    if (k->next > k->end)
        fail_msg("the test's arena is too small");
    memset(p, 0xFF, (size_t)(k->next - (unsigned char *)p)); /* NaN in either type, also behind the end */
    return p;
}

void *kernel_test_put(struct kernel_test *k, const double *values, int64_t n)
{
    void *p = take(k, (size_t)n * dtype_size(k->backend->storage));
    for (int64_t i = 0; i < n; i++) {
        if (k->backend->storage == DTYPE_F64)
            ((double *)p)[i] = values[i];
        else
            ((float *)p)[i] = (float)values[i];
    }
    return p;
}

void *kernel_test_fill(struct kernel_test *k, double value, int64_t n)
{
    void *p = take(k, (size_t)n * dtype_size(k->backend->storage));
    for (int64_t i = 0; i < n; i++) {
        if (k->backend->storage == DTYPE_F64)
            ((double *)p)[i] = value;
        else
            ((float *)p)[i] = (float)value;
    }
    return p;
}

void *kernel_test_poison(struct kernel_test *k, int64_t n)
{
    return take(k, (size_t)n * dtype_size(k->backend->storage));
}

void *kernel_test_ints(struct kernel_test *k, const int32_t *values, int64_t n)
{
    void *p = take(k, (size_t)n * sizeof *values);
    memcpy(p, values, (size_t)n * sizeof *values);
    return p;
}

double *kernel_test_double(struct kernel_test *k, double value)
{
    double *p = take(k, sizeof *p);
    *p = value;
    return p;
}

void kernel_test_get(struct kernel_test *k, const void *p, int64_t n, double *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = k->backend->storage == DTYPE_F64 ? ((const double *)p)[i] : (double)((const float *)p)[i];
}

void kernel_test_sync(struct kernel_test *k)
{
    struct err err = {0};
    if (k->ops->sync(k->backend, &err))
        fail_msg("an operator failed: %s", err.message);
}

static uint64_t draw_bits(struct draw *d)
{
    uint64_t z = d->state += 0x9E3779B97F4A7C15u; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

double draw_uniform(struct draw *d, double low, double high)
{
    return low + (high - low) * ((double)(draw_bits(d) >> 11) + 0.5) * 0x1p-53;
}

double draw_normal(struct draw *d)
{
    double u = draw_uniform(d, 0, 1), v = draw_uniform(d, 0, 6.28318530717958648);
    /* Rounded to float, so that both storage types start from the same numbers. */
    return (double)(float)(sqrt(-2 * log(u)) * cos(v));
}

int64_t draw_below(struct draw *d, int64_t n)
{
    return (int64_t)(draw_bits(d) % (uint64_t)n);
}

double relative_distance(const double *a, const double *b, int64_t n)
{
    double difference = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(a[i]) || !isfinite(b[i]))
            return INFINITY;
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        size += b[i] * b[i];
    }
    return sqrt(difference) / fmax(sqrt(size), 1e-30);
}

void assert_close(const double *a, const double *b, int64_t n, double tolerance, const char *format, ...)
{
    double distance = n ? relative_distance(a, b, n) : 0;
    if (distance <= tolerance)
        return;
    char what[256];
    va_list ap;
    va_start(ap, format);
    vsnprintf(what, sizeof what, format, ap);
    va_end(ap);
    fail_msg("%s: relative distance %.3g is over %.3g", what, distance, tolerance);
}
