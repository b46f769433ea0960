/* window.h: windows of tokens as the model's rows of positions, where some positions are no tokens.
 *
 * memory.rmt: a window is cut in plan->segments segments, each with memory positions at either end.
 * memory.pause: `tokens` pauses stand in each window. drop: pause i behind token floor((i+1) T / (n+1)), nothing is
 * predicted at a pause. predict_from_last: each behind a token drawn at random, and the prediction of a token before
 * pauses moves to the last of them. Either way every token is predicted once. Pure but for its own memory.
 */
#ifndef BAKA_WORKER_WINDOW_H
#define BAKA_WORKER_WINDOW_H

#include <stdint.h>
#include "schema/plan.h"
#include "schema/spec.h"

/* Which windows: random numbers follow from seed, epoch and the window's number in it alone. */
struct window_key {
    int64_t epoch;  /* WINDOW_EVALUATION: of an evaluation */
    int64_t number; /* of the first row; the others follow */
    bool fresh;     /* the rows' streams begin: a recurrent memory starts as it was learned */
};
enum { WINDOW_EVALUATION = -1 };

struct window {
    const struct spec *spec;
    const struct plan *plan;
    /* [segments][rows][run] of the plan; positions without a token have 0, -1 */
    int32_t *tokens, *targets, *first;
    int32_t *places; /* [rows*seq_len] of the tokens within their segment */
    int32_t *pauses; /* [rows*pauses] of the pauses */
    int32_t *behind; /* [seq_len] scratch: pauses behind each token */
};

/* Every position is a token, and a window is one segment: there is nothing to do. */
bool window_is_plain(const struct plan *plan);
/* Room for train.batch rows; none where windows are plain. */
void window_init(struct window *w, const struct spec *spec, const struct plan *plan);
void window_finish(struct window *w);
/* The arrays are those of model_load. */
void window_fill(struct window *w, const struct window_key *key, int64_t rows, const int32_t *inputs,
                 const int32_t *targets, const int32_t *first);

#endif
