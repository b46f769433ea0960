/* tokenizer_bytes.c: id = byte, vocabulary 256, nothing inserted, nothing held back; any bytes are a text. */
#include "text/tokenizer.h"

#include <string.h>

static bool bytes_accepts(const char *argument)
{
    return strcmp(argument, "bytes") == 0;
}

static int bytes_open(const char *argument, void **state, uint64_t *vocab, struct err *err)
{
    (void)argument, (void)err;
    *state = NULL;
    *vocab = 256;
    return 0;
}

static int bytes_feed(void *state, const unsigned char *text, size_t size, tokenizer_sink *sink, void *arg,
                      struct err *err)
{
    enum { PIECE = 8192 };
    (void)state;
    int32_t ids[PIECE];
    for (size_t i = 0; i < size; i += PIECE) {
        size_t n = size - i < PIECE ? size - i : PIECE;
        for (size_t k = 0; k < n; k++)
            ids[k] = text[i + k];
        int rc = sink(arg, ids, n, n, err);
        if (rc)
            return rc;
    }
    return 0;
}

static int bytes_end_document(void *state, tokenizer_sink *sink, void *arg, struct err *err)
{
    (void)state, (void)sink, (void)arg, (void)err;
    return 0;
}

static void bytes_close(void *state)
{
    (void)state;
}

const struct tokenizer_type tokenizer_bytes = {
    .name = "bytes",
    .summary = "id = byte, vocabulary 256, nothing inserted",
    .accepts = bytes_accepts,
    .open = bytes_open,
    .feed = bytes_feed,
    .end_document = bytes_end_document,
    .close = bytes_close,
};
