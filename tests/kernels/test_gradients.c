/* test_gradients.c: every operator's backward against central finite differences of its forward, in double. */
#include "problem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const double TOLERANCE = 1e-6;

static double objective(struct kernel_test *k, const struct problem *p, const struct answer *scratch)
{
    kernel_test_reset(k);
    p->run(k, p, scratch->output, NULL);
    double sum = 0;
    for (int o = 0; o < p->outputs; o++)
        for (int64_t i = 0; i < p->output_n[o]; i++)
            sum += p->weight[o][i] * scratch->output[o][i];
    return sum;
}

static void check_problem(struct problem *p, void *arg)
{
    struct kernel_test *k = arg;
    struct answer answer, scratch;
    answer_init(&answer, p);
    answer_init(&scratch, p);
    kernel_test_reset(k);
    p->run(k, p, answer.output, answer.gradient);
    kernel_test_sync(k);
    for (int i = 0; i < p->inputs; i++) {
        double *numeric = calloc((size_t)p->input_n[i], sizeof *numeric);
        for (int64_t j = 0; j < p->input_n[i]; j++) {
            /* Fourth-order differences: error of the order of h^4 and of rounding / h. */
            double x = p->input[i][j], h = 2e-3, at[4];
            static const double steps[4] = {-2, -1, 1, 2};
            for (int s = 0; s < 4; s++) {
                p->input[i][j] = x + steps[s] * h;
                at[s] = objective(k, p, &scratch);
            }
            p->input[i][j] = x;
            numeric[j] = (8 * (at[2] - at[1]) - (at[3] - at[0])) / (12 * h);
        }
        assert_close(answer.gradient[i], numeric, p->input_n[i], TOLERANCE, "%s: gradient of %s", p->name,
                     p->input_name[i]);
        free(numeric);
    }
    answer_finish(&answer);
    answer_finish(&scratch);
}

static void test_finite_differences(void **state)
{
    (void)state;
    struct kernel_test k;
    kernel_test_open(&k, -1, 1);
    problem_each(true, check_problem, &k);
    kernel_test_close(&k);
}

/* h = act(x) and its derivative at given points, through the plain feed-forward operators with pre = x. */
static void activation_at(struct kernel_test *k, struct activation act, int64_t n, const double *x, double *f,
                          double *d)
{
    kernel_test_reset(k);
    const struct ffn_up_args forward = {
        .rows = 1,
        .width = n,
        .act = act,
        .pre = kernel_test_put(k, x, n),
        .h = kernel_test_poison(k, n),
    };
    k->ops->activation_forward(k->backend, &forward);
    const struct ffn_up_backward_args backward = {
        .rows = 1,
        .width = n,
        .act = act,
        .pre = forward.pre,
        .dh = kernel_test_fill(k, 1, n),
    };
    k->ops->activation_backward(k->backend, &backward);
    kernel_test_sync(k);
    kernel_test_get(k, forward.h, n, f);
    kernel_test_get(k, forward.pre, n, d);
}

/* The same of a shaped elephant, of height 2 and width a. */
static void shaped_at(struct kernel_test *k, struct activation act, int64_t n, const double *x, double *f, double *d)
{
    kernel_test_reset(k);
    struct elephant_args a = {
        .rows = 1,
        .width = n,
        .a = act.a,
        .p = act.p,
        .log_h = kernel_test_fill(k, log(2), n),
        .x = kernel_test_put(k, x, n),
        .h = kernel_test_poison(k, n),
        .dh = kernel_test_fill(k, 1, n),
        .d_log_sigma = kernel_test_fill(k, 0, n),
    };
    k->ops->elephant_forward(k->backend, &a);
    k->ops->elephant_backward(k->backend, &a);
    kernel_test_sync(k);
    kernel_test_get(k, a.h, n, f);
    kernel_test_get(k, a.x, n, d);
    double *widening = calloc((size_t)n, sizeof *widening);
    assert_non_null(widening);
    kernel_test_get(k, a.d_log_sigma, n, widening);
    for (int64_t i = 0; i < n; i++) {
        assert_true(isfinite(widening[i]) && widening[i] >= 0 && widening[i] <= act.p / 2 + 1e-5);
        f[i] /= 2;
        d[i] /= 2;
    }
    free(widening);
}

