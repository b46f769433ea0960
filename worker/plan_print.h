/* plan_print.h: `baka-worker --plan`. */
#ifndef BAKA_WORKER_PLAN_PRINT_H
#define BAKA_WORKER_PLAN_PRINT_H

#include <stdio.h>

struct err;

/* Prints a spec's plan as JSON. The machine's own memory sets no limit here: the question is how much it takes. Errors
 * as spec_source_read and plan_make give them. */
int plan_print(const char *spec_path, const char *home, FILE *out, struct err *err);

#endif
