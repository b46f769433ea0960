/* svg_labels.h: the names beside the curves' ends, and the arrows with their text. Lengths in SVG user units. */
#ifndef BAKA_CLI_SVG_LABELS_H
#define BAKA_CLI_SVG_LABELS_H

#include <stdio.h>
#include "cli/plot.h"

/* Okabe & Ito's colours, apart from each other for the colour-blind too, without their yellow (too light on white);
 * with more series than colours the line's pattern goes on. Prints the attributes. */
void svg_print_stroke(FILE *out, int colour);

struct svg_view {
    FILE *out;
    double left, top, width, height; /* of the plot's area */
    struct plot_axis x, y;
};

double svg_place_x(const struct svg_view *v, double x);
double svg_place_y(const struct svg_view *v, double y);

/* What the column of names needs, once the axes are known; the height is that of all names, one under the other. */
void svg_names_size(const struct svg_view *v, const struct plot *p, double *width, double *height);
/* Each name at the height where its curve ends, moved as little as possible so that none overlaps; a leader joins them,
 * dotted as far as it runs through the plot's area. A curve that ends outside the area has no leader, and says so. */
void svg_print_names(const struct svg_view *v, const struct plot *p);
/* Arrows that lie within the area as a whole, each with its text where nothing else is drawn, if there is such a place.
 * Returns how many do not. */
size_t svg_print_arrows(const struct svg_view *v, const struct plot *p);

#endif