/* The textbook quotient in long double, whose exponents reach far enough. */
static void elephant_exact(double x, double a, double p, long double *e, long double *slope)
{
    long double u = fabsl((long double)x / a), q = powl(u, p);
    *e = 1 / (1 + q);
    *slope = (x > 0 ? -1 : x < 0 ? 1 : 0) * (p / a) * powl(u, p - 1) * *e * *e;
}

typedef void value_and_slope_fn(struct kernel_test *k, struct activation act, int64_t n, const double *x, double *f,
                                double *d);

static void check_elephant(int isa, double tolerance, double smallest, value_and_slope_fn *at)
{
    static const struct activation acts[] = {{ACT_ELEPHANT, 1, 8},
                                             {ACT_ELEPHANT, 0.5, 4},
                                             {ACT_ELEPHANT, 1, 1},
                                             {ACT_ELEPHANT, 2, 2.5},
                                             {ACT_ELEPHANT, 1, 13}};
    static const double sizes[] = {0,   1e-30, 1e-6, 1e-3, 0.1, 0.5, 0.9, 0.999, 1,   1.001,
                                   1.1, 2,     5,    64,   255, 256, 257, 1e4,   1e8, 1e30};
    enum { N = 2 * sizeof sizes / sizeof *sizes };
    struct kernel_test k;
    kernel_test_open(&k, isa, 1);
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        double x[N], f[N], d[N];
        for (int j = 0; j < N; j++) {
            x[j] = sizes[j / 2] * (j % 2 ? -1 : 1);
            x[j] = isa < 0 ? x[j] : (double)(float)x[j];
        }
        at(&k, acts[i], N, x, f, d);
        for (int j = 0; j < N; j++) {
            long double e, slope;
            elephant_exact(x[j], acts[i].a, acts[i].p, &e, &slope);
            if (!isfinite(f[j]) || fabsl((long double)f[j] - e) > tolerance * fabsl(e) + smallest)
                fail_msg("E(%g) for a %g, p %g is %.17g, not %.17Lg", x[j], acts[i].a, acts[i].p, f[j], e);
            if (!isfinite(d[j]) || fabsl((long double)d[j] - slope) > tolerance * fabsl(slope) + smallest)
                fail_msg("E'(%g) for a %g, p %g is %.17g, not %.17Lg", x[j], acts[i].a, acts[i].p, d[j], slope);
        }
    }
    kernel_test_close(&k);
}

static void test_elephant_everywhere(void **state)
{
    (void)state;
    static value_and_slope_fn *const forms[] = {activation_at, shaped_at};
    for (int form = 0; form < 2; form++) {
        check_elephant(-1, 1e-13, 1e-300, forms[form]);
        for (int isa = 0; isa < cpu_isa_count; isa++)
            if (cpu_isas[isa].runs_here())
                check_elephant(isa, 3e-6, 2e-38, forms[form]); /* below, float itself has no digits left */
    }
}

/* Where all others are finite they stay so, and NaN is not swallowed. */
static void test_extremes(void **state)
{
    (void)state;
    static const double x[] = {1e30, -1e30, 300, -300, 88, -88, 15, -15, 0, NAN};
    enum { N = sizeof x / sizeof *x };
    static const struct activation acts[] = {{ACT_GELU_ERF, 0, 0}, {ACT_GELU_TANH, 0, 0}, {ACT_SILU, 0, 0}};
    for (int isa = -1; isa < cpu_isa_count; isa++) {
        if (isa >= 0 && !cpu_isas[isa].runs_here())
            continue;
        struct kernel_test k;
        kernel_test_open(&k, isa, 1);
        for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
            double f[N], d[N];
            activation_at(&k, acts[i], N, x, f, d);
            for (int j = 0; j < N - 1; j++) {
                double limit = x[j] > 20 ? x[j] : 0, slope = x[j] > 20 ? 1 : 0;
                assert_true(isfinite(f[j]) && isfinite(d[j]));
                if (fabs(x[j]) > 20 &&
                    (fabs(f[j] - (double)(float)limit) > 1e-6 * limit + 1e-30 || fabs(d[j] - slope) > 1e-6))
                    fail_msg("activation %zu at %g: %g, slope %g", i, x[j], f[j], d[j]);
            }
            assert_true(isnan(f[N - 1]) && isnan(d[N - 1]));
        }
        kernel_test_close(&k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finite_differences),
        cmocka_unit_test(test_elephant_everywhere),
        cmocka_unit_test(test_extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
