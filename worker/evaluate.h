/* evaluate.h: the loss of a model on a split of a data set. */
#ifndef BAKA_WORKER_EVALUATE_H
#define BAKA_WORKER_EVALUATE_H

#include <stdbool.h>
#include <stdint.h>
#include "schema/plan.h"
#include "schema/spec.h"
#include "text/order.h"

struct err;
struct model;
struct trainer;

struct evaluation {
    int64_t predictions;
    double loss;            /* nats a prediction: the mean is over predictions, never over windows */
    double bits_per_byte;   /* NaN when the text's bytes are not known */
    double word_perplexity; /* NaN without words */
    bool stopped;           /* by request: the others say nothing */
};

struct evaluated {
    struct model *model;
    const struct spec *spec; /* the model's, as is the plan */
    const struct plan *plan;
    int64_t step;          /* names the model's in errors */
    bool (*stopped)(void); /* asked between batches; NULL: never */
};

/* The windows of a split in batches as the model takes them. A memory wants a stride of train.seq_len. */
struct order_windows evaluate_windows(const struct spec *s, const struct plan *plan, enum token_split split,
                                      int64_t stride);
/* `room` holds windows->batch rows. At least one prediction. */
int evaluate_split(const struct evaluated *m, const struct token_file *data, const struct order_windows *windows,
                   struct order_batch *room, struct evaluation *out, struct err *err);

/* Evaluates the model as it stands after t->step steps and journals one `eval` record; nothing when there is no
 * validation split. Sets t->blame on failure. */
int evaluate_run(struct trainer *t, int64_t tokens, struct err *err);

#endif
