/* Each rule alone, together, and that deciding again over what stays changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <string.h>
#include <cmocka.h>
#include "daemon/prune.h"

enum { N = 10 };

/* Steps 1000 … 100, newest first; losses as given, NaN where 0. */
static void make(struct prune_checkpoint all[N], const double losses[N])
{
    for (int i = 0; i < N; i++)
        all[i] = (struct prune_checkpoint){100 * (N - i), true, losses != NULL && losses[i] > 0 ? losses[i] : NAN};
}

static const char *kept(struct prune_policy policy, const struct prune_checkpoint *all, size_t n)
{
    static char text[N + 1];
    bool keep[N];
    prune_choose(&policy, all, n, keep);
    for (size_t i = 0; i < n; i++)
        text[i] = keep[i] ? 'x' : '.';
    text[n] = 0;
    return text;
}

static void test_rules(void **state)
{
    (void)state;
    struct prune_checkpoint all[N];
    make(all, NULL);
    assert_string_equal(kept((struct prune_policy){.newest = 3}, all, N), "xxx.......");
    assert_string_equal(kept((struct prune_policy){0}, all, N), "xx........"); /* never fewer than two */
    assert_string_equal(kept((struct prune_policy){.newest = 99}, all, N), "xxxxxxxxxx");
    assert_string_equal(kept((struct prune_policy){.newest = 2, .every = 300}, all, N), "xx..x..x..");
    assert_string_equal(kept((struct prune_policy){.newest = 2, .every = 250}, all, N), "xxx..x.x..");
    assert_string_equal(kept((struct prune_policy){.newest = 2, .best = 3}, all, N), "xx........"); /* none evaluated */
    assert_string_equal(kept((struct prune_policy){.newest = 2}, all, 1), "x");
    assert_string_equal(kept((struct prune_policy){.newest = 2}, all, 0), "");
    make(all, (const double[N]){3, 2, 5, 1, 4, 1, 0, 2, 9, INFINITY});
    assert_string_equal(kept((struct prune_policy){.newest = 2, .best = 1}, all, N), "xx...x....");
    assert_string_equal(kept((struct prune_policy){.newest = 2, .best = 2}, all, N), "xx.x.x....");
    assert_string_equal(kept((struct prune_policy){.newest = 2, .best = 3}, all, N), "xx.x.x.x..");
    assert_string_equal(kept((struct prune_policy){.newest = 2, .best = 99}, all, N), "xxxxxx.xx.");
}

/* Damaged ones count for nothing and are left alone: two good ones stay beside them. */
static void test_damaged(void **state)
{
    (void)state;
    struct prune_checkpoint all[N];
    make(all, (const double[N]){1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
    all[0].good = all[2].good = false;
    assert_string_equal(kept((struct prune_policy){.newest = 2, .best = 1}, all, N), "xxxx......");
    for (int i = 0; i < N; i++)
        all[i].good = false;
    assert_string_equal(kept((struct prune_policy){.newest = 2, .best = 2, .every = 100}, all, N), "xxxxxxxxxx");
}

static void test_again_changes_nothing(void **state)
{
    (void)state;
    uint32_t rng = 1;
    for (int round = 0; round < 2000; round++) {
        struct prune_checkpoint all[N], rest[N];
        bool keep[N], again[N];
        size_t n = 0, good = 0;
        int64_t step = 3000;
        for (int i = 0; i < N; i++) {
            rng = rng * 1664525u + 1013904223u;
            step -= 1 + (rng >> 8) % 250;
            all[i] = (struct prune_checkpoint){step, (rng >> 20) % 5 != 0, (rng >> 22) % 3 ? (double)(rng >> 28) : NAN};
            good += all[i].good;
        }
        struct prune_policy policy = {2 + (int)((rng >> 9) % 3), (int)((rng >> 12) % 3), 100 * ((rng >> 15) % 6)};
        prune_choose(&policy, all, N, keep);
        for (int i = 0; i < N; i++)
            if (keep[i])
                rest[n++] = all[i];
        prune_choose(&policy, rest, n, again);
        size_t good_kept = 0;
        for (size_t i = 0; i < n; i++) {
            assert_true(again[i]);
            good_kept += rest[i].good;
        }
        assert_true(good_kept >= (good < 2 ? good : 2));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rules), cmocka_unit_test(test_damaged),
                                       cmocka_unit_test(test_again_changes_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
