/* order_kinds.h: between order.c and the orders it offers; no one else includes it. */
#ifndef BAKA_TEXT_ORDER_KINDS_H
#define BAKA_TEXT_ORDER_KINDS_H

#include <stdint.h>
#include "text/order.h"

struct order_kind {
    int (*create)(struct order *o, struct err *err);
    int64_t (*steps)(const struct order *o);
    int64_t (*predictions_before)(const struct order *o, int64_t step);
    void (*begin_epoch)(struct order *o, int64_t epoch);
    void (*fill)(struct order *o, int64_t step, struct order_batch *out); /* out is cleared */
};

extern const struct order_kind order_shuffle, order_stream;

struct order {
    const struct token_file *file;
    const struct order_kind *kind;
    enum spec_reset reset;
    uint64_t seed;
    int64_t seq_len, batch, predictions, memory;
    int64_t epoch; /* that of the permutation; -1: none yet */
    /* shuffle: of the whole windows. stream: of the documents, and where each starts in the permuted text (one more
     * entry: its end). */
    uint64_t *permutation, *starts, items;
};

/* All positions padding. */
void order_clear(struct order_batch *out, int64_t seq_len, int64_t batch);
/* Index of the first document that starts after a token. */
uint64_t order_document_after(const struct token_file *f, uint64_t position);
/* Positions of a row count from the begin of its memory from now on, of which it sees the last `seen`. */
void order_place_memory(int32_t *first, int64_t seq_len, int64_t memory, int64_t seen);
/* A split's tokens are [*start, *start + the result). */
int64_t order_split_range(const struct token_file *f, enum token_split split, uint64_t *start);
/* Of an evaluation of so many predictions: the first window, and one for each stride that is begun behind it. */
int64_t order_count_windows(const struct order_windows *w, int64_t predictions);
/* A row of n predictions from token `start` on. */
void order_fill_window(const struct token_file *f, enum spec_reset reset, uint64_t start, int64_t n, int64_t row,
                       int64_t seq_len, struct order_batch *out);
/* items[0..n) becomes a permutation of 0..n-1 that depends on seed and epoch alone. */
void order_permute(uint64_t *items, uint64_t n, uint64_t seed, int64_t epoch);

#endif
