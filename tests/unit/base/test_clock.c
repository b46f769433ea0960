/* test_clock.c: formats for people, and the identity of processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"

static void duration_is(double seconds, const char *expected)
{
    char text[32];
    clock_format_duration(seconds, text);
    assert_string_equal(text, expected);
}

static void test_durations(void **state)
{
    (void)state;
    duration_is(0, "0ms");
    duration_is(0.83, "830ms");
    duration_is(0.9996, "1.0s");
    duration_is(5.2, "5.2s");
    duration_is(59.96, "1m 00s");
    duration_is(247, "4m 07s");
    duration_is(3599.7, "1h 00m");
    duration_is(3 * 3600 + 5 * 60, "3h 05m");
    duration_is(26 * 3600, "1d 2h");
    duration_is(-1, "?");
    duration_is(0.0 / 0.0 * 0.0, "?");
    duration_is(1e300, "?");
}

static void test_utc(void **state)
{
    char text[32];
    (void)state;
    clock_format_utc(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    clock_format_utc(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
    clock_format_utc(1795442709123, text);
    assert_string_equal(text, "2026-11-23T14:05:09.123Z");
    clock_format_utc(INT64_MAX, text);
    assert_string_equal(text, "invalid-time");
    clock_format_utc(INT64_MIN, text);
    assert_string_equal(text, "invalid-time");
}

static void test_clocks_move(void **state)
{
    (void)state;
    int64_t before = clock_monotonic_us();
    usleep(2000);
    int64_t passed = clock_monotonic_us() - before;
    assert_in_range((uintmax_t)passed, 2000, 60000000);
    assert_true(clock_wall_ms() > INT64_C(1600000000000));
}

static void test_process_start(void **state)
{
    (void)state;
    uint64_t own = clock_process_start(getpid());
    assert_true(own > 0);
    assert_true(own == clock_process_start(getpid()));
    assert_true(clock_process_start(0) == 0);
    assert_true(clock_process_start(-1) == 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        pause();
        _exit(0);
    }
    assert_true(clock_process_start(child) >= own);
    kill(child, SIGKILL);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    assert_true(clock_process_start(child) == 0); /* a zombie is no process any more */
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_true(clock_process_start(child) == 0);
}

static void test_boot_id(void **state)
{
    char first[40], second[40];
    (void)state;
    clock_boot_id(first);
    clock_boot_id(second);
    assert_string_equal(first, second);
    assert_true(strlen(first) == 36 || strcmp(first, "unknown") == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations),     cmocka_unit_test(test_utc),     cmocka_unit_test(test_clocks_move),
        cmocka_unit_test(test_process_start), cmocka_unit_test(test_boot_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
