/* tokenizer.h: text to token ids. A table of const descriptors is the registry: a tokenizer is one file and one line in
 * tokenizer.c. State is per use, so several may run at once; one is used by one thread, whatever threads it has. */
#ifndef BAKA_TEXT_TOKENIZER_H
#define BAKA_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "text/token_file.h"

struct err;
struct tokenizer;

/* Takes the ids of all documents in order, also some time after the text was fed; text_bytes is the length of the text
 * that they stand for. last: their document ends with them. Not 0: stop, returned on. */
typedef int tokenizer_sink(void *arg, const int32_t *ids, size_t n, uint64_t text_bytes, bool last, struct err *err);

struct tokenizer_about {
    char name[64];       /* as recorded in the token file: "bytes", or what the file hashes to */
    uint64_t vocab;      /* at least 1 */
    bool utf8;           /* the text must be valid UTF-8 (text/utf8.h) */
    int32_t end_of_text; /* -1: none */
    const char *file;    /* its own file, which belongs beside its tokens; NULL: none */
    size_t file_size;
    const char *file_sha256;
};

struct tokenizer_type {
    const char *argument;                  /* as --tokenizer takes it: "bytes" */
    bool (*accepts)(const char *argument); /* is the value of --tokenizer this one? */
    /* Threads work beside the caller's; their number changes no id. */
    int (*open)(const char *argument, int threads, void **state, struct tokenizer_about *about, struct err *err);
    /* One piece of a document; a piece may end in the middle of a character. */
    int (*feed)(void *state, const unsigned char *text, size_t size, tokenizer_sink *sink, void *arg, struct err *err);
    int (*end_document)(void *state, tokenizer_sink *sink, void *arg, struct err *err);
    /* Between documents: gives the sink all that was fed. */
    int (*flush)(void *state, tokenizer_sink *sink, void *arg, struct err *err);
    /* The bytes that an id of the vocabulary stands for. */
    const unsigned char *(*text)(const void *state, int32_t id, size_t *size);
    void (*close)(void *state);
};

extern const struct tokenizer_type *const tokenizers[]; /* NULL-ended */
extern const struct tokenizer_type tokenizer_bytes, tokenizer_bpe;

/* argument: "bytes" or the path of a tokenizer.json. ERR_INVALID for anything else says what is allowed. */
int tokenizer_check(const char *argument, struct err *err);
/* threads: at least 1. */
int tokenizer_open(const char *argument, int threads, struct tokenizer **out, struct err *err);
const struct tokenizer_about *tokenizer_about(const struct tokenizer *t);
int tokenizer_feed(struct tokenizer *t, const unsigned char *text, size_t size, tokenizer_sink *sink, void *arg,
                   struct err *err);
int tokenizer_end_document(struct tokenizer *t, tokenizer_sink *sink, void *arg, struct err *err);
int tokenizer_flush(struct tokenizer *t, tokenizer_sink *sink, void *arg, struct err *err);
/* For as long as t is open. */
struct token_texts tokenizer_texts(const struct tokenizer *t);
void tokenizer_close(struct tokenizer *t); /* NULL is fine */

#endif
