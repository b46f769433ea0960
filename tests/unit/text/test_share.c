/* test_share.c: shares are exact where doubles are not, and what is no share is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/err.h"
#include "text/share.h"

static void test_exact(void **state)
{
    static const struct {
        const char *text;
        uint64_t n, part;
    } cases[] = {
        {"0.29", 100, 29},
        {".29", 100, 29},
        {"29e-2", 100, 29},
        {"0.0029E+2", 100, 29},
        {"00.290000000000000000000000000000", 100, 29},
        {"2900000000000000000000000e-25", 100, 29},
        {"0.57", 100, 57},
        {"0.1", 30, 3},
        {"0.1", 29, 2},
        {"0.05", 1999, 99},
        {"0", UINT64_MAX, 0},
        {"0.", 10, 0},
        {"0e99", 10, 0},
        {"0e-99", 10, 0},
        {"0.999999999999999999", 1000000000000000000, 999999999999999999},
        {"0.999999999999999999", UINT64_MAX, 18446744073709551596u},
        {"1e-18", 999999999999999999, 0},
        {"0.5", UINT64_MAX, UINT64_MAX / 2},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct share share;
        struct err err = {0};
        if (share_parse(cases[i].text, &share, &err) < 0)
            fail_msg("%s", err.message);
        if (share_of(share, cases[i].n) != cases[i].part)
            fail_msg("%s of %llu: %llu", cases[i].text, (unsigned long long)cases[i].n,
                     (unsigned long long)share_of(share, cases[i].n));
    }
    assert_int_equal(share_of((struct share){0}, 1000), 0);
}

static void test_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "1",
        "1.0",
        "-0",
        "-0.1",
        "+0.1",
        "5%",
        "nan",
        "inf",
        "1e400",
        "1e-400",
        "1e-19",
        ".",
        "e-1",
        ".e-1",
        "0x",
        "0x1p-2",
        "0.1 ",
        " 0.1",
        "0,1",
        "0.1.",
        "0.5e1",
        "0.5e",
        "0.5e+-1",
        "1/10",
        "10e0",
        "0.99e99999999999",
        "0.1234567890123456789",
        "1e-99999999999999999999",
        "99999999999999999999999999999999999999",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct share share = {7, 7};
        struct err err = {0};
        if (share_parse(bad[i], &share, &err) != -ERR_INVALID)
            fail_msg("\"%s\" is taken", bad[i]);
        assert_true(share.part == 7 && share.whole == 7);
        assert_non_null(strstr(err.message, "at least 0 and below 1"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
