/* test_args.c: command lines, right and wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "cli/args.h"

static const struct args_option globals[] = {
    {"--home", 0, "DIR", "", false},
    {"--json", 0, NULL, "", false},
    {NULL, 0, NULL, NULL, false},
};

static const struct args_option own[] = {
    {"--output", 'o', "NAME", "", false}, {"--set", 0, "PATH=VALUE", "", true}, {"--follow", 'f', NULL, "", false},
    {"--seeds", 0, "N", "", false},       {"--share", 0, "F", "", false},       {NULL, 0, NULL, NULL, false},
};

static const struct args_option *const tables[] = {globals, own, NULL};

enum { ARGUMENTS_MAX = 16 };

/* Splits at blanks (a text of the test's) and parses. */
static int parse(const char *line, struct args *a, int *consumed, bool stop, struct err *err)
{
    static char copies[8][256];
    static int turn;
    char *copy = copies[turn++ % 8], *argv[ARGUMENTS_MAX], *rest;
    int argc = 0;
    strcpy(copy, line);
    for (char *w = strtok_r(copy, " ", &rest); w; w = strtok_r(NULL, " ", &rest))
        argv[argc++] = w;
    return args_parse(argc, argv, tables, stop, a, consumed, err);
}

static void test_mixed(void **state)
{
    (void)state;
    struct args a = {0};
    struct err err = {0};
    assert_int_equal(parse("spec.json --set a=1 --home=/x -o name --set=b=2 - -f -- --set", &a, NULL, false, &err), 0);
    assert_int_equal(a.positional_count, 3);
    assert_string_equal(a.positional[0], "spec.json");
    assert_string_equal(a.positional[1], "-");
    assert_string_equal(a.positional[2], "--set");
    assert_int_equal(args_count(&a, "--set"), 2);
    assert_string_equal(args_value_at(&a, "--set", 0), "a=1");
    assert_string_equal(args_value_at(&a, "--set", 1), "b=2");
    assert_null(args_value_at(&a, "--set", 2));
    assert_string_equal(args_value(&a, "--home"), "/x");
    assert_string_equal(args_value(&a, "--output"), "name");
    assert_true(args_flag(&a, "--follow"));
    assert_false(args_flag(&a, "--json"));
    args_finish(&a);
    assert_int_equal(parse("-oname", &a, NULL, false, &err), 0);
    assert_string_equal(args_value(&a, "--output"), "name");
    args_finish(&a);
}

/* Global options before a verb and after it meet in one struct. */
static void test_two_parts(void **state)
{
    (void)state;
    struct args a = {0};
    struct err err = {0};
    int consumed = 0;
    assert_int_equal(parse("--home /x submit --json", &a, &consumed, true, &err), 0);
    assert_int_equal(consumed, 2);
    assert_int_equal(a.positional_count, 0);
    assert_int_equal(parse("--json spec", &a, &consumed, false, &err), 0);
    assert_string_equal(args_value(&a, "--home"), "/x");
    assert_true(args_flag(&a, "--json"));
    assert_int_equal(parse("--home /y", &a, &consumed, false, &err), -ERR_INVALID);
    args_finish(&a);
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"--sett a=1", "did you mean --set?"},   {"--jsno", "did you mean --json?"},
        {"--zzzzzz", "unknown option --zzzzzz"}, {"-z", "unknown option -z"},
        {"--json=1", "takes no value"},          {"--output", "needs a value: NAME"},
        {"-o", "-o needs a value: NAME"},        {"-o a -o b", "given twice"},
        {"--home --json", "needs a value"},      {"-fx", "one by one"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct args a = {0};
        struct err err = {0};
        assert_int_equal(parse(cases[i][0], &a, NULL, false, &err), -ERR_INVALID);
        if (!strstr(err.message, cases[i][1]))
            fail_msg("%s: %s", cases[i][0], err.message);
        args_finish(&a);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    static const char *const bad[] = {"0", "101", "1x", "99999999999999999999", "1.5", "nan", "0x10"};
    struct args a = {0};
    struct err err = {0};
    int64_t n = 7;
    double f = 0.5;
    assert_int_equal(args_int64(&a, "--seeds", 1, 100, &n, &err), 0);
    assert_int_equal(n, 7);
    assert_int_equal(parse("--seeds 42 --share 0.25", &a, NULL, false, &err), 0);
    assert_int_equal(args_int64(&a, "--seeds", 1, 100, &n, &err), 0);
    assert_int_equal(n, 42);
    assert_int_equal(args_double(&a, "--share", 0, 1, &f, &err), 0);
    assert_true(f == 0.25);
    args_finish(&a);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char line[64] = "--seeds ";
        strcat(line, bad[i]);
        assert_int_equal(parse(line, &a, NULL, false, &err), 0);
        assert_int_equal(args_int64(&a, "--seeds", 1, 100, &n, &err), -ERR_INVALID);
        args_finish(&a);
    }
    static const char *const bad_shares[] = {"1", "-0.1", "nan", "inf", "1e400", "x", "0.5x"};
    for (size_t i = 0; i < sizeof bad_shares / sizeof *bad_shares; i++) {
        char line[64] = "--share ";
        strcat(line, bad_shares[i]);
        assert_int_equal(parse(line, &a, NULL, false, &err), 0);
        assert_int_equal(args_double(&a, "--share", 0, 1, &f, &err), -ERR_INVALID);
        args_finish(&a);
    }
    assert_int_equal(n, 42);
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const names[] = {"submit", "status", "show", "steps", "compare", "list", NULL};
    assert_string_equal(args_nearest("sumbit", names), "submit");
    assert_string_equal(args_nearest("comp", names), "compare");
    assert_string_equal(args_nearest("staus", names), "status");
    assert_null(args_nearest("frobnicate", names));
    char huge[500];
    memset(huge, 'a', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    assert_null(args_nearest(huge, names));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixed),   cmocka_unit_test(test_two_parts), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
