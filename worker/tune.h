/* tune.h: `baka-worker --tune`. */
#ifndef BAKA_WORKER_TUNE_H
#define BAKA_WORKER_TUNE_H

#include <stdio.h>

struct err;

/* Runs one step and one evaluation of the spec's model on random tokens, so that the backend meets the products that a
 * run of it has, lets the backend measure its algorithms for them, and writes the table to `table` (NULL: the one that
 * the backend reads). A line a product goes to `out`. Errors: ERR_UNAVAILABLE when the spec's device is not here or its
 * backend has nothing to tune; else those of the plan and the backend. */
int tune_run(const char *spec_path, const char *home, const char *table, FILE *out, struct err *err);

#endif
