/* nfc.c: see nfc.h. ASCII characters are starters that combine with nothing before them, so the form of a text is the
 * forms of the stretches between an ASCII character (included, for a mark may follow it) and the next. */
#include "text/nfc.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/err.h"

enum { FIRST_LEAD = 0xcc }; /* of U+0300's UTF-8 */

void nfc_finish(struct nfc_buffer *b)
{
    free(b->text);
    free(b->characters);
    *b = (struct nfc_buffer){0};
}

/* The next byte from `at` on that begins a character from U+0300 on. */
static size_t next_high(const unsigned char *text, size_t size, size_t at)
{
    for (uint64_t word; at + 8 <= size; at += 8) {
        memcpy(&word, text + at, 8);
        if (word & UINT64_C(0x8080808080808080))
            for (size_t i = 0; i < 8; i++)
                if (text[at + i] >= FIRST_LEAD)
                    return at + i;
    }
    while (at < size && text[at] < FIRST_LEAD)
        at++;
    return at;
}

static void append(struct nfc_buffer *b, const void *data, size_t size)
{
    if (size == 0)
        return;
    if (size > b->capacity - b->size) {
        b->capacity = (b->size + size) * 2;
        b->text = realloc(b->text, b->capacity);
        if (!b->text)
            abort();
    }
    memcpy(b->text + b->size, data, size);
    b->size += size;
}

/* utf8proc composes in the array of characters and writes their UTF-8 into it. */
static int normalize_stretch(struct nfc_buffer *b, const unsigned char *text, size_t size, const void **out,
                             size_t *out_size, struct err *err)
{
    const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    utf8proc_ssize_t n;
    while ((n = utf8proc_decompose(text, (utf8proc_ssize_t)size, b->characters, (utf8proc_ssize_t)b->character_capacity,
                                   options)) >= (utf8proc_ssize_t)b->character_capacity) {
        b->character_capacity = ((size_t)n + 1) * 2; /* one more than n: reencode ends with a NUL */
        b->characters = reallocarray(b->characters, b->character_capacity, sizeof *b->characters);
        if (!b->characters)
            abort();
    }
    if (n >= 0)
        n = utf8proc_reencode(b->characters, n, options);
    if (n < 0)
        return err_set(err, ERR_INVALID, "utf8proc: %s", utf8proc_errmsg(n));
    *out = b->characters;
    *out_size = (size_t)n;
    return 0;
}

int nfc_normalize(struct nfc_buffer *b, const unsigned char *text, size_t size, const unsigned char **out,
                  size_t *out_size, struct err *err)
{
    size_t copied = 0; /* up to here the form of the text is in b */
    b->size = 0;
    for (size_t at = next_high(text, size, 0); at < size; at = next_high(text, size, at)) {
        size_t begin = at, normal_size = 0;
        const void *normal = NULL;
        while (begin > copied && text[begin] >= 0x80)
            begin--;
        while (at < size && text[at] >= 0x80)
            at++;
        int rc = normalize_stretch(b, text + begin, at - begin, &normal, &normal_size, err);
        if (rc)
            return rc;
        if (normal_size == at - begin && memcmp(normal, text + begin, normal_size) == 0)
            continue;
        append(b, text + copied, begin - copied);
        append(b, normal, normal_size);
        copied = at;
    }
    if (copied == 0) {
        *out = text;
        *out_size = size;
        return 0;
    }
    append(b, text + copied, size - copied);
    *out = b->text;
    *out_size = b->size;
    return 0;
}
