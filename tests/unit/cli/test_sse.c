/* test_sse.c: event streams, cut at every place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "cli/sse.h"

struct seen {
    char text[1024];
    int stop_at;
    int events;
};

static int on_event(void *arg, const char *event, const char *data, size_t size)
{
    struct seen *s = arg;
    size_t used = strlen(s->text);
    assert_int_equal(strlen(data), size);
    snprintf(s->text + used, sizeof s->text - used, "[%s|%s]", event, data);
    return ++s->events == s->stop_at ? 5 : 0;
}

static const char stream[] = ": hello\n\nevent: run\ndata: {\"id\":1}\n\ndata: a\r\ndata:b\r\n\r\nevent: none\n\n"
                             "event:step\rid: 4\rretry\rdata\rdata:  c\r\rdata: unfinished\n";
static const char wanted[] = "[run|{\"id\":1}][message|a\nb][step|\n c]";

static void test_every_cut(void **state)
{
    (void)state;
    size_t size = sizeof stream - 1;
    for (size_t cut = 0; cut <= size; cut++) {
        struct seen seen = {0};
        struct sse s;
        sse_init(&s, on_event, &seen);
        assert_int_equal(sse_feed(&s, stream, cut), 0);
        assert_int_equal(sse_feed(&s, stream + cut, size - cut), 0);
        assert_string_equal(seen.text, wanted);
        sse_finish(&s);
    }
    struct seen seen = {0};
    struct sse s;
    sse_init(&s, on_event, &seen);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(sse_feed(&s, stream + i, 1), 0);
    assert_string_equal(seen.text, wanted);
    sse_finish(&s);
}

static void test_stop(void **state)
{
    (void)state;
    struct seen seen = {.stop_at = 2};
    struct sse s;
    sse_init(&s, on_event, &seen);
    assert_int_equal(sse_feed(&s, stream, sizeof stream - 1), 5);
    assert_int_equal(seen.events, 2);
    sse_finish(&s);
}

static void test_too_large(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct sse s;
    char *piece = malloc(1 << 20);
    memset(piece, 'x', 1 << 20);
    sse_init(&s, on_event, &seen);
    int rc = 0, n = 0;
    while (!rc && n++ < 40)
        rc = sse_feed(&s, piece, 1 << 20);
    assert_int_equal(rc, -ERR_TOO_LARGE);
    assert_int_equal(n, 17);
    sse_finish(&s);
    free(piece);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
