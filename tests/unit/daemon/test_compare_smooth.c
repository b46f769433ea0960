/* Smoothing, against the formulas worked out term by term. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/err.h"
#include "daemon/compare.h"

enum { COUNT = 500 };

static double values[COUNT];

static void fill(void)
{
    for (int i = 0; i < COUNT; i++)
        values[i] = 3 + sin(i * 1.7) + 100.0 / (i + 1);
}

static struct compare_smooth make(const char *text)
{
    struct compare_smooth like, s;
    assert_int_equal(compare_smooth_parse(text, &like, NULL), 0);
    assert_int_equal(compare_smooth_init(&s, &like, NULL), 0);
    return s;
}

static void ema_is_the_weighted_mean(void **state)
{
    (void)state;
    fill();
    struct compare_smooth s = make("ema:0.9");
    for (int n = 0; n < COUNT; n++) {
        double sum = 0, weights = 0;
        for (int i = 0; i <= n; i++) {
            sum += pow(0.9, n - i) * values[i];
            weights += pow(0.9, n - i);
        }
        double got = compare_smooth_add(&s, values[n]);
        assert_true(fabs(got - sum / weights) < 1e-12 * got);
    }
    compare_smooth_finish(&s);
    s = make("ema:0"); /* nothing is kept */
    assert_true(compare_smooth_add(&s, 5) == 5 && compare_smooth_add(&s, 2) == 2);
    s = make("ema:0.999"); /* without the pull to zero */
    assert_true(fabs(compare_smooth_add(&s, 5) - 5) < 1e-12);
}

static void window_is_the_mean_of_the_last(void **state)
{
    (void)state;
    fill();
    struct compare_smooth s = make("window:7");
    for (int n = 0; n < COUNT; n++) {
        double sum = 0;
        int first = n < 7 ? 0 : n - 6;
        for (int i = first; i <= n; i++)
            sum += values[i];
        assert_true(fabs(compare_smooth_add(&s, values[n]) - sum / (n - first + 1)) < 1e-12 * 100);
    }
    compare_smooth_finish(&s);
    s = make("window:3"); /* what was large is gone when it left, to the last digit */
    compare_smooth_add(&s, 1e17);
    for (int i = 0; i < 5; i++)
        compare_smooth_add(&s, 1);
    assert_true(compare_smooth_add(&s, 1) == 1);
    compare_smooth_finish(&s);
}

static void gaps_stay_gaps(void **state)
{
    (void)state;
    const char *const kinds[] = {"ema:0.5", "window:2"};
    for (int k = 0; k < 2; k++) {
        struct compare_smooth s = make(kinds[k]);
        double one = compare_smooth_add(&s, 2);
        assert_true(one == 2);
        assert_true(isnan(compare_smooth_add(&s, NAN)) && isnan(compare_smooth_add(&s, INFINITY)));
        double two = compare_smooth_add(&s, 4);
        assert_true(fabs(two - (k ? 3 : (0.5 * 2 + 4) / 1.5)) < 1e-15);
        compare_smooth_finish(&s);
    }
}

static void what_is_no_smoothing_is_refused(void **state)
{
    (void)state;
    const char *const wrong[] = {"",         "ema",     "ema:",       "ema:1",           "ema:-0.1",  "ema:x", "0.9",
                                 "window:0", "window:", "window:1.5", "window:10000000", "window:-1", "mean:3"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct compare_smooth s;
        struct err err;
        assert_int_equal(compare_smooth_parse(wrong[i], &s, &err), -ERR_INVALID);
        assert_non_null(strstr(err.message, "ema:B with 0 <= B < 1, or window:N"));
    }
}

/* However few points are asked for, each carries the smoothed value at its last step. */
static void extents_carry_it(void **state)
{
    (void)state;
    fill();
    int64_t step[COUNT], tokens[COUNT];
    double epoch[COUNT], expected[COUNT + 1];
    struct compare_smooth like, s = make("window:9");
    assert_int_equal(compare_smooth_parse("window:9", &like, NULL), 0);
    for (int i = 0; i < COUNT; i++) {
        step[i] = i + 1;
        tokens[i] = 10 * (i + 1);
        epoch[i] = (i + 1) / 100.0;
        expected[i + 1] = compare_smooth_add(&s, values[i]);
    }
    compare_smooth_finish(&s);
    struct compare_train t;
    assert_int_equal(compare_train_init(&t, 20, &like, NULL), 0);
    assert_int_equal(compare_train_add(&t, COUNT, step, epoch, tokens, values, NULL), 0);
    assert_int_equal(compare_train_end(&t, NULL), 0);
    assert_in_range(t.extent_count, 20, 40);
    for (size_t i = 0; i < t.extent_count; i++)
        assert_true(t.extents[i].smooth == expected[t.extents[i].step]);
    compare_train_finish(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ema_is_the_weighted_mean), cmocka_unit_test(window_is_the_mean_of_the_last),
        cmocka_unit_test(gaps_stay_gaps),           cmocka_unit_test(what_is_no_smoothing_is_refused),
        cmocka_unit_test(extents_carry_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
