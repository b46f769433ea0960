/* test_schedule.c: learning rates and evaluations against values worked out on paper. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "worker/schedule.h"

static struct spec make_spec(enum spec_schedule schedule, double warmup, double min_ratio)
{
    struct spec s = {0};
    s.train.optimizer.lr = 0.01;
    s.train.schedule = schedule;
    s.train.warmup = warmup;
    s.train.cooldown = 0.4;
    s.train.min_lr_ratio = min_ratio;
    return s;
}

static void a_part_is_steps_or_a_share(void **state)
{
    (void)state;
    assert_int_equal(schedule_part_steps(0, 100), 0);
    assert_int_equal(schedule_part_steps(7, 100), 7);
    assert_int_equal(schedule_part_steps(1, 100), 1);
    assert_int_equal(schedule_part_steps(0.01, 879), 9); /* 8.79 */
    assert_int_equal(schedule_part_steps(0.01, 40), 0);
    assert_int_equal(schedule_part_steps(0.1, 1430000), 143000);
    assert_int_equal(schedule_part_steps(500, 100), 500);
}

static void rates_are_those_on_paper(void **state)
{
    (void)state;
    static const struct {
        enum spec_schedule schedule;
        double warmup, min_ratio;
        int64_t step, total;
        double lr;
    } cases[] = {
        {SCHEDULE_CONSTANT, 0, 0.1, 1, 10, 0.01},
        {SCHEDULE_CONSTANT, 0, 0.1, 10, 10, 0.01},
        {SCHEDULE_CONSTANT, 4, 0, 1, 10, 0.0025},
        {SCHEDULE_CONSTANT, 4, 0, 4, 10, 0.01},
        {SCHEDULE_CONSTANT, 0.4, 0, 2, 10, 0.005},
        {SCHEDULE_CONSTANT, 100, 0, 10, 10, 0.001},
        {SCHEDULE_LINEAR, 0, 0, 1, 4, 0.0075},
        {SCHEDULE_LINEAR, 0, 0, 4, 4, 0},
        {SCHEDULE_LINEAR, 2, 0.1, 7, 12, 0.0055}, /* half way down: (1 + 0.1)/2 */
        {SCHEDULE_LINEAR, 2, 0.1, 12, 12, 0.001},
        {SCHEDULE_LINEAR, 2, 0.1, 13, 12, 0.001},
        {SCHEDULE_COSINE, 0, 0, 1, 3, 0.0075}, /* cos(pi/3) = 1/2 */
        {SCHEDULE_COSINE, 0, 0, 2, 3, 0.0025},
        {SCHEDULE_COSINE, 2, 0.1, 2, 12, 0.01},
        {SCHEDULE_COSINE, 2, 0.1, 7, 12, 0.0055},
        {SCHEDULE_COSINE, 2, 0.1, 12, 12, 0.001},
        {SCHEDULE_COSINE, 0, 0.1, 1, 4, 0.008681980515339464}, /* 0.1 + 0.9 (1 + sqrt(1/2))/2 */
        {SCHEDULE_COSINE, 5, 0.1, 5, 5, 0.01},
        {SCHEDULE_WSD, 2, 0.1, 1, 10, 0.005},
        {SCHEDULE_WSD, 2, 0.1, 3, 10, 0.01},
        {SCHEDULE_WSD, 2, 0.1, 6, 10, 0.01}, /* 4 of 10 steps go down */
        {SCHEDULE_WSD, 2, 0.1, 8, 10, 0.0055},
        {SCHEDULE_WSD, 2, 0.1, 10, 10, 0.001},
        {SCHEDULE_WSD, 2, 0.1, 11, 10, 0.001},
        {SCHEDULE_WSD, 8, 0, 9, 10, 0.005}, /* the warm-up leaves 2 of the 4 */
        {SCHEDULE_WSD, 0, 0, 1, 1, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct spec s = make_spec(cases[i].schedule, cases[i].warmup, cases[i].min_ratio);
        assert_float_equal(schedule_lr(&s, cases[i].step, cases[i].total), cases[i].lr, 1e-15);
    }
}

/* The steps of the first epochs after which is evaluated. */
static void check_evaluations(double every, int64_t steps_per_epoch, const int64_t *expected, size_t count)
{
    struct spec s = {.train.eval_every = every};
    size_t n = 0;
    for (int64_t step = 1; step <= expected[count - 1]; step++) {
        if (!schedule_evaluates(&s, step, steps_per_epoch))
            continue;
        assert_in_range(n, 0, count - 1);
        assert_int_equal(step, expected[n++]);
    }
    assert_int_equal(n, count);
}

#define EVALUATES(every, steps_per_epoch, ...)                                                                         \
    check_evaluations(every, steps_per_epoch, (const int64_t[]){__VA_ARGS__},                                          \
                      sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static void evaluations_are_steps_or_a_share(void **state)
{
    (void)state;
    EVALUATES(0, 10, 10, 20, 30);
    EVALUATES(4, 10, 4, 8, 10, 12, 16, 20, 24);
    EVALUATES(0.25, 10, 3, 5, 8, 10, 13, 15, 18, 20); /* 2.5 and 7.5 */
    EVALUATES(0.3, 10, 3, 6, 9, 10, 13);
    EVALUATES(0.05, 3, 1, 2, 3, 4, 5, 6); /* an epoch of fewer steps than evaluations */
}

/* An epoch that a share divides has as many evaluations, of equal distance but for the rounding. */
static void a_twentieth_is_twenty(void **state)
{
    (void)state;
    struct spec s = {.train.eval_every = 0.05};
    for (int64_t steps = 20; steps < 5000; steps++) {
        int64_t last = 0, n = 0;
        for (int64_t step = 1; step <= steps; step++) {
            if (!schedule_evaluates(&s, step, steps))
                continue;
            assert_in_range(step - last, steps / 20, (steps + 19) / 20);
            last = step;
            n++;
        }
        assert_int_equal(n, 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evaluations_are_steps_or_a_share),
        cmocka_unit_test(a_twentieth_is_twenty),
        cmocka_unit_test(a_part_is_steps_or_a_share),
        cmocka_unit_test(rates_are_those_on_paper),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
