/* test_tokenizer.c: bytes are themselves; anything else is refused with what is allowed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "text/tokenizer.h"

struct collected {
    int32_t ids[20000];
    size_t n;
    uint64_t text_bytes;
    size_t stop_after, documents;
};

static int collect(void *arg, const int32_t *ids, size_t n, uint64_t text_bytes, bool last, struct err *err)
{
    struct collected *c = arg;
    c->documents += last;
    if (n == 0)
        return 0;
    if (c->n + n > c->stop_after)
        return err_set(err, ERR_NO_SPACE, "full");
    memcpy(c->ids + c->n, ids, n * sizeof *ids);
    c->n += n;
    c->text_bytes += text_bytes;
    return 0;
}

static void test_bytes(void **state)
{
    (void)state;
    static unsigned char text[20000];
    static struct collected c;
    c = (struct collected){.stop_after = 20000};
    struct tokenizer *t = NULL;
    struct err err = {0};
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (unsigned char)(i * 31 + i / 256);
    assert_int_equal(tokenizer_open("bytes", 1, &t, &err), 0);
    assert_string_equal(tokenizer_about(t)->name, "bytes");
    assert_int_equal(tokenizer_about(t)->vocab, 256);
    assert_int_equal(tokenizer_about(t)->end_of_text, -1);
    assert_null(tokenizer_about(t)->file);
    assert_int_equal(tokenizer_feed(t, text, 1, collect, &c, &err), 0);
    assert_int_equal(tokenizer_feed(t, text + 1, sizeof text - 1, collect, &c, &err), 0);
    assert_int_equal(tokenizer_end_document(t, collect, &c, &err), 0);
    assert_int_equal(tokenizer_flush(t, collect, &c, &err), 0);
    assert_int_equal(c.n, sizeof text);
    assert_int_equal(c.documents, 1);
    assert_int_equal(c.text_bytes, sizeof text);
    for (size_t i = 0; i < sizeof text; i++)
        assert_int_equal(c.ids[i], text[i]);
    c = (struct collected){.stop_after = 10000};
    assert_int_equal(tokenizer_feed(t, text, sizeof text, collect, &c, &err), -ERR_NO_SPACE);
    tokenizer_close(t);
}

static void test_refusals(void **state)
{
    (void)state;
    struct tokenizer *t = NULL;
    struct err err = {0};
    assert_int_equal(tokenizer_open("no/such/tokenizer.json", 1, &t, &err), -ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "no/such/tokenizer.json"));
    assert_int_equal(tokenizer_open("byte", 1, &t, &err), -ERR_INVALID);
    assert_non_null(strstr(err.message, "allowed: bytes, FILE.json"));
    assert_int_equal(tokenizer_check("", &err), -ERR_INVALID);
    assert_int_equal(tokenizer_check("bytes", &err), 0);
    assert_null(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
