/* output.h: what goes to standard output. Colours only where that is a terminal, TERM is not "dumb" and NO_COLOR is
 * unset or empty. Thread: the main one. */
#ifndef BAKA_CLI_OUTPUT_H
#define BAKA_CLI_OUTPUT_H

#include <stdbool.h>
#include <stdio.h>
#include <cjson/cJSON.h>

enum output_style {
    STYLE_PLAIN, /* back to normal */
    STYLE_BOLD,
    STYLE_DIM,
    STYLE_RED,
    STYLE_GREEN,
    STYLE_YELLOW,
    STYLE_BLUE,
    STYLE_MAGENTA,
    STYLE_CYAN,
    STYLE_COUNT
};

bool output_is_terminal(FILE *stream);
bool output_has_colour(FILE *stream);
/* The escape sequence, or "" where the stream has no colours. */
const char *output_style(FILE *stream, enum output_style style);
/* Columns of the terminal on standard output, else $COLUMNS, else 80; at least 20. */
int output_width(void);
/* One line of JSON in the order of the object; numbers survive (17 digits where needed), integers without exponent. */
void output_json(FILE *stream, const cJSON *item);
/* Text with control bytes (but newline and tab) as \xNN, so that a log or name cannot drive the terminal. */
void output_text(FILE *stream, const char *text, size_t size);
/* A line; on a terminal that is narrower broken at spaces, what follows indented by two columns. Control bytes as
 * above.
 */
void output_line(FILE *stream, const char *text);
/* Flushes standard output. False, with a line on standard error, when something was not written (a full disk); a closed
 * pipe is no error. */
bool output_flush(void);
/* "1.61k", "4.29M", "1.2G": three digits, decimal prefixes. */
void output_format_count(double n, char out[32]);
/* "512 B", "1.50 MiB", "2.00 GiB". */
void output_format_bytes(double bytes, char out[32]);

#endif
