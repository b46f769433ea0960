/* bpe_encoder.c: the way of a text, as Hugging Face's library goes it: exact added tokens are taken out; what is
 * between them is normalized; normalized added tokens are taken out; what is between them gets its prefix space, is cut
 * into words, and each word's bytes are merged. Most words have been seen: their ids come from a cache in which a newer
 * word takes an older one's place, so that its memory is fixed. */
#include "text/bpe_encoder.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/bpe_model.h"
#include "text/byte_alphabet.h"
#include "text/hash.h"
#include "text/nfc.h"
#include "text/split_pattern.h"
#include "text/vocabulary.h"

enum { CACHE_BITS = 16, CACHED_BYTES = 30, CACHED_IDS = 8 };

struct cached { /* one cache line */
    uint8_t size, count;
    unsigned char word[CACHED_BYTES];
    int32_t ids[CACHED_IDS];
};

struct bpe_encoder {
    const struct bpe_model *model;
    struct splitter *splitter;
    struct bpe_scratch *scratch;
    struct nfc_buffer nfc;
    unsigned char *prefixed; /* a stretch with the prefix space */
    size_t prefixed_capacity;
    struct cached *cache;
};

int bpe_encoder_create(const struct bpe_model *m, struct bpe_encoder **out, struct err *err)
{
    struct bpe_encoder *e = calloc(1, sizeof *e);
    if (!e)
        abort();
    e->model = m;
    int rc = splitter_create(m->pattern, &e->splitter, err);
    if (rc) {
        free(e);
        return rc;
    }
    e->scratch = bpe_scratch_create();
    e->cache = aligned_alloc(sizeof *e->cache, sizeof *e->cache << CACHE_BITS);
    if (!e->cache)
        abort();
    memset(e->cache, 0, sizeof *e->cache << CACHE_BITS);
    *out = e;
    return 0;
}

void bpe_encoder_destroy(struct bpe_encoder *e)
{
    if (!e)
        return;
    splitter_destroy(e->splitter);
    bpe_scratch_destroy(e->scratch);
    nfc_finish(&e->nfc);
    free(e->prefixed);
    free(e->cache);
    free(e);
}

static int32_t *reserve(struct bpe_ids *out, size_t more)
{
    if (more > out->capacity - out->count) {
        out->capacity = (out->count + more) * 2;
        out->ids = reallocarray(out->ids, out->capacity, sizeof *out->ids);
        if (!out->ids)
            abort();
    }
    return out->ids + out->count;
}

/* With ignore_merges a word that is a token of model.vocab is that token. -1: it is none. */
static int32_t whole_word(const struct bpe_model *m, const unsigned char *word, size_t size)
{
    char small[256], *text = size <= sizeof small / 2 ? small : malloc(2 * size);
    if (!text)
        abort();
    int32_t id = vocabulary_find(m->vocabulary, text, byte_alphabet_encode(word, size, text));
    if (text != small)
        free(text);
    return id >= 0 && m->added[id] ? -1 : id;
}

static size_t merge_word(struct bpe_encoder *e, const unsigned char *word, size_t size, int32_t *out)
{
    int32_t id = e->model->ignore_merges ? whole_word(e->model, word, size) : -1;
    if (id < 0)
        return bpe_encode(e->model->merges, e->scratch, word, size, out);
    *out = id;
    return 1;
}

static void encode_word(struct bpe_encoder *e, const unsigned char *word, size_t size, struct bpe_ids *out)
{
    if (size > CACHED_BYTES) {
        int32_t *ids = reserve(out, size);
        out->count += merge_word(e, word, size, ids);
        return;
    }
    struct cached *c = &e->cache[hash_bytes(word, size) >> (64 - CACHE_BITS)];
    int32_t *ids = reserve(out, CACHED_BYTES);
    if (c->size != size || memcmp(c->word, word, size) != 0) {
        size_t count = merge_word(e, word, size, ids);
        out->count += count;
        if (count <= CACHED_IDS) {
            c->size = (uint8_t)size;
            c->count = (uint8_t)count;
            memcpy(c->word, word, size);
            memcpy(c->ids, ids, count * sizeof *ids);
        }
        return;
    }
    memcpy(ids, c->ids, sizeof c->ids);
    out->count += c->count;
}

static const unsigned char *with_prefix(struct bpe_encoder *e, const unsigned char *text, size_t size)
{
    if (size + 1 > e->prefixed_capacity) {
        e->prefixed_capacity = (size + 1) * 2;
        free(e->prefixed);
        e->prefixed = malloc(e->prefixed_capacity);
        if (!e->prefixed)
            abort();
    }
    e->prefixed[0] = ' ';
    memcpy(e->prefixed + 1, text, size);
    return e->prefixed;
}

/* A stretch without added tokens. */
static int encode_stretch(struct bpe_encoder *e, const unsigned char *text, size_t size, struct bpe_ids *out,
                          uint64_t *text_bytes, struct err *err)
{
    if (e->model->add_prefix_space && size && text[0] != ' ')
        text = with_prefix(e, text, size++);
    for (size_t at = 0, end; at < size; at = end) {
        int rc = splitter_next(e->splitter, text, size, at, &end, err);
        if (rc)
            return rc;
        encode_word(e, text + at, end - at, out);
    }
    *text_bytes += size;
    return 0;
}

static void add_token(const struct bpe_model *m, int32_t id, struct bpe_ids *out, uint64_t *text_bytes)
{
    size_t size;
    (void)bpe_model_text(m, id, &size);
    *reserve(out, 1) = id;
    out->count++;
    *text_bytes += size;
}

/* A stretch between exact added tokens. */
static int encode_part(struct bpe_encoder *e, const unsigned char *text, size_t size, struct bpe_ids *out,
                       uint64_t *text_bytes, struct err *err)
{
    int rc = e->model->nfc ? nfc_normalize(&e->nfc, text, size, &text, &size, err) : 0;
    bool found = true;
    for (size_t at = 0, begin, end; !rc && found; at = end) {
        int32_t id;
        found = added_tokens_next(e->model->normalized, text, size, at, &begin, &end, &id);
        rc = encode_stretch(e, text + at, begin - at, out, text_bytes, err);
        if (!rc && found)
            add_token(e->model, id, out, text_bytes);
    }
    return rc;
}

int bpe_encoder_encode(struct bpe_encoder *e, const unsigned char *text, size_t size, struct bpe_ids *out,
                       uint64_t *text_bytes, struct err *err)
{
    int rc = 0;
    bool found = true;
    for (size_t at = 0, begin, end; !rc && found; at = end) {
        int32_t id;
        found = added_tokens_next(e->model->exact, text, size, at, &begin, &end, &id);
        rc = encode_part(e, text + at, begin - at, out, text_bytes, err);
        if (!rc && found)
            add_token(e->model, id, out, text_bytes);
    }
    return rc;
}

size_t bpe_decode(const struct bpe_model *m, const int32_t *ids, size_t n, unsigned char *out, size_t capacity)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        size_t size;
        const unsigned char *text = bpe_model_text(m, ids[i], &size);
        if (total < capacity)
            memcpy(out + total, text, size < capacity - total ? size : capacity - total);
        total += size;
    }
    return total;
}
