/* bpe_model_parts.h: between the files that build a bpe_model; no one else includes it. */
#ifndef BAKA_TEXT_BPE_MODEL_PARTS_H
#define BAKA_TEXT_BPE_MODEL_PARTS_H

#include <stdbool.h>
#include <cjson/cJSON.h>
#include "text/bpe_model.h"

/* Where refusals go: "NAME: PATH: what is wrong". */
struct bpe_reader {
    const char *name;
    struct bpe_model *model;
    struct err *err;
};

int bpe_refuse(const struct bpe_reader *r, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Of an object: no key but these, NULL-ended. */
int bpe_check_keys(const struct bpe_reader *r, const cJSON *object, const char *path, const char *const *keys);
/* *out stays as it is (the default) when the key is absent; null is no boolean. */
int bpe_read_bool(const struct bpe_reader *r, const cJSON *object, const char *path, const char *key, bool *out);
/* The "type" of an object; NULL when it is none or has none. */
const char *bpe_type_of(const cJSON *object);

/* bpe_model_pipeline.c: normalizer, pre_tokenizer, post_processor, decoder. */
int bpe_read_pipeline(const struct bpe_reader *r, const cJSON *root);
/* bpe_model_vocabulary.c: model and added_tokens. The pipeline is known by then. */
int bpe_read_vocabulary(const struct bpe_reader *r, const cJSON *root);
void bpe_model_set_texts(struct bpe_model *m);

#endif
