/* What is progress and what is not, which phase a worker is in, and how long each may last. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <cmocka.h>
#include "daemon/watchdog.h"

static const struct watchdog_limits limits = {.start_s = 100, .floor_s = 10, .ceiling_s = 1000};

static struct watchdog made(void)
{
    struct watchdog w;
    watchdog_init(&w, &limits, &(struct watchdog_usual){0});
    return w;
}

static struct watchdog_news start(void)
{
    return (struct watchdog_news){.started = true, .work = {.steps = true}};
}

static struct watchdog_news step(int64_t n, double ms)
{
    return (struct watchdog_news){.steps = 1, .last_step = n, .slowest_step_ms = ms, .tok_s = 100};
}

static struct watchdog running(double ms)
{
    struct watchdog w = made();
    struct watchdog_news s = start(), one = step(1, ms);
    assert_true(watchdog_hear(&w, &s));
    assert_true(watchdog_hear(&w, &one));
    return w;
}

/* Silence in passes of a tick; true: expired, and not a pass before its time. */
static void expires_after(struct watchdog *w, double seconds)
{
    enum { TICK_MS = 50 };
    int64_t ticks = (int64_t)(seconds * 1000) / TICK_MS;
    for (int64_t i = 1; i < ticks; i++)
        assert_false(watchdog_pass(w, TICK_MS));
    assert_true(watchdog_pass(w, TICK_MS));
}

static void test_phases(void **state)
{
    (void)state;
    struct watchdog w = made();
    struct watchdog_news n = start();
    assert_int_equal(w.phase, WATCHDOG_START);
    expires_after(&w, 100);
    assert_true(watchdog_hear(&w, &n));
    assert_int_equal(w.phase, WATCHDOG_START); /* until the first step */
    expires_after(&w, 110);
    n = step(1, 5);
    watchdog_hear(&w, &n);
    assert_int_equal(w.phase, WATCHDOG_STEP);
    expires_after(&w, 10);
    n = step(2, 5);
    n.evaluation_due = n.checkpoint_due = n.checkpoint_possible = true;
    watchdog_hear(&w, &n);
    assert_int_equal(w.phase, WATCHDOG_EVALUATION);
    n = (struct watchdog_news){.last_step = 2, .evaluated = true, .evaluated_step = 2, .evaluation_ms = 3};
    n.evaluation_due = n.checkpoint_due = n.checkpoint_possible = true;
    watchdog_hear(&w, &n);
    assert_int_equal(w.phase, WATCHDOG_CHECKPOINT);
    n = (struct watchdog_news){.last_step = 2, .checkpointed = true, .checkpointed_step = 2, .checkpoint_ms = 3};
    n.evaluation_due = n.checkpoint_due = n.checkpoint_possible = true;
    watchdog_hear(&w, &n);
    assert_int_equal(w.phase, WATCHDOG_STEP);
    n = (struct watchdog_news){.last_step = 2, .ended = true};
    watchdog_hear(&w, &n);
    assert_int_equal(w.phase, WATCHDOG_EXIT);
    expires_after(&w, 10);
    /* all of it in one look */
    w = running(5);
    n = step(9, 5);
    n.evaluated = n.checkpointed = n.evaluation_due = n.checkpoint_due = n.checkpoint_possible = true;
    n.evaluated_step = n.checkpointed_step = 9;
    watchdog_hear(&w, &n);
    assert_int_equal(w.phase, WATCHDOG_STEP);
}

static void test_what_is_no_progress(void **state)
{
    (void)state;
    struct watchdog w = running(5);
    struct watchdog_news e = {.last_step = 1, .evaluated = true, .evaluated_step = 1, .evaluation_ms = 1};
    struct watchdog_news k = {.last_step = 1, .checkpointed = true, .checkpointed_step = 1, .checkpoint_ms = 1};
    struct watchdog_news none = {.last_step = 1};
    assert_true(watchdog_hear(&w, &e));
    assert_true(watchdog_hear(&w, &k));
    for (int i = 0; i < 99; i++) {
        assert_false(watchdog_hear(&w, &e)); /* the same once more */
        assert_false(watchdog_hear(&w, &k));
        assert_false(watchdog_hear(&w, &none));
        assert_false(watchdog_pass(&w, 100));
    }
    assert_true(watchdog_pass(&w, 100));
}

