/* test_text_pieces.c: the separator and the check for UTF-8 say the same however the text is fed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/philox.h"
#include "text/separator.h"
#include "text/utf8.h"

struct documents {
    unsigned char text[4096];
    size_t size, ends[512], count;
};

static int collect(void *arg, const unsigned char *text, size_t size, bool ends, struct err *err)
{
    struct documents *d = arg;
    (void)err;
    memcpy(d->text + d->size, text, size);
    d->size += size;
    if (ends)
        d->ends[d->count++] = d->size;
    return 0;
}

static void split_plainly(const unsigned char *text, size_t size, const char *string, struct documents *d)
{
    size_t n = strlen(string), at = 0;
    for (;;) {
        const unsigned char *found = memmem(text + at, size - at, string, n);
        size_t end = found ? (size_t)(found - text) : size;
        collect(d, text + at, end - at, true, NULL);
        if (!found)
            return;
        at = end + n;
    }
}

static void test_separator(void **state)
{
    (void)state;
    static const char *const strings[] = {"a", "ab", "aa", "aab", "abab", "aabaaab", "abcabcabd"};
    struct philox random;
    philox_init(&random, 1, "test", "text");
    for (int round = 0; round < 4000; round++) {
        const char *string = strings[philox_below(&random, sizeof strings / sizeof *strings)];
        static struct documents whole, fed;
        unsigned char text[200];
        size_t size = philox_below(&random, sizeof text), letters = 1 + philox_below(&random, 4);
        for (size_t i = 0; i < size; i++)
            text[i] = (unsigned char)('a' + philox_below(&random, letters));
        whole = fed = (struct documents){0};
        split_plainly(text, size, string, &whole);
        struct separator *s = separator_create(string);
        for (size_t at = 0, n; at < size; at += n) {
            n = 1 + philox_below(&random, round % 2 ? 3 : size);
            n = n < size - at ? n : size - at;
            assert_int_equal(separator_feed(s, text + at, n, collect, &fed, NULL), 0);
        }
        assert_int_equal(separator_end(s, collect, &fed, NULL), 0);
        separator_destroy(s);
        assert_int_equal(fed.count, whole.count);
        assert_int_equal(fed.size, whole.size);
        assert_memory_equal(fed.text, whole.text, whole.size + 1);
        assert_memory_equal(fed.ends, whole.ends, whole.count * sizeof *whole.ends);
    }
}

static int stop(void *arg, const unsigned char *text, size_t size, bool ends, struct err *err)
{
    (void)text, (void)size, (void)ends;
    ++*(int *)arg;
    return err_set(err, ERR_NO_SPACE, "full");
}

static void test_separator_stops(void **state)
{
    (void)state;
    struct separator *s = separator_create("--");
    int calls = 0;
    assert_int_equal(separator_feed(s, (const unsigned char *)"a--b--c", 7, stop, &calls, NULL), -ERR_NO_SPACE);
    assert_int_equal(calls, 1);
    separator_destroy(s);
}

static void test_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t size;
        int valid; /* -1: to the end; else the place of the first bad one */
    } cases[] = {
        {"", 0, -1},
        {"plain", 5, -1},
        {"a\0b", 3, -1},
        {"\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf", 13, -1},
        {"0123456789abcdef\xff", 17, 16},
        {"0123456\xc3", 8, 7},
        {"ab\xc3(", 4, 2},
        {"ab\xe2\x82", 4, 2},
        {"ab\xe2\x82x", 5, 2},
        {"\xc0\xaf", 2, 0},
        {"\xed\xa0\x80", 3, 0},     /* a surrogate */
        {"\xf4\x90\x80\x80", 4, 0}, /* beyond U+10FFFF */
        {"\xe4\xbd\xa0\x80", 4, 3}, /* a continuation too many */
        {"\xf0\x9f\x98\x80\xf0\x9f", 6, 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t step = 1; step <= cases[i].size + 1; step++) {
            struct utf8_check u = {0};
            int valid = 1;
            for (size_t at = 0; valid && at < cases[i].size; at += step) {
                size_t n = cases[i].size - at < step ? cases[i].size - at : step;
                valid = utf8_check_feed(&u, (const unsigned char *)cases[i].text + at, n);
            }
            valid = valid && utf8_check_end(&u);
            assert_int_equal(valid, cases[i].valid < 0);
            assert_int_equal(u.valid, valid ? cases[i].size : (size_t)cases[i].valid);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_separator),
        cmocka_unit_test(test_separator_stops),
        cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
