/* comparison_decisions.h: what is decided between groups of seeds, and in what their specs differ. Thread: the main
 * one. */
#ifndef BAKA_CLI_COMPARISON_DECISIONS_H
#define BAKA_CLI_COMPARISON_DECISIONS_H

#include <stdio.h>
#include <cjson/cJSON.h>

struct comparison;

/* A sentence a pair of groups, what is decided first; where it has several seeds, with the range of their crossings. */
void comparison_print_decisions(const struct comparison *c, FILE *out);
/* One of "crosses" as a sentence; the caller frees it. */
char *comparison_cross_text(const struct comparison *c, const cJSON *cross);
/* A line a field. */
void comparison_print_differs(const struct comparison *c, FILE *out);

#endif
