/* table.c: cells are kept row by row; widths are measured when the table is printed. Out of memory aborts: tables are
 * for programs that talk to people. A cell's control bytes are shown as '?', so that no value can move the cursor. */
#include "base/table.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

struct column {
    char *title;
    enum table_align align;
};

struct table {
    struct column *columns;
    char **cells;
    size_t column_count, cell_count, cell_capacity;
};

static void *must(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

struct table *table_create(void)
{
    return must(calloc(1, sizeof(struct table)));
}

void table_column(struct table *t, const char *title, enum table_align align)
{
    t->columns = must(realloc(t->columns, (t->column_count + 1) * sizeof *t->columns));
    t->columns[t->column_count].title = must(strdup(title));
    t->columns[t->column_count++].align = align;
}

void table_cell(struct table *t, const char *format, ...)
{
    char *text = NULL;
    if (format) {
        va_list ap;
        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
            abort();
        va_end(ap);
    }
    if (t->cell_count == t->cell_capacity) {
        t->cell_capacity = t->cell_capacity ? t->cell_capacity * 2 : 64;
        t->cells = must(realloc(t->cells, t->cell_capacity * sizeof *t->cells));
    }
    t->cells[t->cell_count++] = text ? text : must(strdup("-"));
}

/* One character of UTF-8 decoded by hand, so that widths do not hang on the locale's encoding; broken bytes count as
 * one column each. Returns the bytes read. */
static size_t decode(const char *text, uint32_t *out)
{
    const unsigned char *s = (const unsigned char *)text;
    int more = s[0] < 0x80 ? 0 : (s[0] & 0xe0) == 0xc0 ? 1 : (s[0] & 0xf0) == 0xe0 ? 2 : (s[0] & 0xf8) == 0xf0 ? 3 : -1;
    if (more <= 0) {
        *out = more == 0 ? s[0] : 0xfffd;
        return 1;
    }
    uint32_t c = s[0] & (0x3fu >> more);
    for (int i = 1; i <= more; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            *out = 0xfffd;
            return 1;
        }
        c = c << 6 | (s[i] & 0x3f);
    }
    *out = c;
    return (size_t)more + 1;
}

static int character_width(uint32_t c)
{
    if (c < 0x20 || c == 0x7f)
        return 1; /* printed as '?' */
    if (c < 0x7f)
        return 1;
    int width = wcwidth((wchar_t)c);
    return width < 0 ? 1 : width; /* in the C locale wcwidth knows ASCII only */
}

static size_t text_width(const char *text)
{
    size_t width = 0;
    uint32_t c;
    for (; *text; width += (size_t)character_width(c))
        text += decode(text, &c);
    return width;
}

/* *blanks are owed from the cells before, and printed only when a text follows: no line ends in blanks. */
static void print_padded(FILE *out, const char *text, size_t width, enum table_align align, size_t *blanks)
{
    size_t own = text_width(text), pad = width > own ? width - own : 0;
    if (align == TABLE_RIGHT)
        *blanks += pad;
    if (*text) {
        fprintf(out, "%*s", (int)*blanks, "");
        *blanks = 0;
    }
    for (const char *at = text; *at; at++)
        fputc((unsigned char)*at < 0x20 || *at == 0x7f ? '?' : *at, out);
    *blanks += (align == TABLE_LEFT ? pad : 0) + 2;
}

void table_print(const struct table *t, FILE *out, bool bold_header)
{
    if (t->column_count == 0)
        return;
    size_t *widths = must(calloc(t->column_count, sizeof *widths));
    for (size_t i = 0; i < t->column_count; i++)
        widths[i] = text_width(t->columns[i].title);
    for (size_t i = 0; i < t->cell_count; i++) {
        size_t width = text_width(t->cells[i]), column = i % t->column_count;
        if (width > widths[column])
            widths[column] = width;
    }
    if (bold_header)
        fputs("\033[1m", out);
    size_t blanks = 0;
    for (size_t i = 0; i < t->column_count; i++)
        print_padded(out, t->columns[i].title, widths[i], t->columns[i].align, &blanks);
    fputs(bold_header ? "\033[0m\n" : "\n", out);
    for (size_t i = 0; i < t->cell_count; i++) {
        size_t column = i % t->column_count;
        blanks = column == 0 ? 0 : blanks;
        print_padded(out, t->cells[i], widths[column], t->columns[column].align, &blanks);
        if (column + 1 == t->column_count || i + 1 == t->cell_count)
            fputc('\n', out);
    }
    free(widths);
}

void table_destroy(struct table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->column_count; i++)
        free(t->columns[i].title);
    for (size_t i = 0; i < t->cell_count; i++)
        free(t->cells[i]);
    free(t->columns);
    free(t->cells);
    free(t);
}
