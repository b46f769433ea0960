/* nfc.h: Unicode's Normalization Form C of valid UTF-8, by utf8proc, which is asked only about the stretches that have
 * a character from U+0300 on: all text below is in the form already. */
#ifndef BAKA_TEXT_NFC_H
#define BAKA_TEXT_NFC_H

#include <stddef.h>

struct err;

struct nfc_buffer { /* zeroed at first; reused from call to call */
    unsigned char *text;
    size_t size, capacity;
    int *characters; /* utf8proc's */
    size_t character_capacity;
};

void nfc_finish(struct nfc_buffer *b);
/* *out is `text` itself when it is in the form already, else b->text. */
int nfc_normalize(struct nfc_buffer *b, const unsigned char *text, size_t size, const unsigned char **out,
                  size_t *out_size, struct err *err);

#endif
