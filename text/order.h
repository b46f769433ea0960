/* order.h: which predictions each step sees. N train tokens give N-1 predictions, each counted once an epoch.
 *
 * shuffle: windows of seq_len permuted by (seed, epoch), the short one that is left comes last; a step takes `batch`
 * windows, the last step of an epoch what is left.
 *
 * stream: documents permuted by (seed, epoch), concatenated, cut in `batch` streams whose lengths differ by one at
 * most; step s takes window s of each.
 *
 * Padding positions have target -1. Pure given the token file; random numbers: base/philox.h, purpose "order".
 */
#ifndef BAKA_TEXT_ORDER_H
#define BAKA_TEXT_ORDER_H

#include <stdint.h>
#include "schema/spec.h"
#include "text/token_file.h"

struct err;
struct order;

/* Needs at least 2 train tokens (ERR_INVALID says so). The token file stays open as long as the order. */
int order_create(const struct token_file *f, enum spec_order kind, enum spec_reset reset, int64_t seed, int64_t seq_len,
                 int64_t batch, struct order **out, struct err *err);
void order_destroy(struct order *o);
/* `first` counts from the begin of a memory of len positions before each row (stream only); a row sees of it what its
 * stream has already had in this epoch and, with reset document, of its first token's document. */
void order_set_memory(struct order *o, int64_t len);
int64_t order_steps_per_epoch(const struct order *o);
int64_t order_predictions_per_epoch(const struct order *o);
/* Predictions counted in steps [0, step) of an epoch, step in [0, steps_per_epoch]. */
int64_t order_predictions_before(const struct order *o, int64_t step_in_epoch);

struct order_batch {
    int64_t rows;        /* <= batch; rows whose positions are all padding are left out, at least 1 */
    int64_t predictions; /* counted positions */
    int32_t *inputs;     /* [batch*seq_len], padding repeats id 0 */
    int32_t *targets;    /* [batch*seq_len], -1 where not counted */
    int32_t *first;      /* [batch*seq_len] earliest visible position; all 0 with reset epoch and no memory */
};

/* Fills the caller's arrays for epoch >= 0, step_in_epoch >= 0. Keeps the permutation of the last epoch asked for. */
void order_fill(struct order *o, int64_t epoch, int64_t step_in_epoch, struct order_batch *out);

/* Evaluation: windows of seq_len over a split, in order, each `stride` behind the one before, 1 to seq_len; of a window
 * only the predictions that none before it made are counted, so every prediction is, once. stride = seq_len: disjoint
 * windows. batch rows at a time. */
struct order_windows {
    enum token_split split;
    int64_t seq_len, stride, batch;
};
int64_t order_eval_steps(const struct token_file *f, const struct order_windows *w);
void order_eval_fill(const struct token_file *f, const struct order_windows *w, enum spec_reset reset, int64_t step,
                     struct order_batch *out);
/* The disjoint windows in as many steps for a model with a memory of `memory` positions: cut in `batch` streams of
 * windows whose numbers differ by one at most; step s takes window s of each. */
void order_eval_stream_fill(const struct token_file *f, const struct order_windows *w, enum spec_reset reset,
                            int64_t memory, int64_t step, struct order_batch *out);

#endif
