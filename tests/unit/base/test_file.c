/* test_file.c: whole or absent, also when the disk is full or the directory is not ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
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

static char root[] = "/tmp/baka-test-file-XXXXXX";

static const char *under(const char *name)
{
    static char path[PATH_SIZE];
    assert_int_equal(path_format(path, NULL, "%s/%s", root, name), 0);
    return path;
}

static void content_is(const char *name, const char *expected)
{
    char *text;
    size_t size;
    assert_int_equal(file_read_all(under(name), 1000, &text, &size, NULL), 0);
    assert_int_equal(size, strlen(expected));
    assert_string_equal(text, expected);
    free(text);
}

static void test_atomic_write(void **state)
{
    struct err err = {0};
    struct stat st;
    (void)state;
    assert_int_equal(file_write_atomic(under("a"), "one", 3, 0600, &err), 0);
    content_is("a", "one");
    assert_int_equal(stat(under("a"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(file_write_atomic(under("a"), "", 0, 0600, &err), 0);
    content_is("a", "");
    assert_int_equal(file_write_atomic(under("none/a"), "x", 1, 0600, &err), -ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "none/a"));
}

/* A limit on the size of files stands for the full disk: the old content stays, no temporary file is left. */
static void test_atomic_write_without_space(void **state)
{
    struct err err = {0};
    struct rlimit old, small = {.rlim_cur = 10, .rlim_max = RLIM_INFINITY};
    char large[100] = {0};
    (void)state;
    assert_int_equal(file_make_dirs(under("full"), 0700, NULL), 0);
    assert_int_equal(file_write_atomic(under("full/f"), "old", 3, 0600, NULL), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = file_write_atomic(under("full/f"), large, sizeof large, 0600, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(rc, -ERR_NO_SPACE);
    assert_int_equal(err.code, ERR_NO_SPACE);
    content_is("full/f", "old");
    assert_int_equal(unlink(under("full/f")), 0);
    assert_int_equal(rmdir(under("full")), 0); /* nothing else was in it */
}

static void test_read_limits(void **state)
{
    struct err err = {0};
    char *text = NULL;
    size_t size = 7;
    (void)state;
    assert_int_equal(file_write_atomic(under("b"), "12345", 5, 0600, NULL), 0);
    assert_int_equal(file_read_all(under("b"), 5, &text, &size, &err), 0);
    assert_int_equal(size, 5);
    free(text);
    text = NULL;
    size = 7;
    assert_int_equal(file_read_all(under("b"), 4, &text, &size, &err), -ERR_TOO_LARGE);
    assert_null(text);
    assert_int_equal(size, 7);
    assert_int_equal(file_read_all(under("absent"), 4, &text, &size, &err), -ERR_NOT_FOUND);
    assert_int_equal(file_read_all(root, 4, &text, &size, &err), -ERR_IO);
    assert_non_null(strstr(err.message, "is a directory"));
    /* no size is known beforehand: /proc, and a device without end */
    assert_int_equal(file_read_all("/proc/self/stat", 100000, &text, &size, &err), 0);
    assert_true(size > 20);
    free(text);
    assert_int_equal(file_read_all("/dev/zero", 100000, &text, &size, &err), -ERR_TOO_LARGE);
}

static void test_make_dirs(void **state)
{
    struct err err = {0};
    (void)state;
    assert_int_equal(file_make_dirs(under("x/y//z/"), 0700, &err), 0);
    assert_int_equal(file_make_dirs(under("x/y/z"), 0700, &err), 0);
    assert_int_equal(file_write_atomic(under("x/file"), "", 0, 0600, NULL), 0);
    assert_true(file_make_dirs(under("x/file/z"), 0700, &err) < 0);
    assert_true(file_exists(under("x/file")));
    assert_false(file_exists(under("x/none")));
    assert_int_equal(file_make_dirs("/", 0700, &err), 0);
}

static void test_remove_tree(void **state)
{
    struct err err = {0};
    (void)state;
    assert_int_equal(file_make_dirs(under("t/a/b"), 0700, NULL), 0);
    assert_int_equal(file_make_dirs(under("kept"), 0700, NULL), 0);
    assert_int_equal(file_write_atomic(under("kept/f"), "x", 1, 0600, NULL), 0);
    assert_int_equal(file_write_atomic(under("t/a/f"), "x", 1, 0400, NULL), 0);
    char target[PATH_SIZE];
    snprintf(target, sizeof target, "%s", under("kept"));
    assert_int_equal(symlink(target, under("t/a/link")), 0);
    assert_int_equal(file_remove_tree(under("t"), &err), 0);
    assert_false(file_exists(under("t")));
    content_is("kept/f", "x"); /* links are removed, not followed */
    assert_int_equal(symlink(target, under("t")), 0);
    assert_int_equal(file_remove_tree(under("t"), &err), 0);
    content_is("kept/f", "x");
    assert_int_equal(file_remove_tree(under("t"), &err), 0); /* absent is fine */
}

static void test_write_all_reports(void **state)
{
    struct err err = {0};
    (void)state;
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        skip();
    assert_int_equal(file_write_all(fd, "x", 1, "/dev/full", &err), -ERR_NO_SPACE);
    assert_non_null(strstr(err.message, "/dev/full"));
    close(fd);
}

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    return file_remove_tree(root, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_atomic_write), cmocka_unit_test(test_atomic_write_without_space),
        cmocka_unit_test(test_read_limits),  cmocka_unit_test(test_make_dirs),
        cmocka_unit_test(test_remove_tree),  cmocka_unit_test(test_write_all_reports),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
