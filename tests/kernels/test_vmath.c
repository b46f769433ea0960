/* test_vmath.c: the vector functions against libm in double, in units of the last place of the result. Compiled once
 * for each instruction set; the accuracy differs with fused multiply-add. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <cmocka.h>
#include <stdio.h>
#include "kernels/cpu/vmath.h"

struct worst {
    double ulps, at;
};

static void compare(struct worst *w, double x, float got, double exact)
{
    double ulp = (double)(nextafterf(fabsf((float)exact), INFINITY) - fabsf((float)exact));
    double off = fabs((double)got - exact) / ulp;
    if (!(off <= w->ulps)) {
        w->ulps = off;
        w->at = x;
    }
}

static void check(const char *name, const struct worst *w, double limit)
{
    print_message("%-18s worst %.2f ulp at %.9g\n", name, w->ulps, w->at);
    if (!(w->ulps <= limit))
        fail_msg("%s is %.3g ulp off at %.9g, allowed are %g", name, w->ulps, w->at, limit);
}

enum { STEPS = 400000, BLOCK = 64 };

static float sample(int i, double low, double high)
{
    return (float)(low + (high - low) * i / STEPS);
}

static void test_exp(void **state)
{
    (void)state;
    struct worst w = {0};
    for (int i = 0; i < STEPS; i += BLOCK) {
        float x[BLOCK], y[BLOCK];
        for (int j = 0; j < BLOCK; j++)
            x[j] = sample(i + j, -87.3, 88.7);
#pragma omp simd
        for (int j = 0; j < BLOCK; j++)
            y[j] = exp_real(x[j]);
        for (int j = 0; j < BLOCK; j++)
            compare(&w, x[j], y[j], exp((double)x[j]));
    }
    check("exp", &w, 2);
    assert_true(exp_real(0.0f) == 1.0f && exp_real(-0.0f) == 1.0f);
    assert_true(isinf(exp_real(89.0f)) && isinf(exp_real(1e30f)) && isinf(exp_real(INFINITY)));
    assert_true(exp_real(-200.0f) == 0.0f && exp_real(-INFINITY) == 0.0f);
    assert_true(exp_real(-100.0f) > 0.0f);
    assert_true(isnan(exp_real(NAN)));
}

static void test_logistic(void **state)
{
    (void)state;
    struct worst s = {0}, c = {0};
    for (int i = 0; i < STEPS; i++) {
        float x = sample(i, -86, 86);
        struct logistic l = logistic_real(x);
        compare(&s, x, l.s, 1 / (1 + exp(-(double)x)));
        compare(&c, x, l.complement, 1 / (1 + exp((double)x)));
    }
    check("sigmoid", &s, 3);
    check("its complement", &c, 3);
    assert_true(logistic_real(1e30f).s == 1.0f && logistic_real(-1e30f).s == 0.0f);
    assert_true(isnan(logistic_real(NAN).s));
}

static void test_normal(void **state)
{
    (void)state;
    struct worst cdf = {0}, density = {0}, error_function = {0};
    for (int i = 0; i < STEPS; i++) {
        float x = sample(i, -13, 13);
        struct normal n = normal_real(x);
        compare(&cdf, x, n.cdf, 0.5 * erfc(-(double)x / sqrt(2)));
        compare(&density, x, n.density, exp(-0.5 * (double)x * (double)x) / sqrt(2 * acos(-1)));
        /* erf's own scale is 1: what GELU takes from it */
        double off = fabs((2.0 * (double)n.cdf - 1.0) - erf((double)x / sqrt(2))) / (double)(nextafterf(1, 2) - 1);
        error_function = off > error_function.ulps ? (struct worst){off, x} : error_function;
    }
    check("normal cdf", &cdf, 6);
    check("normal density", &density, 4);
    check("erf, units of 1", &error_function, 3);
    assert_true(normal_real(1e30f).cdf == 1.0f && normal_real(-1e30f).cdf < 1e-40f);
    assert_true(isnan(normal_real(NAN).cdf) && isnan(normal_real(NAN).density));
}

int main(void)
{
#if defined(__x86_64__)
#if defined(__AVX512F__)
    if (!__builtin_cpu_supports("avx512vl"))
        return 77;
#elif defined(__AVX2__)
    if (!__builtin_cpu_supports("avx2"))
        return 77;
#endif
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp),
        cmocka_unit_test(test_logistic),
        cmocka_unit_test(test_normal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
