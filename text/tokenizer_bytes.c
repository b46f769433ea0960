/* tokenizer_bytes.c: id = byte, vocabulary 256, nothing inserted, nothing held back; any bytes are a text. */
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool bytes_accepts(const char *argument)
{
    return strcmp(argument, "bytes") == 0;
}

static int bytes_open(const char *argument, int threads, void **state, struct tokenizer_about *about, struct err *err)
{
    (void)argument, (void)threads, (void)err;
    unsigned char *all = malloc(256);
    if (!all)
        abort();
    for (int i = 0; i < 256; i++)
        all[i] = (unsigned char)i;
    *state = all;
    snprintf(about->name, sizeof about->name, "bytes");
    about->vocab = 256;
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
        int rc = sink(arg, ids, n, n, false, err);
        if (rc)
            return rc;
    }
    return 0;
}

static int bytes_end_document(void *state, tokenizer_sink *sink, void *arg, struct err *err)
{
    (void)state;
    return sink(arg, NULL, 0, 0, true, err);
}

static int bytes_flush(void *state, tokenizer_sink *sink, void *arg, struct err *err)
{
    (void)state, (void)sink, (void)arg, (void)err;
    return 0;
}

static const unsigned char *bytes_text(const void *state, int32_t id, size_t *size)
{
    const unsigned char *all = state;
    *size = 1;
    return all + id;
}

static void bytes_close(void *state)
{
    free(state);
}

const struct tokenizer_type tokenizer_bytes = {
    .argument = "bytes",
    .accepts = bytes_accepts,
    .open = bytes_open,
    .feed = bytes_feed,
    .end_document = bytes_end_document,
    .flush = bytes_flush,
    .text = bytes_text,
    .close = bytes_close,
};
