/* token_file.h: a data set, memory-mapped. HOME/data/NAME/ holds `tokens` (header, token ids, document starts) and
 * `meta.json` (for people), and `tokenizer.json` if the tokenizer came from one. Made whole or not at all: written
 * under a temporary name, synced, renamed.
 *
 * tokens: a 4,096-byte header (struct token_file_header, little-endian), then count ids of id_bytes each, padding to 8,
 * then document_count uint64 starts in tokens, increasing, the first 0. Train is [0, train_count), validation the rest.
 */
#ifndef BAKA_TEXT_TOKEN_FILE_H
#define BAKA_TEXT_TOKEN_FILE_H

#include <stddef.h>
#include <stdint.h>
#include "base/path.h"
#include "base/sha256.h"
#include "text/share.h"

struct err;

struct token_file_header {
    char magic[8]; /* "BAKATOK1" */
    uint32_t header_bytes, id_bytes /* 1, 2 or 4 */;
    uint64_t count, train_count, document_count;
    uint64_t vocab;
    uint64_t text_bytes, train_text_bytes; /* UTF-8 bytes that the tokens stand for; 0: not known */
    char tokenizer[64];                    /* "bytes", "bpe:" and the begin of tokenizer.json's SHA-256 */
    char hash[SHA256_HEX_SIZE];            /* over all of the above, ids and document starts */
    /* White-space separated words of the text (text/token_measure.h), and a check sum of both and the hash. They follow
     * from the ids and the tokenizer, so the hash, which runs go by, is without them. All 0: not known, as in files
     * that were made before words were counted. */
    uint64_t words, train_words, words_check;
};

enum token_split { SPLIT_TRAIN, SPLIT_VAL };

struct token_file {
    struct token_file_header header;
    const void *ids;
    const uint64_t *documents;
    void *map;
    size_t map_bytes;
};

/* Opens HOME/data/NAME and checks magic, sizes against the file's length, and counts. Does not read all ids: hash
 * verification is token_file_verify. Errors name the data set and what to do (`bakactl data list`, `data prepare`). */
int token_file_open(const char *home, const char *name, struct token_file *out, struct err *err);
int token_file_verify(const struct token_file *f, struct err *err); /* recomputes the hash, checks ids < vocab */
void token_file_close(struct token_file *f);
/* ids [start, start+n) as int32; the caller stays within count. */
void token_file_read(const struct token_file *f, uint64_t start, size_t n, int32_t *out);

struct token_writer;

/* Streaming writer: ids in any number of calls. Nothing is visible under NAME before token_writer_finish; an existing
 * NAME is ERR_CONFLICT unless replace. */
int token_writer_create(const char *home, const char *name, const char *tokenizer, uint64_t vocab, int replace,
                        struct token_writer **out, struct err *err);
int token_writer_begin_document(struct token_writer *w, struct err *err);
int token_writer_add(struct token_writer *w, const int32_t *ids, size_t n, uint64_t text_bytes, struct err *err);
/* What the ids stand for, so that bytes and words of each part are measured at the end, wherever the split falls. The
 * sum of all text_bytes must be what is measured then: ERR_INTERNAL. */
struct token_texts {
    const void *state;
    const unsigned char *(*text)(const void *state, int32_t id, size_t *size); /* id in [0, vocab) */
};
/* Before the end; the texts outlive the writer. */
void token_writer_set_texts(struct token_writer *w, struct token_texts texts);
/* The file that the tokenizer was made from is kept beside the tokens as `tokenizer.json`; meta.json has its own name
 * and SHA-256. */
int token_writer_keep_tokenizer(struct token_writer *w, const char *path, const void *data, size_t size,
                                const char *sha256, struct err *err);
/* Adds a token that stands for no text to the document; a document without tokens is none and gets none. Once done for
 * one document, it is for all. */
int token_writer_end_document(struct token_writer *w, int32_t id, struct err *err);
/* From here on tokens belong to validation (a split by file). */
int token_writer_begin_validation(struct token_writer *w, struct err *err);
/* val: the last floor(val × N) tokens become validation; must be none after begin_validation. */
int token_writer_finish(struct token_writer *w, struct share val, struct token_file_header *out, struct err *err);
void token_writer_destroy(struct token_writer *w); /* removes what was not finished */

#endif
