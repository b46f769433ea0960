/* Every pair of states against a list written by hand, the words, and the invariants between the kinds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "daemon/queue.h"

/* Rows: from; columns: to, in the order of enum run_state. */
static const char *const allowed[RUN_STATES] = {
    /*                Q B S R P F T X D C */
    [RUN_QUEUED] = "  . x x . x . . x . x",
    [RUN_BLOCKED] = " x . . . . . . . . x",
    [RUN_STARTING] = "x . . x x x x x x x",
    [RUN_RUNNING] = " x . . . x x x x x x",
    [RUN_PAUSED] = "  x . . . . . . . . x",
    [RUN_FINISHED] = ". . . . . . . . . .",
    [RUN_STOPPED] = " x . . . . . . . . .",
    [RUN_FAILED] = "  x . . . . . . . . .",
    [RUN_DIVERGED] = "x . . . . . . . . .",
    [RUN_CANCELLED] = "x . . . . . . . . .",
};

static void test_pairs(void **state)
{
    (void)state;
    for (int from = 0; from < RUN_STATES; from++) {
        const char *p = allowed[from];
        for (int to = 0; to < RUN_STATES; to++) {
            while (*p == ' ')
                p++;
            assert_int_equal(run_state_may_follow((enum run_state)from, (enum run_state)to), *p == 'x');
            p++;
        }
    }
}

static void test_words(void **state)
{
    (void)state;
    enum run_state s = RUN_PAUSED;
    for (int i = 0; i < RUN_STATES; i++) {
        assert_true(run_state_parse(run_state_word((enum run_state)i), &s));
        assert_int_equal(s, i);
    }
    s = RUN_PAUSED;
    assert_false(run_state_parse("Queued", &s));
    assert_false(run_state_parse("", &s));
    assert_int_equal(s, RUN_PAUSED);
}

static void test_invariants(void **state)
{
    (void)state;
    for (int i = 0; i < RUN_STATES; i++) {
        enum run_state s = (enum run_state)i;
        assert_false(run_state_is_active(s) && run_state_is_final(s));
        assert_false(run_state_may_follow(s, s));
        /* a worker exists in active states only, and a claim is the only way in */
        if (run_state_may_follow(s, RUN_STARTING))
            assert_int_equal(s, RUN_QUEUED);
        if (run_state_is_active(s))
            assert_true(run_state_may_follow(s, RUN_QUEUED) && run_state_may_follow(s, RUN_FAILED));
        if (run_state_is_final(s))
            for (int to = 0; to < RUN_STATES; to++)
                assert_true(to == RUN_QUEUED || !run_state_may_follow(s, (enum run_state)to));
    }
    assert_false(run_state_is_retriable(RUN_FINISHED));
    assert_true(run_state_is_retriable(RUN_DIVERGED));
    assert_false(run_state_is_retriable(RUN_QUEUED));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_invariants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
