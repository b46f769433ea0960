/* bpe.h: byte-pair merges of one word. The word begins as single bytes; of all neighbouring pairs that have a merge the
 * one of the lowest rank, of equals the leftmost, becomes one symbol, until no pair has one. */
#ifndef BAKA_TEXT_BPE_H
#define BAKA_TEXT_BPE_H

#include <stddef.h>
#include <stdint.h>

struct bpe;         /* the table; filled by one thread, then read by any */
struct bpe_scratch; /* one a thread */

/* byte_ids: the id of each byte that words have. Aborts when out of memory, as all of this. */
struct bpe *bpe_create(const int32_t byte_ids[256], size_t merges);
void bpe_destroy(struct bpe *b);
/* At most as many as were announced. A pair that comes again replaces the one before. */
void bpe_add_merge(struct bpe *b, int32_t left, int32_t right, uint32_t rank, int32_t merged);

struct bpe_scratch *bpe_scratch_create(void);
void bpe_scratch_destroy(struct bpe_scratch *s);
/* out has room for `size` ids; returns how many there are. size < 2^31. */
size_t bpe_encode(const struct bpe *b, struct bpe_scratch *s, const unsigned char *word, size_t size, int32_t *out);

#endif