static void test_budgets_are_learned(void **state)
{
    (void)state;
    struct watchdog w = running(2000);
    assert_true(watchdog_budget_s(&w) == 20);
    struct watchdog_news n = step(2, 4000);
    watchdog_hear(&w, &n);
    assert_true(watchdog_budget_s(&w) == 40);
    n = step(3, 1e6); /* a stall that was survived */
    watchdog_hear(&w, &n);
    assert_true(watchdog_budget_s(&w) == 160);
    for (int i = 4; i < 1000; i++) {
        n = step(i, 10);
        watchdog_hear(&w, &n);
    }
    assert_true(watchdog_budget_s(&w) == 10);
    w = running(200e3); /* the ceiling, and what no ceiling may cut */
    assert_true(watchdog_budget_s(&w) == 1000);
    w = running(500e3);
    assert_true(watchdog_budget_s(&w) == 1500);
    w = running(NAN);
    assert_true(watchdog_budget_s(&w) == 10);
    n = step(2, 5);
    n.checkpoint_possible = true;
    w = running(2000);
    w.usual.checkpoint_ms = 3000;
    watchdog_hear(&w, &n);
    assert_true(fabs(watchdog_budget_s(&w) - 19.8 - 30) < 1e-9);
}

/* What was not seen yet: an epoch's time for an evaluation, the memory for a checkpoint, the arithmetic for a step. */
static void test_estimates(void **state)
{
    (void)state;
    struct watchdog w = made();
    struct watchdog_news n = start();
    n.work =
        (struct watchdog_work){.steps = true, .flops_per_step = 5e10, .memory_bytes = 1e9, .tokens_per_epoch = 40000};
    watchdog_hear(&w, &n);
    assert_true(watchdog_budget_s(&w) == 150);
    w.work.peak_flops = 1e12;
    assert_true(watchdog_budget_s(&w) == 150);
    w.work.peak_flops = 1e15;
    assert_true(watchdog_budget_s(&w) == 110);
    w.work.evaluates_first = true;
    assert_true(watchdog_budget_s(&w) == 1110);
    n = step(1, 5);
    n.evaluation_due = true;
    watchdog_hear(&w, &n);
    assert_true(watchdog_budget_s(&w) == 400);
    n = step(2, 5);
    n.checkpoint_due = true;
    watchdog_hear(&w, &n);
    assert_true(watchdog_budget_s(&w) == 200);
    watchdog_init(&w, &limits, &(struct watchdog_usual){.step_ms = 3000}); /* of an earlier attempt */
    n = start();
    watchdog_hear(&w, &n);
    assert_true(watchdog_budget_s(&w) == 130);
}

static void test_jobs(void **state)
{
    (void)state;
    struct watchdog w = made();
    struct watchdog_news n = {.started = true};
    watchdog_hear(&w, &n);
    assert_int_equal(w.phase, WATCHDOG_EVALUATION);
    assert_true(watchdog_budget_s(&w) == 1000);
}

static void test_adoption(void **state)
{
    (void)state;
    struct watchdog w;
    watchdog_init(&w, &limits, &(struct watchdog_usual){.step_ms = 2000, .evaluation_ms = 20000});
    struct watchdog_news where = {.work = {.steps = true}, .steps = 7, .last_step = 7};
    watchdog_adopt(&w, &where);
    assert_int_equal(w.phase, WATCHDOG_STEP);
    assert_true(watchdog_budget_s(&w) == 20);
    where.evaluation_due = true;
    watchdog_adopt(&w, &where);
    assert_true(watchdog_budget_s(&w) == 200);
    where = (struct watchdog_news){.work = {.steps = true}, .last_step = 7};
    watchdog_adopt(&w, &where); /* resumed, and no step yet */
    assert_int_equal(w.phase, WATCHDOG_START);
}

/* A night's sleep, a stopped daemon, a clock that jumped: one long pass is a second. */
static void test_jumps(void **state)
{
    (void)state;
    struct watchdog w = running(5);
    for (int i = 0; i < 9; i++)
        assert_false(watchdog_pass(&w, UINT64_C(8) * 3600 * 1000));
    assert_true(watchdog_pass(&w, UINT64_MAX));
}

static void test_limits(void **state)
{
    (void)state;
    struct watchdog w;
    watchdog_init(&w, &(struct watchdog_limits){.start_s = 1, .floor_s = 50, .ceiling_s = 5},
                  &(struct watchdog_usual){0});
    assert_true(w.limits.ceiling_s == 50); /* a floor above the ceiling lifts it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_what_is_no_progress),
        cmocka_unit_test(test_budgets_are_learned),
        cmocka_unit_test(test_estimates),
        cmocka_unit_test(test_jobs),
        cmocka_unit_test(test_adoption),
        cmocka_unit_test(test_jumps),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
