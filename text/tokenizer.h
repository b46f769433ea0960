/* tokenizer.h: text to token ids. A table of const descriptors is the registry: a tokenizer is one file and one line in
 * tokenizer.c. State is per use, so several may run at once. */
#ifndef BAKA_TEXT_TOKENIZER_H
#define BAKA_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct tokenizer;

/* Takes the ids as they come; text_bytes is the length of the text that they stand for. Not 0: stop, returned on. */
typedef int tokenizer_sink(void *arg, const int32_t *ids, size_t n, uint64_t text_bytes, struct err *err);

struct tokenizer_type {
    const char *name;                      /* as recorded in the token file: "bytes" */
    const char *summary;                   /* for the help */
    bool (*accepts)(const char *argument); /* is the value of --tokenizer this one? */
    /* state may stay NULL; vocab is at least 1. */
    int (*open)(const char *argument, void **state, uint64_t *vocab, struct err *err);
    /* One piece of a document; a piece may end in the middle of a character. */
    int (*feed)(void *state, const unsigned char *text, size_t size, tokenizer_sink *sink, void *arg, struct err *err);
    /* The document has ended: what was held back. */
    int (*end_document)(void *state, tokenizer_sink *sink, void *arg, struct err *err);
    void (*close)(void *state);
};

extern const struct tokenizer_type *const tokenizers[]; /* NULL-ended */
extern const struct tokenizer_type tokenizer_bytes;

/* argument: "bytes". ERR_INVALID for anything else says what is allowed. */
int tokenizer_open(const char *argument, struct tokenizer **out, struct err *err);
const char *tokenizer_name(const struct tokenizer *t);
uint64_t tokenizer_vocab(const struct tokenizer *t);
int tokenizer_feed(struct tokenizer *t, const unsigned char *text, size_t size, tokenizer_sink *sink, void *arg,
                   struct err *err);
int tokenizer_end_document(struct tokenizer *t, tokenizer_sink *sink, void *arg, struct err *err);
void tokenizer_close(struct tokenizer *t); /* NULL is fine */

#endif
