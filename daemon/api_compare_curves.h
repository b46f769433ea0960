/* api_compare_curves.h: "curves" and "energy" of a run of GET /v1/compare, into the object that is open. */
#ifndef BAKA_DAEMON_API_COMPARE_CURVES_H
#define BAKA_DAEMON_API_COMPARE_CURVES_H

#include <stdbool.h>
#include <stdint.h>

struct compare_run;
struct err;
struct jsonw;
struct store_conn;
struct store_curve;

/* How many seconds of training lie before the points of a run's curves: the sum of the milliseconds of the effective
 * curve's steps, so that what was computed twice counts once, and neither evaluations nor checkpoints count. NaN from
 * the first step on that does not know its time, as in an import. Zeroed: not asked for. */
struct api_clock {
    double *train, *val, *raw; /* [train.means.count], [val.count], [train.extent_count] */
};
int api_clock_init(struct api_clock *clock, const struct store_curve *steps, const struct compare_run *r,
                   struct err *err);
void api_clock_finish(struct api_clock *clock);

void api_curves_write(struct jsonw *w, const struct compare_run *r, const struct api_clock *clock, bool raw,
                      bool smooth);
/* "energy": the joules that were spent when a step was reached, of all attempts, at the steps where the GPU was looked
 * at. What superseded steps took is in it: it was spent. */
int api_energy_write(struct store_conn *c, struct jsonw *w, int64_t run, struct err *err);

#endif
