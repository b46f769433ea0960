/* sample_run.h: `baka-worker --sample`. */
#ifndef BAKA_WORKER_SAMPLE_RUN_H
#define BAKA_WORKER_SAMPLE_RUN_H

#include <stdio.h>

struct arguments;
struct err;

/* Reads the prompt's ids from `in`, one a line, and writes the ids that the run's newest good checkpoint goes on with,
 * one a line, each as soon as it is known, until a->stop or a->tokens of them.
 *
 * A text that has filled the window of train.seq_len positions is read again from its newest half. */
int sample_run(const struct arguments *a, FILE *in, FILE *out, struct err *err);

#endif
