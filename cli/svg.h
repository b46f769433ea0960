/* svg.h: curves as one self-contained SVG file on white, as it can be printed: axes with ticks, each name with its
 * numbers where its curve ends, arrows with their text where nothing else is drawn, the notes below. What is left out
 * is said. */
#ifndef BAKA_CLI_SVG_H
#define BAKA_CLI_SVG_H

#include <stdio.h>

struct plot;

/* Always a whole, well-formed document, also when there is nothing to draw. Series with many points keep the first, the
 * lowest, the highest and the last of each half pixel, so nothing visible is lost. Write errors stay with the stream.
 */
void svg_print(FILE *out, const struct plot *p);

#endif
