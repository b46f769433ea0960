/* eval_run.h: `baka-worker --eval`. */
#ifndef BAKA_WORKER_EVAL_RUN_H
#define BAKA_WORKER_EVAL_RUN_H

#include <stdio.h>

struct arguments;
struct err;

/* Prints the loss of the run's newest good checkpoint on a split of HOME/data/NAME as JSON on one line. */
int eval_run(const struct arguments *a, FILE *out, struct err *err);

#endif
