/* compare_decide.h: is one experiment lower than another, beyond what seeds do? Pure.
 *
 * Two groups (compare_group.h) are compared by pairs: the runs of equal seed, which start from equal parameters and,
 * where data.order, window and batch are equal, see equal data in equal order. Of each pair the losses at one point are
 * subtracted: at an equal number of tokens, by default the end of the shortest run among the pairs, so that the point
 * is fixed by the plan and not by what the curves look like. Losses between two evaluations are interpolated.
 *
 * The differences decide by a paired t test at 5 %, two-sided, with Holm's correction over all pairs of groups that are
 * shown. Fewer than 3 pairs decide nothing, and neither does a point that depends on a run that still goes on: whoever
 * looks again and again until the difference is large enough finds one that is not there.
 *
 * A seed counts once, by the run of it that came furthest. Runs that failed or diverged count only where the point was
 * given and they reached it.
 *
 * Failures: memory only (-ERR_NO_MEMORY). Thread: any; no state outside the arguments.
 */
#ifndef BAKA_DAEMON_COMPARE_DECIDE_H
#define BAKA_DAEMON_COMPARE_DECIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "daemon/compare.h"
#include "daemon/compare_group.h"

struct err;

#define COMPARE_LEVEL 0.05 /* of all pairs together */
#define COMPARE_POWER 0.8  /* of the number of seeds that would settle it */

enum { COMPARE_MIN_SEEDS = 3, COMPARE_MAX_SEEDS_NEEDED = 1000 };

enum compare_verdict {
    COMPARE_LOWER,    /* a is lower; groups are swapped so that it is always a */
    COMPARE_SAME,     /* not distinguishable */
    COMPARE_TOO_FEW,  /* pairs of seeds */
    COMPARE_NOT_YET,  /* a run that the point depends on goes on */
    COMPARE_NO_ANSWER /* no seed in common, no common axis, or not the same data */
};

/* Of the pairs' crossings (compare_last_cross). */
struct compare_crossing {
    size_t pairs, crossed, a_below; /* how many cross; in how many of these a is below from there on */
    double epoch, low, high;        /* median, lowest and highest, of the run below; NaN where none crosses */
};

struct compare_decision {
    size_t a, b; /* groups; a has the lower mean where there is one */
    enum compare_verdict verdict;
    bool on_validation;            /* else on the training loss, as means over 1/20 epoch */
    bool equal_order, order_known; /* pairs see equal data in equal order */
    bool same_data;
    int64_t tokens;          /* the point; -1 where there is none */
    double epoch_a, epoch_b; /* there; NaN where there is none */
    size_t seeds, n;         /* seeds in common; pairs of these that have a finite loss at the point */
    double mean_a, mean_b;   /* of the pairs' losses; NaN: n is 0 */
    double difference, sd;   /* of a - b; sd over n - 1, NaN: n is below 2 */
    double level;            /* Holm's, of this pair */
    double low, high;        /* the interval of 1 - level; NaN: n is below COMPARE_MIN_SEEDS */
    double p, p_holm;        /* NaN as above; p_holm is to be held against COMPARE_LEVEL */
    int64_t seeds_needed;    /* that settle it with COMPARE_POWER if difference and noise are as measured; 0: not known,
                                above COMPARE_MAX_SEEDS_NEEDED: more than that */
    struct compare_crossing crossing;
};

/* What seeds do where nothing else differs: the standard deviation of a run's loss, pooled over all groups with several
 * seeds, at their ends. */
struct compare_noise {
    double sd; /* NaN: no group has several seeds */
    size_t groups, freedom;
};
struct compare_noise compare_noise_floor(const struct compare_group *groups, size_t count);

/* Decides on all pairs of groups in the order (0,1), (0,2), … With more than COMPARE_ALL_PAIRS groups only pairs with
 * at least two seeds in common are kept. at_tokens: the point, 0: the end of the shorter. Caller frees *out. */
enum { COMPARE_ALL_PAIRS = 12 };
int compare_decide(const struct compare_run *runs, const size_t *group_of, size_t count, size_t group_count,
                   int64_t at_tokens, const struct compare_noise *noise, struct compare_decision **out,
                   size_t *out_count, struct err *err);

/* "elephant is lower than swiglu at epoch 3: …", "a and b at epoch 3: not distinguishable (difference 0.011, seed noise
 * 0.030, n = 3); …" */
void compare_decision_text(const struct compare_decision *d, const char *name_a, const char *name_b,
                           const struct compare_noise *noise, char out[COMPARE_TEXT_SIZE]);

#endif
