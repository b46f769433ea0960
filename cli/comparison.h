/* comparison.h: the daemon's answer to a comparison, as pictures and CSV need it. Strings and numbers are copied out of
 * the JSON where they are used as arrays; texts stay in it, so the answer has to outlive this. Thread: any. */
#ifndef BAKA_CLI_COMPARISON_H
#define BAKA_CLI_COMPARISON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <cjson/cJSON.h>
#include "cli/plot.h"

/* What curves are drawn over; words in comparison_axis.c. */
enum comparison_axis {
    COMPARISON_STEP,
    COMPARISON_EPOCH,
    COMPARISON_TOKENS,
    COMPARISON_TIME,
    COMPARISON_GPU_TIME,
    COMPARISON_FLOPS,
    COMPARISON_ENERGY,
    COMPARISON_AXIS_COUNT
};

struct comparison_curve {
    size_t count;
    double *step, *epoch, *tokens, *loss; /* [count] */
    double *seconds;                      /* NULL: not asked for */
    double *x;                            /* by comparison_use_axis */
};

struct comparison_run {
    const cJSON *json;
    const char *id, *label, *group; /* group: its name, "" without */
    struct comparison_curve val, train;
    struct comparison_curve raw;    /* where asked for: neighbouring steps; loss is the smoothed one, NaN without */
    double *low, *high;             /* [raw.count]: their lowest and highest */
    struct comparison_curve energy; /* where asked for: step, and joules as loss */
    double best;                    /* of the curve that decides; NaN: none */
};

struct comparison {
    const cJSON *json;
    struct comparison_run *runs;
    size_t count;
    bool on_validation; /* every run that has steps has evaluations too: val decides, else train */
    ptrdiff_t winner;   /* index of the lowest best, -1: none, or several share it */
    bool smoothed;      /* the daemon was asked for it: raw.loss is drawn, over raw */
    enum comparison_axis axis;
    const char *x_label;
};

enum comparison_metric { COMPARISON_ANY, COMPARISON_TRAIN, COMPARISON_VAL };

/* By epoch, until comparison_use_axis is called. COMPARISON_ANY: on validation where every run has some. */
void comparison_init(struct comparison *c, const cJSON *answer, enum comparison_metric metric);
/* The curve that decides. */
const struct comparison_curve *comparison_deciding(const struct comparison *c, const struct comparison_run *r);
void comparison_finish(struct comparison *c);

struct comparison_choice {
    size_t max_runs, max_arrows;
    size_t max_train; /* training curves are drawn too, thin, when there are no more runs than this */
    enum plot_scale x_scale, y_scale;
    bool notes; /* the picture says itself what it leaves out, and the daemon's notes */
};

/* A picture of the max_runs runs with the lowest bests, the very best drawn last and strong. Its arrows are those of
 * the lowest run that passes any other on the curve drawn, over the others from the lowest on. Series point into the
 * comparison, which has to outlive this. Finish it with comparison_plot_finish. */
struct comparison_band {
    double *x, *y;
};
struct comparison_plot {
    struct plot plot;
    struct comparison_band *bands; /* [band_count] */
    size_t band_count;
    struct plot_series *series;
    struct plot_arrow *arrows;
    char **texts; /* all that is owned: details, arrow texts, notes */
    size_t text_count, left_out;
};
void comparison_plot_init(const struct comparison *c, const struct comparison_choice *choice,
                          struct comparison_plot *out);
void comparison_plot_finish(struct comparison_plot *p);

/* run,name,step,epoch,tokens,metric,value: a line a point of all curves, doubles with 17 digits. */
void comparison_print_csv(const struct comparison *c, FILE *out);

#endif
