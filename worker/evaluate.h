/* evaluate.h: the loss of a model on a split of a data set. */
#ifndef BAKA_WORKER_EVALUATE_H
#define BAKA_WORKER_EVALUATE_H

#include <stdint.h>
#include "text/order.h"

struct err;
struct model;
struct trainer;

struct evaluation {
    int64_t predictions;
    double loss;          /* nats a prediction: the mean is over predictions, never over windows */
    double bits_per_byte; /* NaN when the text's bytes are not known */
};

/* `room` holds windows->batch rows, step names the model's in errors. At least one prediction. */
int evaluate_split(struct model *model, int64_t step, const struct token_file *data,
                   const struct order_windows *windows, enum spec_reset reset, struct order_batch *room,
                   struct evaluation *out, struct err *err);

/* Evaluates the model as it stands after t->step steps and journals one `eval` record; nothing when there is no
 * validation split. Sets t->blame on failure. */
int evaluate_run(struct trainer *t, int64_t tokens, struct err *err);

#endif
