/* Precedence of flag, environment, file and default; every kind of wrong value from each source. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/err.h"
#include "daemon/config.h"

static char home[64];
static const char *environment[16][2];

static char *fake_getenv(const char *name)
{
    for (int i = 0; i < 16 && environment[i][0] != NULL; i++)
        if (strcmp(environment[i][0], name) == 0)
            return (char *)(uintptr_t)environment[i][1];
    return NULL;
}

static void set_env(const char *name, const char *value)
{
    int i = 0;
    while (environment[i][0] != NULL && strcmp(environment[i][0], name) != 0)
        i++;
    environment[i][0] = name;
    environment[i][1] = value;
}

static void write_config(const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/config.json", home);
    unlink(path);
    if (text == NULL)
        return;
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int setup(void **state)
{
    (void)state;
    memset(environment, 0, sizeof environment);
    strcpy(home, "/tmp/baka-config-XXXXXX");
    assert_non_null(mkdtemp(home));
    set_env("BAKA_HOME", home);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    write_config(NULL);
    return rmdir(home);
}

static int load(struct config *c, struct err *err, int n, const char *const *args)
{
    char *argv[16] = {(char *)(uintptr_t) "bakad"};
    for (int i = 0; i < n; i++)
        argv[i + 1] = (char *)(uintptr_t)args[i];
    return config_load(n + 1, argv, fake_getenv, c, err);
}
#define LOAD(c, err, ...) \
    load(c, err, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), (const char *[]){__VA_ARGS__})

static void test_precedence(void **state)
{
    (void)state;
    struct config c;
    struct err err = {0};
    assert_int_equal(LOAD(&c, &err, "--log-level", "warn"), 0);
    assert_true(c.cpu_slots >= 1);
    assert_int_equal(c.cancel_grace_s, 30);
    assert_int_equal(c.log_level, LOG_LEVEL_WARN);
    assert_string_equal(c.home, home);
    write_config("{\"cpu_slots\": 3, \"worker\": \"/file\", \"log_level\": \"error\"}");
    assert_int_equal(LOAD(&c, &err, "--worker=/flag"), 0);
    assert_int_equal(c.cpu_slots, 3);
    assert_string_equal(c.worker, "/flag");
    assert_int_equal(c.log_level, LOG_LEVEL_ERROR);
    set_env("BAKA_CPU_SLOTS", "5");
    set_env("BAKA_WORKER", "");
    assert_int_equal(LOAD(&c, &err, "--keep-checkpoints", "4"), 0);
    assert_int_equal(c.cpu_slots, 5);
    assert_string_equal(c.worker, "/file");
    assert_int_equal(c.keep_checkpoints, 4);
    assert_int_equal(LOAD(&c, &err, "--cpu-slots", "7"), 0);
    assert_int_equal(c.cpu_slots, 7);
    assert_int_equal(LOAD(&c, &err, "--home", "/elsewhere"), 0);
    assert_string_equal(c.home, "/elsewhere");
    assert_string_equal(c.file, "/elsewhere/config.json");
}

static void expect_bad(const char *text, const char *path_part, const char *message_part)
{
    struct config c = {.cpu_slots = -7};
    struct err err = {0};
    write_config(text);
    assert_int_not_equal(LOAD(&c, &err, "--log-level", "warn"), 0);
    assert_int_equal(c.cpu_slots, -7); /* outputs untouched */
    if (strstr(err.path, path_part) == NULL || strstr(err.message, message_part) == NULL)
        fail_msg("%s: got path \"%s\" message \"%s\"", text, err.path, err.message);
    assert_true(config_is_usage_error(&err));
}

static void test_bad_file(void **state)
{
    (void)state;
    expect_bad("{\"cpu_slot\": 3}", "cpu_slot", "\"cpu_slots\"");
    expect_bad("{\"home\": \"/x\"}", "home", "unknown key");
    expect_bad("{\"cpu_slots\": 0}", "cpu_slots", "from 1");
    expect_bad("{\"cpu_slots\": 1.5}", "cpu_slots", "whole number");
    expect_bad("{\"cpu_slots\": \"2\"}", "cpu_slots", "must be a number");
    expect_bad("{\"worker\": 2}", "worker", "must be a string");
    expect_bad("{\"worker\": \"\"}", "worker", "empty");
    expect_bad("{\"log_level\": \"loud\"}", "log_level", "none of");
    expect_bad("[]", "", "object");
    expect_bad("{", "", "");
    expect_bad("", "", "");
    expect_bad("{\"cpu_slots\": 1, \"cpu_slots\": 2}", "", "");
    expect_bad("{\"keep_checkpoints\": 1}", "keep_checkpoints", "from 2");
}

static void test_bad_arguments(void **state)
{
    (void)state;
    struct config c;
    struct err err = {0};
    assert_int_not_equal(LOAD(&c, &err, "--cpu-slot", "3"), 0);
    assert_non_null(strstr(err.message, "--cpu-slots"));
    assert_true(config_is_usage_error(&err));
    assert_int_not_equal(LOAD(&c, &err, "--cpu-slots"), 0);
    assert_true(config_is_usage_error(&err));
    assert_int_not_equal(LOAD(&c, &err, "--cpu-slots", "99999999999999999999"), 0);
    assert_true(config_is_usage_error(&err));
    assert_int_not_equal(LOAD(&c, &err, "--cpu-slots", "2x"), 0);
    assert_int_not_equal(LOAD(&c, &err, "serve"), 0);
    assert_true(config_is_usage_error(&err));
    assert_int_not_equal(LOAD(&c, &err, "--home", ""), 0);
    assert_int_equal(LOAD(&c, &err, "--config", "/nonexistent/x.json"), -ERR_NOT_FOUND);
    assert_false(config_is_usage_error(&err));
    set_env("BAKA_CPU_SLOTS", "-1");
    assert_int_not_equal(LOAD(&c, &err, "--log-level", "info"), 0);
    assert_string_equal(err.path, "BAKA_CPU_SLOTS");
    assert_int_equal(LOAD(&c, &err, "--cpu-slots", "2", "--version"), 0);
    assert_int_equal(c.action, CONFIG_VERSION);
    assert_int_equal(LOAD(&c, &err, "-h"), 0);
    assert_int_equal(c.action, CONFIG_HELP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_precedence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_arguments, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
