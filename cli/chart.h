/* chart.h: curves in a terminal, in Braille dots (two by four a cell). Each series has a colour and a letter; the
 * letter stands in the legend and right behind the curve's last cell, wherever that is, and, where there are no
 * colours, here and there on the curve too. A curve that ends outside the range of y has no letter there; the legend
 * says so. */
#ifndef BAKA_CLI_CHART_H
#define BAKA_CLI_CHART_H

#include <stdbool.h>
#include <stdio.h>

struct plot;

struct chart_options {
    int width;  /* columns in all, >= 40 is sensible; less than 20 is raised to that */
    int height; /* rows of dots, without title, axis and legend; at least 4 */
    bool colour;
};

/* Prints a line that says so when there is nothing to draw. */
void chart_print(FILE *out, const struct plot *p, const struct chart_options *options);

#endif
