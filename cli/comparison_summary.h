/* comparison_summary.h: what stands around the table of a comparison: a line a group of seeds, and who passed whom.
 * Thread: the main one. */
#ifndef BAKA_CLI_COMPARISON_SUMMARY_H
#define BAKA_CLI_COMPARISON_SUMMARY_H

#include <stdio.h>

struct comparison;
struct document;

/* The groups, where one has several seeds; else nothing. A blank line stands before. */
void comparison_print_groups(const struct comparison *c, FILE *out);
/* The groups in a document; nothing as above. */
void comparison_document_groups(const struct comparison *c, struct document *d);
/* A sentence a pair, those of the winner first. Where they are too many and there are groups, only those between
 * groups at equal seeds. */
void comparison_print_sentences(const struct comparison *c, FILE *out);

#endif
