/* table.h: aligned text tables for people; width counts UTF-8 characters (wcwidth). */
#ifndef BAKA_BASE_TABLE_H
#define BAKA_BASE_TABLE_H

#include <stdbool.h>
#include <stdio.h>

struct table;

enum table_align { TABLE_LEFT, TABLE_RIGHT };

struct table *table_create(void);
void table_column(struct table *t, const char *title, enum table_align align);
/* One cell after the other, row by row; a NULL cell prints as "-". */
void table_cell(struct table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_print(const struct table *t, FILE *out, bool bold_header);
void table_destroy(struct table *t);

#endif
