/* test_log.c: one record, one line, whatever it holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "base/log.h"

/* What log_event writes to standard error, caught in a file. */
static void caught(char *out, size_t size, enum log_level level, const char *text)
{
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO);
    assert_non_null(file);
    assert_true(saved >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    log_event(level, "event", "text=%s", text);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(file);
    size_t n = fread(out, 1, size - 1, file);
    out[n] = 0;
    fclose(file);
}

static void test_record(void **state)
{
    char line[8192];
    (void)state;
    caught(line, sizeof line, LOG_LEVEL_WARN, "a\nb\tc\x01");
    assert_non_null(strstr(line, "Z warn event text=a\\nb\\tc\\x01\n"));
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    caught(line, sizeof line, LOG_LEVEL_DEBUG, "x");
    assert_string_equal(line, "");
    log_set_level(LOG_LEVEL_DEBUG);
    caught(line, sizeof line, LOG_LEVEL_DEBUG, "x");
    assert_non_null(strstr(line, " debug event text=x\n"));
    log_set_level(LOG_LEVEL_ERROR);
    caught(line, sizeof line, LOG_LEVEL_WARN, "x");
    assert_string_equal(line, "");
}

static void test_long_record(void **state)
{
    static char text[10000], line[20000];
    (void)state;
    memset(text, 1, sizeof text - 1);
    caught(line, sizeof line, LOG_LEVEL_ERROR, text);
    assert_true(strlen(line) <= 4096);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void test_levels(void **state)
{
    enum log_level level = LOG_LEVEL_INFO;
    (void)state;
    assert_int_equal(log_level_parse("error", &level), 0);
    assert_int_equal(level, LOG_LEVEL_ERROR);
    assert_int_equal(log_level_parse("Error", &level), -ERR_INVALID);
    assert_int_equal(log_level_parse(NULL, &level), -ERR_INVALID);
    assert_int_equal(level, LOG_LEVEL_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_record), cmocka_unit_test(test_long_record),
                                       cmocka_unit_test(test_levels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
