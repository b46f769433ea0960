/* test_rebuild.c: what train.recompute rebuilds without a product, on every instruction set: a norm from its stored
 * sum, the hidden of a feed-forward layer from its stored pre-activation, each to the bits that the forward pass had.
 * Widths leave tails behind vectors, blocks and pieces. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 37 };

static void *draw_buffer(struct kernel_test *k, struct draw *d, int64_t n)
{
    double *values = calloc((size_t)n, sizeof *values);
    assert_non_null(values);
    for (int64_t i = 0; i < n; i++)
        values[i] = 2 * draw_normal(d);
    void *buffer = kernel_test_put(k, values, n);
    free(values);
    return buffer;
}

static void assert_same(struct kernel_test *k, const void *a, const void *b, int64_t n)
{
    double *x = calloc((size_t)n, sizeof *x), *y = calloc((size_t)n, sizeof *y);
    assert_true(x && y);
    kernel_test_get(k, a, n, x);
    kernel_test_get(k, b, n, y);
    assert_memory_equal(x, y, (size_t)n * sizeof *x);
    free(x);
    free(y);
}

static void norm_of_its_sum(struct kernel_test *k, struct draw *d, int64_t dim, enum norm_kind kind, int added)
{
    int64_t n = ROWS * dim;
    kernel_test_reset(k);
    struct norm_forward_args once = {
        .kind = kind,
        .rows = ROWS,
        .dim = dim,
        .eps = 1e-5,
        .x = draw_buffer(k, d, n),
        .add = {draw_buffer(k, d, n), added > 1 ? draw_buffer(k, d, n) : NULL},
        .sum = kernel_test_poison(k, n),
        .mean = kernel_test_fill(k, 0, ROWS), /* not touched by RMSNorm */
        .rstd = kernel_test_poison(k, ROWS),
        .weight = {draw_buffer(k, d, dim), draw_buffer(k, d, dim)},
        .bias = {draw_buffer(k, d, dim), NULL},
        .y = {kernel_test_poison(k, n), kernel_test_poison(k, n)},
    };
    struct norm_forward_args again = once;
    again.x = once.sum;
    again.add[0] = again.add[1] = NULL;
    again.mean = kernel_test_fill(k, 0, ROWS);
    again.rstd = kernel_test_poison(k, ROWS);
    again.y[0] = kernel_test_poison(k, n);
    again.y[1] = kernel_test_poison(k, n);
    k->ops->norm_forward(k->backend, &once);
    k->ops->norm_forward(k->backend, &again);
    kernel_test_sync(k);
    assert_same(k, again.mean, once.mean, ROWS);
    assert_same(k, again.rstd, once.rstd, ROWS);
    assert_same(k, again.y[0], once.y[0], n);
    assert_same(k, again.y[1], once.y[1], n);
}

static void hidden_of_its_pre(struct kernel_test *k, struct draw *d, int64_t width, struct activation act, bool gated)
{
    int64_t in = 19, up = gated ? 2 * width : width;
    kernel_test_reset(k);
    struct ffn_up_args once = {
        .rows = ROWS,
        .in = in,
        .width = width,
        .act = act,
        .gated = gated,
        .x = draw_buffer(k, d, ROWS * in),
        .w = draw_buffer(k, d, up * in),
        .bias = draw_buffer(k, d, up),
        .pre = kernel_test_poison(k, ROWS * up),
        .h = kernel_test_poison(k, ROWS * width),
    };
    struct ffn_up_args again = once;
    again.h = kernel_test_poison(k, ROWS * width);
    k->ops->ffn_up_forward(k->backend, &once);
    k->ops->activation_forward(k->backend, &again);
    kernel_test_sync(k);
    assert_same(k, again.h, once.h, ROWS * width);
}

static void rebuilt_to_the_same_bits(void **state)
{
    (void)state;
    static const int64_t widths[] = {1, 7, 64, 131, 517};
    struct draw d = {.state = 3};
    for (int isa = -1; isa < cpu_isa_count; isa++) {
        struct kernel_test k;
        if (isa >= 0 && !cpu_isas[isa].runs_here())
            continue;
        kernel_test_open(&k, isa, 2);
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
            for (int i = 0; i < 4; i++)
                norm_of_its_sum(&k, &d, widths[w], i & 1 ? NORM_RMSNORM : NORM_LAYERNORM, 1 + i / 2);
            for (int kind = ACT_GELU_ERF; kind <= ACT_ELEPHANT; kind++)
                for (int gated = 0; gated < 2; gated++)
                    hidden_of_its_pre(&k, &d, widths[w], (struct activation){(enum activation_kind)kind, 1, 7.5},
                                      gated);
        }
        kernel_test_close(&k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rebuilt_to_the_same_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
