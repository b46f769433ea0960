/* bpe_model.h: a byte-level BPE tokenizer as a Hugging Face tokenizer.json describes it. Built once, then read by any
 * number of threads. What a file may say is listed in docs/tokenizers.md; anything else is refused in one line that
 * names the JSON path. */
#ifndef BAKA_TEXT_BPE_MODEL_H
#define BAKA_TEXT_BPE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/sha256.h"

struct err;

enum { BPE_ID_LIMIT = 1 << 24, BPE_FILE_LIMIT = 64 << 20 };

struct bpe_model {
    char *json; /* the file as it is */
    size_t json_size;
    char sha256[SHA256_HEX_SIZE];  /* of it */
    struct vocabulary *vocabulary; /* texts in the byte alphabet, those of added tokens as they are */
    bool *added;                   /* by id: not in model.vocab */
    struct bpe *merges;
    struct added_tokens *exact, *normalized; /* looked for before and after normalization */
    const struct split_pattern *pattern;
    bool nfc, add_prefix_space, ignore_merges;
    int32_t end_of_text;  /* -1: none */
    unsigned char *texts; /* what the ids stand for, one behind the other */
    size_t *text_starts;  /* by id; one more than there are */
};

int bpe_model_load(const char *path, struct bpe_model **out, struct err *err);
/* The same from memory; `name` is for messages. */
int bpe_model_read(const char *name, const char *json, size_t size, struct bpe_model **out, struct err *err);
void bpe_model_destroy(struct bpe_model *m); /* NULL is fine */
/* Does text_cut.h's rule hold for newlines too? */
bool bpe_model_cuts_at_newline(const struct bpe_model *m);
/* Bytes that an id stands for, none for an id that no token has; id in [0, vocabulary_end). */
const unsigned char *bpe_model_text(const struct bpe_model *m, int32_t id, size_t *size);

#endif
