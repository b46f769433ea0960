/* test_sampler.c: which tokens may come, and how often. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include "base/err.h"
#include "worker/sampler.h"

enum { N = 5, DRAWS = 20000 };

/* Shares 0.1, 0.4, 0.2, 0.25, 0.05. */
static void make_logits(float out[N])
{
    static const double shares[N] = {0.1, 0.4, 0.2, 0.25, 0.05};
    for (int i = 0; i < N; i++)
        out[i] = (float)log(shares[i]) + 3;
}

static void draw(double temperature, int64_t top_k, double top_p, double out[N])
{
    float logits[N];
    int32_t order[N], id;
    int count[N] = {0};
    struct sampler s = {.temperature = temperature, .top_k = top_k, .top_p = top_p};
    philox_init(&s.random, 1, "test", "sampler");
    make_logits(logits);
    for (int i = 0; i < DRAWS; i++) {
        assert_int_equal(sampler_pick(&s, logits, N, order, &id, NULL), 0);
        count[id]++;
    }
    for (int i = 0; i < N; i++)
        out[i] = (double)count[i] / DRAWS;
}

static void near(const double found[N], double a, double b, double c, double d, double e)
{
    const double wanted[N] = {a, b, c, d, e};
    for (int i = 0; i < N; i++)
        if (wanted[i] == 0 ? found[i] != 0 : fabs(found[i] - wanted[i]) > 0.02)
            fail_msg("token %d: share %g, not %g", i, found[i], wanted[i]);
}

static void shares_are_those_of_the_softmax(void **state)
{
    (void)state;
    double found[N];
    draw(1, 0, 1, found);
    near(found, 0.1, 0.4, 0.2, 0.25, 0.05);
    draw(0.5, 0, 1, found); /* squares, over their sum */
    near(found, 0.01 / 0.275, 0.16 / 0.275, 0.04 / 0.275, 0.0625 / 0.275, 0.0025 / 0.275);
    draw(0, 0, 1, found);
    near(found, 0, 1, 0, 0, 0);
}

static void only_the_likeliest_are_kept(void **state)
{
    (void)state;
    double found[N];
    draw(1, 2, 1, found);
    near(found, 0, 0.4 / 0.65, 0, 0.25 / 0.65, 0);
    draw(1, 1, 1, found);
    near(found, 0, 1, 0, 0, 0);
    draw(1, 0, 0.7, found); /* 0.4 + 0.25 are less than 0.7, with 0.2 they are more */
    near(found, 0, 0.4 / 0.85, 0.2 / 0.85, 0.25 / 0.85, 0);
    draw(1, 0, 0, found);
    near(found, 0, 1, 0, 0, 0);
    draw(1, 3, 0.5, found); /* of the three kept: 0.4 / 0.85 is less than half */
    near(found, 0, 0.4 / 0.65, 0, 0.25 / 0.65, 0);
}

static void what_is_no_number_is_refused(void **state)
{
    (void)state;
    float logits[N];
    int32_t order[N], id = 7;
    struct err err = {0};
    struct sampler s = {.temperature = 1, .top_p = 1};
    make_logits(logits);
    logits[3] = NAN;
    assert_int_equal(sampler_pick(&s, logits, N, order, &id, &err), -ERR_INVALID);
    assert_int_equal(id, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(shares_are_those_of_the_softmax),
                                       cmocka_unit_test(only_the_likeliest_are_kept),
                                       cmocka_unit_test(what_is_no_number_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
