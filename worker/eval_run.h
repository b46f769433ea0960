/* eval_run.h: the loss of a loaded run on a data set. */
#ifndef BAKA_WORKER_EVAL_RUN_H
#define BAKA_WORKER_EVAL_RUN_H

#include <stdbool.h>
#include <stdio.h>
#include "text/order.h"
#include "text/token_file.h"
#include "worker/evaluate.h"

struct arguments;
struct err;
struct job;
struct loaded_run;

/* Opens HOME/data/DATA for the job: its ids are the model's, by vocabulary and tokenizer, it has the split, and its
 * hash was computed anew, for the kernels rely on ids below the vocabulary. The caller closes *data. */
int eval_open_data(const char *home, const struct job *job, const struct loaded_run *r, struct token_file *data,
                   struct order_windows *windows, struct err *err);
/* stopped: see struct evaluated. */
int eval_compute(const struct loaded_run *r, const struct token_file *data, const struct order_windows *windows,
                 bool (*stopped)(void), struct evaluation *found, struct err *err);

/* `baka-worker --eval`: prints the loss of the run's newest good checkpoint as JSON on one line. */
int eval_run(const struct arguments *a, FILE *out, struct err *err);

#endif
