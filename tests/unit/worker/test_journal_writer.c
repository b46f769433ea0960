/* The journal writer: one record a line, one file an attempt, and a full disk that loses no record and cuts none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/err.h"
#include "base/file.h"
#include "base/path.h"
#include "worker/journal_writer.h"

static char dir[PATH_SIZE], path[PATH_SIZE + 16];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test_journal.XXXXXX");
    if (!mkdtemp(dir))
        return 1;
    snprintf(path, sizeof path, "%s/journal", dir);
    signal(SIGXFSZ, SIG_IGN);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL);
}

static struct journal_record step_record(int64_t step)
{
    struct journal_record r = {.kind = JOURNAL_STEP};
    r.step = (struct journal_step){.step = step,
                                   .tokens = 1024 * step,
                                   .epoch = (double)step / 3,
                                   .loss = 1.0 / (double)step,
                                   .lr = 1e-3,
                                   .grad_norm = 0.7,
                                   .ms = 3.25,
                                   .tok_s = 12345.5};
    return r;
}

static struct journal_record end_record(void)
{
    struct journal_record r = {.kind = JOURNAL_END};
    r.end.reason = END_DISK_FULL;
    r.end.step = 5;
    memset(r.end.text, 'x', sizeof r.end.text - 1);
    return r;
}

/* Parses the whole file: every line a record, the last one ending in a newline. Returns the number of steps, and
 * whether the last record is an `end`. */
static int64_t read_back(int *ended)
{
    char *text;
    size_t size;
    struct err err;
    assert_int_equal(file_read_all(path, 1 << 28, &text, &size, &err), 0);
    int64_t steps = 0;
    *ended = 0;
    for (char *line = text; line < text + size;) {
        char *newline = memchr(line, '\n', (size_t)(text + size - line));
        assert_non_null(newline);
        struct journal_record r;
        assert_int_equal(journal_parse(line, (size_t)(newline - line), &r, &err), 0);
        assert_int_equal(*ended, 0);
        if (r.kind == JOURNAL_STEP) {
            steps++;
            struct journal_record want = step_record(steps);
            assert_int_equal(r.step.step, steps);
            assert_memory_equal(&r.step.loss, &want.step.loss, sizeof(double));
            assert_memory_equal(&r.step.epoch, &want.step.epoch, sizeof(double));
        } else {
            assert_int_equal(r.kind, JOURNAL_END);
            *ended = 1;
        }
        line = newline + 1;
    }
    free(text);
    return steps;
}

static void test_records(void **state)
{
    (void)state;
    struct journal_writer *w, *again;
    struct err err;
    int ended;
    assert_int_equal(journal_writer_open(path, &w, &err), 0);
    for (int64_t i = 1; i <= 5000; i++) {
        struct journal_record r = step_record(i);
        assert_int_equal(journal_writer_append(w, &r, &err), 0);
    }
    assert_int_equal(journal_writer_sync(w, &err), 0);
    assert_int_equal(read_back(&ended), 5000); /* visible to a reader while the writer is alive */
    struct journal_record end = end_record();
    assert_int_equal(journal_writer_append(w, &end, &err), 0);
    assert_int_equal(journal_writer_open(path, &again, &err), -ERR_CONFLICT);
    journal_writer_close(w);
    assert_int_equal(read_back(&ended), 5000);
    assert_int_equal(ended, 1);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_blocks * 512 < st.st_size + (64 << 10)); /* the space set aside was given back */
}

/* With every limit up to some records more than an end record's room: what was accepted is there, whole, and the end
 * record has its place. */
static void test_file_size_limit(void **state)
{
    (void)state;
    struct rlimit old;
    getrlimit(RLIMIT_FSIZE, &old);
    for (rlim_t limit = JOURNAL_LINE_MAX; limit < JOURNAL_LINE_MAX + 2000; limit += 97) {
        struct journal_writer *w;
        struct err err = {0};
        struct rlimit small = {.rlim_cur = limit, .rlim_max = old.rlim_max};
        setrlimit(RLIMIT_FSIZE, &small);
        unlink(path);
        assert_int_equal(journal_writer_open(path, &w, &err), 0);
        int64_t accepted = 0;
        int rc;
        do {
            struct journal_record r = step_record(accepted + 1);
            rc = journal_writer_append(w, &r, &err);
            if (rc == 0)
                accepted++;
        } while (rc == 0 && accepted < 1000);
        struct journal_record r = step_record(accepted + 1), end = end_record();
        int again = journal_writer_append(w, &r, &err);
        int ended_rc = journal_writer_append(w, &end, &err);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(rc, -ERR_NO_SPACE);
        assert_int_equal(again, -ERR_NO_SPACE);
        assert_int_equal(ended_rc, 0);
        journal_writer_close(w);
        int ended;
        assert_int_equal(read_back(&ended), accepted);
        assert_int_equal(ended, 1);
    }
}

/* A limit that the writer could not foresee (it changes after the open) cuts a write short: the part is taken back. */
static void test_short_write(void **state)
{
    (void)state;
    struct rlimit old;
    getrlimit(RLIMIT_FSIZE, &old);
    for (rlim_t extra = 0; extra < 100; extra += 7) {
        struct journal_writer *w;
        struct err err = {0};
        struct stat st;
        unlink(path);
        assert_int_equal(journal_writer_open(path, &w, &err), 0);
        for (int64_t i = 1; i <= 3; i++) {
            struct journal_record r = step_record(i);
            assert_int_equal(journal_writer_append(w, &r, &err), 0);
        }
        assert_int_equal(stat(path, &st), 0);
        struct rlimit small = {.rlim_cur = (rlim_t)st.st_size + extra, .rlim_max = old.rlim_max};
        struct journal_record r = step_record(4);
        char line[JOURNAL_LINE_MAX];
        assert_true(journal_print(&r, line) > 100);
        setrlimit(RLIMIT_FSIZE, &small);
        int rc = journal_writer_append(w, &r, &err);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(rc, -ERR_NO_SPACE);
        assert_int_equal(journal_writer_append(w, &r, &err), -ERR_NO_SPACE); /* room again, but the attempt is over */
        int ended;
        assert_int_equal(read_back(&ended), 3);
        struct journal_record end = end_record();
        assert_int_equal(journal_writer_append(w, &end, &err), 0);
        assert_int_equal(read_back(&ended), 3);
        assert_int_equal(ended, 1);
        journal_writer_close(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_records, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_file_size_limit, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_short_write, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
