/* token_layout.h: where things lie in a `tokens` file; shared by its reader and its writer alone. */
#ifndef BAKA_TEXT_TOKEN_LAYOUT_H
#define BAKA_TEXT_TOKEN_LAYOUT_H

#include <stdint.h>
#include "text/token_file.h"

#define TOKEN_MAGIC "BAKATOK1"

enum { TOKEN_HEADER_BYTES = 4096 };

#define TOKEN_COUNT_MAX ((uint64_t)1 << 56)

/* Bytes of one id for a vocabulary: 1, 2 or 4. */
uint32_t token_id_bytes(uint64_t vocab);
/* The hash is over the ids as they lie in the file, the document starts, then the numbers and the tokenizer's name that
 * this adds; they come last because a writer knows them last. */
void token_hash_numbers(struct sha256 *s, const struct token_file_header *h);

/* What words_check must be: the first 8 bytes of a SHA-256 over hash, words and train_words. */
uint64_t token_words_check(const struct token_file_header *h);

static inline uint64_t token_documents_offset(const struct token_file_header *h)
{
    uint64_t end = TOKEN_HEADER_BYTES + h->count * h->id_bytes;
    return (end + 7) & ~(uint64_t)7;
}

#endif
