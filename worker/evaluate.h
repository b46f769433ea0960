/* evaluate.h: the loss on the validation split. */
#ifndef BAKA_WORKER_EVALUATE_H
#define BAKA_WORKER_EVALUATE_H

#include <stdint.h>

struct err;
struct trainer;

/* Evaluates the model as it stands after t->step steps and journals one `eval` record; nothing when there is no
 * validation split. The mean is over predictions, never over windows. Sets t->blame on failure. */
int evaluate_run(struct trainer *t, int64_t tokens, struct err *err);

#endif
