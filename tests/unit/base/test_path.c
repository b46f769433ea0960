/* test_path.c: names, the state directory and sibling programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "base/path.h"

static void test_names(void **state)
{
    (void)state;
    char long_name[70];
    memset(long_name, 'a', sizeof long_name);
    long_name[64] = 0;
    assert_true(name_is_valid(long_name));
    long_name[64] = 'a';
    long_name[65] = 0;
    assert_false(name_is_valid(long_name));
    assert_true(name_is_valid("a"));
    assert_true(name_is_valid("0.a_B-c"));
    static const char *const bad[] = {"", ".", "..", ".a", "-a", "_a", "a/b", "a b", "a\n", "\xc3\xa9", "a\x7f", "a*"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(name_is_valid(bad[i]));
    assert_false(name_is_valid(NULL));
}

static void test_format(void **state)
{
    struct err err = {0};
    char out[PATH_SIZE] = "as it was", *large = malloc(PATH_SIZE + 1);
    (void)state;
    assert_non_null(large);
    memset(large, 'x', PATH_SIZE);
    large[PATH_SIZE] = 0;
    assert_int_equal(path_format(out, &err, "%s", large), -ERR_TOO_LARGE);
    assert_string_equal(out, "as it was");
    large[PATH_SIZE - 1] = 0;
    assert_int_equal(path_format(out, &err, "%s", large), 0);
    assert_int_equal(strlen(out), PATH_SIZE - 1);
    free(large);
}

static void test_home(void **state)
{
    struct err err = {0};
    char out[PATH_SIZE], cwd[PATH_SIZE], expected[2 * PATH_SIZE];
    (void)state;
    assert_non_null(getcwd(cwd, sizeof cwd));
    setenv("BAKA_HOME", "/from/env/", 1);
    setenv("XDG_STATE_HOME", "/state", 1);
    setenv("HOME", "/home/someone", 1);
    assert_int_equal(path_home("/flag", out, &err), 0);
    assert_string_equal(out, "/flag");
    assert_int_equal(path_home("relative/dir", out, &err), 0);
    snprintf(expected, sizeof expected, "%s/relative/dir", strcmp(cwd, "/") == 0 ? "" : cwd);
    assert_string_equal(out, expected);
    assert_int_equal(path_home(NULL, out, &err), 0);
    assert_string_equal(out, "/from/env");
    assert_int_equal(path_home("", out, &err), -ERR_INVALID);
    assert_string_equal(err.path, "--home");
    setenv("BAKA_HOME", "", 1);
    assert_int_equal(path_home(NULL, out, &err), 0);
    assert_string_equal(out, "/state/baka");
    unsetenv("BAKA_HOME");
    assert_int_equal(path_home(NULL, out, &err), 0);
    assert_string_equal(out, "/state/baka");
    setenv("XDG_STATE_HOME", "not/absolute", 1);
    assert_int_equal(path_home(NULL, out, &err), 0);
    assert_string_equal(out, "/home/someone/.local/state/baka");
    unsetenv("XDG_STATE_HOME");
    unsetenv("HOME");
    assert_int_equal(path_home(NULL, out, &err), -ERR_INVALID);
}

static void test_siblings(void **state)
{
    struct err err = {0};
    char dir[PATH_SIZE], out[PATH_SIZE];
    (void)state;
    assert_int_equal(path_self_dir(dir, &err), 0);
    assert_int_equal(path_sibling_program("test_base_path", out, &err), 0);
    assert_int_equal(strncmp(out, dir, strlen(dir)), 0);
    assert_int_equal(path_sibling_program("no-such-program", out, &err), -ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "no-such-program"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_home),
        cmocka_unit_test(test_siblings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
