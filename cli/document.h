/* document.h: a text with headings, tables and a picture, as Markdown or as one self-contained HTML page (no script, no
 * request to anywhere; light and dark). Texts are escaped for the format. Writes to a stream, whose errors are the
 * stream's. Thread: one a document. */
#ifndef BAKA_CLI_DOCUMENT_H
#define BAKA_CLI_DOCUMENT_H

#include <stdbool.h>
#include <stdio.h>

struct plot;

enum document_format { DOCUMENT_MARKDOWN, DOCUMENT_HTML };

struct document {
    FILE *out;
    enum document_format format;
    const char *picture; /* Markdown: what links to the picture, NULL: it is left out */
    int column;          /* of the table that is open */
};

void document_begin(struct document *d, const char *title);
void document_end(struct document *d);
void document_heading(struct document *d, int level, const char *text);
void document_paragraph(struct document *d, const char *text);
void document_list_begin(struct document *d);
void document_list_item(struct document *d, const char *text);
void document_list_end(struct document *d);
/* Text as it stands, several lines. */
void document_code(struct document *d, const char *text);
/* The first column is text, the others are numbers; a row is as many cells as there are columns. */
void document_table_begin(struct document *d);
void document_table_column(struct document *d, const char *title);
void document_table_row(struct document *d);
void document_table_cell(struct document *d, const char *text);
void document_table_end(struct document *d);
/* HTML: the SVG itself. */
void document_picture(struct document *d, const struct plot *plot);

#endif
