/* Archives that are not what they say, and the table of data sets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <zip.h>
#include "base/err.h"
#include "base/file.h"
#include "base/path.h"
#include "base/sha256.h"
#include "cli/fetchable.h"
#include "cli/unpack.h"

static char dir[] = "/tmp/baka-unpack-XXXXXX";
static char archive[64];

static const struct unpack_member members[] = {{"d/a", "a.txt"}, {"d/b", "b.txt"}};

/* A zip with a and b in d, and `more`, if not NULL. */
static void write_zip(const char *more)
{
    const char *const names[] = {"d/a", "d/b", more}, *const texts[] = {"alpha", "", "more"};
    zip_t *z = zip_open(archive, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    assert_non_null(z);
    for (int i = 0; i < (more ? 3 : 2); i++) {
        zip_source_t *s = zip_source_buffer(z, texts[i], strlen(texts[i]), 0);
        assert_true(zip_file_add(z, names[i], s, 0) >= 0);
    }
    assert_int_equal(zip_close(z), 0);
}

static bool has(const char *name)
{
    char path[PATH_SIZE];
    assert_int_equal(path_format(path, NULL, "%s/%s", dir, name), 0);
    return file_exists(path);
}

static int unpack(int64_t max_bytes, int64_t *bytes, struct err *err)
{
    return unpack_zip(archive, dir, members, 2, max_bytes, "test", bytes, err);
}

static void test_good(void **state)
{
    (void)state;
    struct err err = {0};
    int64_t bytes[2];
    char path[PATH_SIZE], *text;
    size_t size;
    write_zip("d/..c../x..");
    if (unpack(5, bytes, &err))
        fail_msg("%s", err.message);
    assert_int_equal(bytes[0], 5);
    assert_int_equal(bytes[1], 0);
    assert_int_equal(path_format(path, NULL, "%s/a.txt", dir), 0);
    assert_int_equal(file_read_all(path, 100, &text, &size, NULL), 0);
    assert_string_equal(text, "alpha");
    free(text);
    assert_true(has("b.txt") && !has("d") && !has(".a.txt.new"));
    unlink(path);
}

static void test_names_that_lead_out(void **state)
{
    (void)state;
    static const char *const names[] = {"../x",  "..",   "/x",  "d/../../x", "d/..",    "a\\..\\x", "\\x",
                                        "..\\x", "C:/x", "c:x", "//x",       "d/..\\x", "./../x"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct err err = {0};
        write_zip(names[i]);
        if (unpack(100, NULL, &err) != -ERR_DAMAGED || !strstr(err.message, "leads out"))
            fail_msg("%s: %s", names[i], err.message);
        assert_false(has("a.txt") || has(".a.txt.new"));
    }
}

static void test_limit(void **state)
{
    (void)state;
    struct err err = {0};
    write_zip(NULL);
    assert_int_equal(unpack(4, NULL, &err), -ERR_TOO_LARGE);
    assert_false(has("a.txt"));
}

/* A byte that is wrong anywhere is an error of one line or does not matter for what is unpacked; never a fault. */
static void test_every_byte(void **state)
{
    (void)state;
    char *text, path[PATH_SIZE];
    size_t size;
    write_zip(NULL);
    assert_int_equal(path_format(path, NULL, "%s/a.txt", dir), 0);
    assert_int_equal(file_read_all(archive, 1 << 16, &text, &size, NULL), 0);
    for (size_t i = 0; i < size; i++) {
        struct err err = {0};
        char *out;
        size_t n;
        char right = text[i];
        FILE *f = fopen(archive, "wb");
        text[i] ^= (char)(i % 2 ? 1 : 0x80);
        assert_true(f && fwrite(text, 1, size, f) == size && fclose(f) == 0);
        text[i] = right;
        if (unpack(1000, NULL, &err)) {
            assert_true(*err.message && !strchr(err.message, '\n'));
            assert_false(has(".a.txt.new") || has(".b.txt.new"));
        } else {
            assert_int_equal(file_read_all(path, 100, &out, &n, NULL), 0);
            assert_string_equal(out, "alpha");
            free(out);
        }
    }
    free(text);
}

static void test_table(void **state)
{
    (void)state;
    assert_null(fetchable_find("wikitext"));
    assert_true(fetchable_count >= 2);
    for (size_t i = 0; i < fetchable_count; i++) {
        const struct fetchable *f = &fetchables[i];
        assert_ptr_equal(fetchable_find(f->name), f);
        assert_true(name_is_valid(f->name) && name_is_valid(f->archive) && f->bytes > 0);
        assert_int_equal(strlen(f->sha256), SHA256_HEX_SIZE - 1);
        assert_int_equal(strspn(f->sha256, "0123456789abcdef"), SHA256_HEX_SIZE - 1);
        assert_true(f->urls[0] && !f->urls[sizeof f->urls / sizeof *f->urls - 1]);
        for (const char *const *url = f->urls; *url; url++) {
            size_t n = strlen(*url), tail = strlen(f->archive);
            assert_memory_equal(*url, "https://", 8);
            assert_true(n > tail && strcmp(*url + n - tail, f->archive) == 0);
        }
        for (int p = 0; p < FETCHABLE_PARTS; p++)
            assert_true(name_is_valid(f->members[p].file) && strstr(f->members[p].member, f->members[p].file));
    }
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(archive, sizeof archive, "%s/z.zip", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),  cmocka_unit_test(test_names_that_lead_out),
        cmocka_unit_test(test_limit), cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
