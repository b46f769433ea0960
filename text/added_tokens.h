/* added_tokens.h: finds the tokens that are taken out of the text before anything else: at each place the longest one,
 * from left to right. */
#ifndef BAKA_TEXT_ADDED_TOKENS_H
#define BAKA_TEXT_ADDED_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct added_tokens;

struct added_tokens *added_tokens_create(void); /* aborts when out of memory, as all of this */
void added_tokens_destroy(struct added_tokens *a);
/* size > 0. A text that comes again keeps its first id. */
void added_tokens_add(struct added_tokens *a, const unsigned char *text, size_t size, int32_t id);
/* The first token from `start` on; false: none, then *begin and *end are the text's end. */
bool added_tokens_next(const struct added_tokens *a, const unsigned char *text, size_t size, size_t start,
                       size_t *begin, size_t *end, int32_t *id);

#endif
