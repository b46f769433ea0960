/* bpe_encoder.h: text to ids and back by a bpe_model. An encoder holds the scratch memory and the cache of one thread.
 */
#ifndef BAKA_TEXT_BPE_ENCODER_H
#define BAKA_TEXT_BPE_ENCODER_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct bpe_model;
struct bpe_encoder;

struct bpe_ids { /* zeroed at first; the caller frees ids */
    int32_t *ids;
    size_t count, capacity;
};

/* The model outlives the encoder. */
int bpe_encoder_create(const struct bpe_model *m, struct bpe_encoder **out, struct err *err);
void bpe_encoder_destroy(struct bpe_encoder *e); /* NULL is fine */
/* Appends the ids of a text, valid UTF-8 (text/utf8.h), as the field's own library gives them without adding special
 * tokens around it; special tokens in the text are found. Of a text that is cut (text/text_cut.h) each piece is a text.
 * Adds to *text_bytes the bytes that the ids stand for: those of the text, normalized. size < 2^31.
 */
int bpe_encoder_encode(struct bpe_encoder *e, const unsigned char *text, size_t size, struct bpe_ids *out,
                       uint64_t *text_bytes, struct err *err);
/* The bytes of n ids, each in [0, vocabulary); at most `capacity` of them are written. Returns how many there are. */
size_t bpe_decode(const struct bpe_model *m, const int32_t *ids, size_t n, unsigned char *out, size_t capacity);

#endif
