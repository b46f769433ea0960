/* compare_smooth.h: smoothing of a stream of losses, one step at a time. Pure.
 *
 * ema: m <- b m + (1 - b) x from m = 0, given as m / (1 - b^n) after n values, so that the first ones are not pulled to
 * zero. window: the plain mean of the last `window` finite values. A value that is not finite is a gap: nothing is
 * given there, and it does not enter what follows.
 */
#ifndef BAKA_DAEMON_COMPARE_SMOOTH_H
#define BAKA_DAEMON_COMPARE_SMOOTH_H

#include <stddef.h>
#include <stdint.h>

struct err;

enum compare_smooth_kind { SMOOTH_NONE, SMOOTH_EMA, SMOOTH_WINDOW };

enum { SMOOTH_MAX_WINDOW = 1000000 };

struct compare_smooth {
    enum compare_smooth_kind kind;
    double beta;    /* 0 <= beta < 1 */
    int64_t window; /* 1 ... SMOOTH_MAX_WINDOW */
    /* the rest is the smoother's own */
    double mean, weight; /* weight: b^n */
    double *ring, sum;
    int64_t held, next;
};

/* "ema:0.98", "window:100"; ERR_INVALID says what is allowed. Nothing is allocated. */
int compare_smooth_parse(const char *text, struct compare_smooth *out, struct err *err);
/* A fresh smoother of the kind of `like`; ERR_NO_MEMORY. */
int compare_smooth_init(struct compare_smooth *s, const struct compare_smooth *like, struct err *err);
/* The smoothed value at this step; NaN at a gap. */
double compare_smooth_add(struct compare_smooth *s, double value);
void compare_smooth_finish(struct compare_smooth *s);

#endif
