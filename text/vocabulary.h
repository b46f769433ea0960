/* vocabulary.h: token strings and their ids, both ways. Ids may have gaps. Filled by one thread, then read by any. */
#ifndef BAKA_TEXT_VOCABULARY_H
#define BAKA_TEXT_VOCABULARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vocabulary;

struct vocabulary *vocabulary_create(void); /* aborts when out of memory, as all of this */
void vocabulary_destroy(struct vocabulary *v);
/* Copies the text. False when the text or the id is there already. */
bool vocabulary_add(struct vocabulary *v, const char *text, size_t size, int32_t id);
/* -1: none. */
int32_t vocabulary_find(const struct vocabulary *v, const char *text, size_t size);
/* NULL: no token has this id. Ended by a NUL that *size does not count; valid until the vocabulary grows. */
const char *vocabulary_text(const struct vocabulary *v, int32_t id, size_t *size);
int32_t vocabulary_count(const struct vocabulary *v);
/* The largest id + 1; 0 when empty. */
int32_t vocabulary_end(const struct vocabulary *v);

#endif
