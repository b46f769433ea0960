/* train_loop.h: the steps of an attempt, with their evaluations and checkpoints. */
#ifndef BAKA_WORKER_TRAIN_LOOP_H
#define BAKA_WORKER_TRAIN_LOOP_H

#include "schema/journal.h"

struct err;
struct trainer;

/* Trains from t->step to t->total_steps. Returns 0 with *reason finished, stopped or diverged (err's message then says
 * what was not finite), or an error for which t->blame is set. */
int train_loop_run(struct trainer *t, enum journal_end_reason *reason, struct err *err);

#endif
