/* test_health.c: when the device's health is written, and that a device which tells nothing leaves no trace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/file.h"
#include "kernels/backend.h"
#include "worker/health.h"
#include "worker/journal_writer.h"

static char dir[64], path[96];
static int looks;
static bool tells;

static bool look(struct backend *b, struct gpu_health *out)
{
    (void)b;
    looks++;
    *out = gpu_health_unknown;
    out->temperature_c = 40 + looks;
    return tells;
}

static const struct backend_ops ops = {.name = "fake", .health = look};
static struct backend backend = {.ops = &ops};

static struct health start(void)
{
    struct health h = {.backend = &backend};
    strcpy(dir, "/tmp/baka-health-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/journal", dir);
    assert_int_equal(journal_writer_open(path, &h.journal, NULL), 0);
    looks = 0;
    return h;
}

/* How many records there are; the last one in *out. */
static int finish(struct health *h, struct journal_record *out)
{
    char *text;
    size_t size;
    int count = 0;
    journal_writer_close(h->journal);
    assert_int_equal(file_read_all(path, 1 << 20, &text, &size, NULL), 0);
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1, count++)
        assert_int_equal(journal_parse(line, (size_t)(end - line), out, NULL), 0);
    free(text);
    assert_int_equal(file_remove_tree(dir, NULL), 0);
    return count;
}

static void test_now_and_then(void **state)
{
    const int64_t second = 1000000, begin = 77 * second;
    struct health h = start();
    struct journal_record r;
    (void)state;
    tells = true;
    assert_int_equal(health_record(&h, 0, begin, NULL), 0);
    for (int64_t i = 1; i <= 100; i++) /* a step a second */
        assert_int_equal(health_record_if_due(&h, i, begin + i * second, NULL), 0);
    assert_int_equal(looks, 1 + 100 / HEALTH_SECONDS);
    assert_int_equal(health_record(&h, 100, begin + 100 * second, NULL), 0);
    assert_int_equal(finish(&h, &r), 2 + 100 / HEALTH_SECONDS);
    assert_int_equal(r.kind, JOURNAL_GPU);
    assert_int_equal(r.gpu.step, 100);
    assert_int_equal(r.gpu.health.temperature_c, 40 + looks);
    assert_true(r.gpu.time_ms > INT64_C(1600000000000));
}

static void test_nothing_to_tell(void **state)
{
    struct health h = start();
    struct journal_record r;
    (void)state;
    tells = false;
    assert_int_equal(health_record(&h, 0, 1, NULL), 0);
    assert_int_equal(health_record_if_due(&h, 1, 2, NULL), 0);
    assert_int_equal(looks, 1);
    assert_int_equal(finish(&h, &r), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_now_and_then), cmocka_unit_test(test_nothing_to_tell)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
