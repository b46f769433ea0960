/* model_rmt.h: recurrent memory (Bulatov et al. 2022) around a segment's pass. A segment has plan->rmt_tokens positions
 * before and behind its tokens. Both ends start as the memory: what the final norm made of the last ones in the segment
 * before, at a window's start the state that the window before left, without gradient, or, where streams begin, the
 * learned rmt.weight.
 */
#ifndef BAKA_WORKER_MODEL_RMT_H
#define BAKA_WORKER_MODEL_RMT_H

#include <stdint.h>

struct model;

/* The memory into the segment's embeddings x. */
void model_rmt_read(struct model *m, int64_t segment, void *x);
/* The state that the last segment leaves to the next window. */
void model_rmt_write(struct model *m);
/* The memory's gradient out of that of the segment's embeddings: to rmt.weight, to the segment before, or nowhere. Its
 * rows in dx become 0. */
void model_rmt_take_gradient(struct model *m, int64_t segment, void *dx);
/* Adds it to the gradient of the final norm's output in the segment before. */
void model_rmt_add_gradient(struct model *m, void *d_out);

#endif
