/* comparison_axis.h: what curves are drawn over, and losses at an equal budget of it. Thread: any. */
#ifndef BAKA_CLI_COMPARISON_AXIS_H
#define BAKA_CLI_COMPARISON_AXIS_H

#include <stdbool.h>
#include <stddef.h>
#include "cli/comparison.h"

#define COMPARISON_AXES "step, epoch, tokens, time, gpu-time, flops or energy"

bool comparison_axis_parse(const char *word, enum comparison_axis *out);
/* The daemon has to be asked for what this axis needs. */
bool comparison_axis_needs_time(enum comparison_axis axis);
const char *comparison_axis_word(enum comparison_axis axis);

/* Fills x of all curves, in a unit that suits the largest value, and c->x_label with its name. */
void comparison_use_axis(struct comparison *c, enum comparison_axis axis);
/* False for a run that has a curve, but nothing to put it over. */
bool comparison_has_axis(const struct comparison *c, const struct comparison_run *r);
/* x of a curve at one of its steps; NaN where it has none. */
double comparison_x_at(const struct comparison_curve *curve, double step);

/* The losses of all runs at as much of `axis` as the one with the least of it has. */
struct comparison_budget {
    char text[64]; /* "at 380k tokens" */
    double *loss;  /* [c->count]; NaN: not known */
    size_t unknown;
};
/* False when no run knows the axis. */
bool comparison_budget_init(struct comparison_budget *b, const struct comparison *c, enum comparison_axis axis);
void comparison_budget_finish(struct comparison_budget *b);

#endif
