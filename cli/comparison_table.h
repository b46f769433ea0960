/* comparison_table.h: the table of a comparison. Thread: the main one. */
#ifndef BAKA_CLI_COMPARISON_TABLE_H
#define BAKA_CLI_COMPARISON_TABLE_H

#include "cli/comparison_axis.h"

struct document;

/* By what the table is ordered, and which column is added. */
enum comparison_at { COMPARISON_AS_GIVEN, COMPARISON_AT_BEST, COMPARISON_AT_END, COMPARISON_AT_BUDGET };

/* budget: with COMPARISON_AT_BUDGET, else NULL. Two tables, what was learnt and what it cost, where one does not fit
 * the terminal. The winner's line is bold. */
void comparison_print_table(const struct comparison *c, enum comparison_at at, const struct comparison_budget *budget);
/* The same in a document. */
void comparison_document_table(const struct comparison *c, enum comparison_at at,
                               const struct comparison_budget *budget, struct document *d);

#endif
