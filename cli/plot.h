/* plot.h: what a picture of curves needs, whoever draws it: series, arrows between them, axes with ticks. Pure.
 * Thread: any. */
#ifndef BAKA_CLI_PLOT_H
#define BAKA_CLI_PLOT_H

#include <stdbool.h>
#include <stddef.h>

struct plot_series {
    const char *label;
    const char *detail;  /* stands behind the label, as "1.5130, best 1.5120"; NULL for none */
    const double *x, *y; /* a point with a value that is not finite breaks the line */
    size_t count;
    int colour;  /* index into the drawer's palette; series that belong together share it */
    bool faint;  /* drawn thin, without a letter or label, and last in line for a say in the range of y */
    bool strong; /* drawn heavier */
};

/* From the loser's best back to where the winner passed it. */
struct plot_arrow {
    double winner_x, winner_y, loser_x, loser_y;
    int colour; /* the winner's */
    const char *text;
};

enum plot_scale { PLOT_AUTO, PLOT_LINEAR, PLOT_LOG };

struct plot {
    enum plot_scale x_scale, y_scale; /* logarithmic only where there are positive values */
    const char *title, *x_label, *y_label;
    const struct plot_series *series; /* later ones are drawn over earlier ones */
    size_t series_count;
    const struct plot_arrow *arrows;
    size_t arrow_count;
    const char *const *notes; /* what a reader has to know beside the picture, a sentence each */
    size_t note_count;
};

struct plot_axis {
    double min, max; /* min < max, finite */
    bool log;        /* only with min > 0 */
};

/* All x. False when there is no finite point at all. */
bool plot_x_axis(const struct plot *p, struct plot_axis *out);
/* The part of y that is worth looking at, so that late differences are seen: from the lowest value up to the highest
 * one after the first fifth of x, as far as that stays within a few times of what the curves still fall then. Neither
 * first steps nor an explosion nor one hopeless run flattens the rest; what lies above is for the drawer to cut off,
 * and to say so. Logarithmic when the range spans more than a factor of 4. */
bool plot_y_axis(const struct plot *p, struct plot_axis *out);
/* 0 at min, 1 at max, beyond them outside. */
double plot_axis_place(const struct plot_axis *a, double value);
/* The value at a place. */
double plot_axis_value(const struct plot_axis *a, double place);
bool plot_axis_holds(const struct plot_axis *a, double value);

/* Index of the last finite point, where the curve ends; -1: none. */
ptrdiff_t plot_series_end(const struct plot_series *s);

enum { PLOT_TICKS_MAX = 24 };

struct plot_tick {
    double value;
    char label[24];
};

/* At most `wanted` (2 ... PLOT_TICKS_MAX) round values within the axis, in increasing order. */
size_t plot_ticks(const struct plot_axis *a, size_t wanted, struct plot_tick out[PLOT_TICKS_MAX]);

#endif
