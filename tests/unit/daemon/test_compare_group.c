/* Which runs are a group, what it is called, and its means and spreads against values worked out on paper. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "daemon/compare_group.h"

enum { MAX = 8 };

static size_t group_of[MAX];
static struct compare_group groups[MAX];

static size_t group(const struct compare_member *members, size_t count)
{
    size_t n = 99;
    assert_int_equal(compare_groups(members, count, group_of, groups, &n, NULL), 0);
    return n;
}

#define GROUP(...)                                                                                                     \
    group((const struct compare_member[]){__VA_ARGS__},                                                                \
          sizeof((const struct compare_member[]){__VA_ARGS__}) / sizeof(struct compare_member))
#define RUN(experiment, name, seed, best)                                                                              \
    {                                                                                                                  \
        "", experiment, name, name, seed, 10, best, best + 1, 1000 * best, 0                                           \
    }

static void check_stat(const struct compare_stat *s, size_t n, double mean, double sd)
{
    assert_int_equal(s->n, n);
    assert_true(isnan(mean) ? isnan(s->mean) : fabs(s->mean - mean) < 1e-12);
    assert_true(isnan(sd) ? isnan(s->sd) : fabs(s->sd - sd) < 1e-12);
}

static void seeds_of_one_spec_are_a_group(void **state)
{
    (void)state;
    assert_int_equal(GROUP(RUN("a", "x-gelu-s1", 1, 2), RUN("b", "x-swiglu-s1", 1, 1), RUN("a", "x-gelu-s2", 2, 4),
                           RUN("b", "x-swiglu-s2", 2, 1.5), RUN("a", "x-gelu-s3", 3, 9)),
                     2);
    const size_t expected[] = {0, 1, 0, 1, 0};
    assert_memory_equal(group_of, expected, sizeof expected);
    assert_string_equal(groups[0].name, "x-gelu");
    assert_string_equal(groups[1].name, "x-swiglu");
    assert_int_equal(groups[0].runs, 3);
    assert_int_equal(groups[0].seeds, 3);
    check_stat(&groups[0].best_val, 3, 5, sqrt(13)); /* 9 + 1 + 16 over 2 */
    check_stat(&groups[0].val, 3, 6, sqrt(13));
    check_stat(&groups[0].tok_s, 3, 5000, 1000 * sqrt(13));
    check_stat(&groups[1].best_val, 2, 1.25, 0.5 / sqrt(2));
}

static void one_run_has_no_spread(void **state)
{
    (void)state;
    assert_int_equal(GROUP(RUN("a", "x-s1", 1, 2), RUN("", "import", -1, 3), RUN("", "import-2", -1, 4)), 3);
    assert_string_equal(groups[0].name, "x-s1");
    check_stat(&groups[0].best_val, 1, 2, NAN);
    check_stat(&groups[2].best_val, 1, 4, NAN);
}

static void a_seed_counts_once(void **state)
{
    (void)state;
    struct compare_member again[] = {RUN("a", "x", 1, 2), RUN("a", "y", 1, 4), RUN("a", "z", 2, 6),
                                     RUN("a", "w", 2, 8)};
    again[1].step = 9; /* x came further */
    assert_int_equal(group(again, 4), 1);
    assert_int_equal(groups[0].runs, 4);
    assert_int_equal(groups[0].seeds, 2);
    check_stat(&groups[0].best_val, 2, 5, 3 * sqrt(2)); /* of 2 and 8 */
    assert_string_equal(groups[0].name, "x");
}

static void what_is_not_finite_does_not_count(void **state)
{
    (void)state;
    assert_int_equal(GROUP(RUN("a", "x-s1", 1, NAN), RUN("a", "x-s2", 2, 2), RUN("a", "x-s3", 3, INFINITY)), 1);
    assert_int_equal(groups[0].seeds, 3);
    check_stat(&groups[0].best_val, 1, 2, NAN);
    assert_int_equal(GROUP(RUN("a", "x-s1", 1, NAN)), 1);
    check_stat(&groups[0].best_val, 0, NAN, NAN);
}

static void a_close_race_keeps_its_digits(void **state)
{
    (void)state;
    assert_int_equal(GROUP(RUN("a", "x-s1", 1, 1e8 + 1), RUN("a", "x-s2", 2, 1e8 + 2), RUN("a", "x-s3", 3, 1e8 + 3)),
                     1);
    check_stat(&groups[0].best_val, 3, 1e8 + 2, 1);
}

/* A name is shortened only where each ends in its own seed, behind one and the same beginning. */
static void names(void **state)
{
    (void)state;
    GROUP(RUN("a", "x-s12", 12, 1), RUN("a", "x-s3", 3, 1));
    assert_string_equal(groups[0].name, "x");
    GROUP(RUN("a", "x-s1", 1, 1), RUN("a", "y-s2", 2, 1));
    assert_string_equal(groups[0].name, "x-s1");
    GROUP(RUN("a", "x-s1", 1, 1), RUN("a", "x-s1", 2, 1));
    assert_string_equal(groups[0].name, "x-s1");
    GROUP(RUN("a", "-s1", 1, 1), RUN("a", "-s2", 2, 1));
    assert_string_equal(groups[0].name, "-s1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_of_one_spec_are_a_group),
        cmocka_unit_test(one_run_has_no_spread),
        cmocka_unit_test(a_seed_counts_once),
        cmocka_unit_test(what_is_not_finite_does_not_count),
        cmocka_unit_test(a_close_race_keeps_its_digits),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
