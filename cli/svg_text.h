/* svg_text.h: text for SVG: escaped, measured about, and broken into lines. Thread: any. */
#ifndef BAKA_CLI_SVG_TEXT_H
#define BAKA_CLI_SVG_TEXT_H

#include <stddef.h>
#include <stdio.h>

/* At most `size` bytes. What XML 1.0 does not allow (control bytes, broken UTF-8, U+FFFE, U+FFFF) becomes '?'. */
void svg_text_print(FILE *out, const char *text, size_t size);
/* About the width in pixels; that of a wide font, so that others need less. */
double svg_text_width(const char *text, size_t size, double font_px);
/* Bytes of the first line of text that is no wider than that: whole words if one fits, else up to a '-', '_' or '.'
 * that no digit follows, else what fits, at least one character. */
size_t svg_text_fit(const char *text, double font_px, double width);
/* What follows that line; the space at the break is dropped. */
const char *svg_text_next(const char *text, size_t fitted);

#endif
