/* compare.h: who won, and when. Pure: curves in; best points, arrows, crossings and sentences out.
 *
 * The arrow. `a` beats b's best at the first evaluation of `a` that is below b's best and has no later evaluation of
 * `a` at or above it. There is at most one arrow a pair: a -> b says that a's last evaluation is below b's minimum, so
 * below each of b's; b -> a would say the opposite of b's last one. Equal bests give none, for "below" is strict. A
 * value that is not finite is never below anything and never a minimum, so one that comes late takes the arrow away.
 *
 * Curves are the validation evaluations where both runs have some, else the training loss as means over 1/20 epoch.
 *
 * Failures: memory only (-ERR_NO_MEMORY). Thread: any; no state outside the arguments.
 */
#ifndef BAKA_DAEMON_COMPARE_H
#define BAKA_DAEMON_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "daemon/compare_smooth.h"

struct err;

enum { COMPARE_BUCKETS_PER_EPOCH = 20, COMPARE_TEXT_SIZE = 512 };

struct compare_point {
    int64_t step, tokens;
    double epoch, loss; /* loss in nats a prediction */
};

/* Points in the order of their steps. Zeroed is empty. */
struct compare_curve {
    struct compare_point *points;
    size_t count, capacity;
};

int compare_curve_add(struct compare_curve *c, struct compare_point point, struct err *err);
void compare_curve_finish(struct compare_curve *c);
/* Index of the first finite minimum; -1 when there is none. */
ptrdiff_t compare_curve_best(const struct compare_curve *c);

/* Lowest and highest finite loss of neighbouring steps (NaN when none is finite); step, tokens and epoch of the last.
 */
struct compare_extent {
    int64_t step, tokens;
    double epoch, min, max, smooth; /* smooth: at the last step */
};

/* Reduces the losses of all steps while they stream by: means over 1/20 epoch, and extents for pictures at any zoom. */
struct compare_train {
    struct compare_curve means;
    struct compare_extent *extents;
    size_t extent_count;
    /* The same means where they stand best: in the middle of the steps, tokens and epochs that they are over. A mean
     * that is put at its last step makes a falling curve come late by 1/40 epoch; between two curves in different
     * places of their epochs that moves where they cross. */
    struct compare_curve centres;
    int64_t not_finite; /* losses */
    /* the rest is the reducer's own */
    bool open;
    double bucket_from, bucket_to; /* the open bucket holds epochs in (from, to] */
    double sum;
    int64_t in_bucket;
    struct compare_point first, last; /* of the open bucket */
    struct compare_smooth smoother;
    size_t extent_limit;
    int64_t steps_per_extent, in_extent;
};

/* extents: about how many are wanted at the end (between that and twice as many come, if there are as many steps), 0
 * for none. smooth: what their `smooth` is to be, NULL: nothing. */
int compare_train_init(struct compare_train *t, size_t extents, const struct compare_smooth *smooth, struct err *err);
/* Steps in increasing order. A bucket is (k/20, (k+1)/20] epochs; its point carries its last step, and the plain mean
 * of its steps' losses (not finite if one of them is not). */
int compare_train_add(struct compare_train *t, size_t count, const int64_t *step, const double *epoch,
                      const int64_t *tokens, const double *loss, struct err *err);
/* Closes the last bucket, which may be shorter than the others. */
int compare_train_end(struct compare_train *t, struct err *err);
void compare_train_finish(struct compare_train *t);

struct compare_arrow {
    struct compare_point at;         /* the winner's evaluation */
    struct compare_point loser_best; /* the loser's first minimum */
    double tokens_ratio; /* loser_best.tokens / at.tokens; above 1: the winner needed fewer; NaN if either is 0 */
};

/* True, and *out, when `winner` beats the loser's best. */
bool compare_beats_best(const struct compare_curve *winner, const struct compare_curve *loser,
                        struct compare_arrow *out);

struct compare_cross {
    double step, tokens, epoch; /* of the run that is below from here on; interpolated, so not whole numbers */
    bool a_below;
};

/* The loss at so many tokens, on straight lines between the finite points; NaN outside of them. */
double compare_loss_at(const struct compare_curve *c, int64_t tokens, double *epoch);

/* The last sign change of a - b over tokens. Both curves are taken as straight lines between their finite points; their
 * difference is examined at all tokens of either that lie within the range of both, where it has its only corners, so
 * that the crossing found is exact for such lines. A touch without a change of sign is none. */
int compare_last_cross(const struct compare_curve *a, const struct compare_curve *b, struct compare_cross *out,
                       bool *found, struct err *err);

/* Whether more is to come: a run that goes on, one that came to its end or was stopped, one that broke (failed,
 * diverged). */
enum compare_end { COMPARE_ENDED, COMPARE_GOES_ON, COMPARE_BROKEN };

enum { COMPARE_NO_SEED = -1 };

/* What the sentences need to know of a run. Strings belong to the caller and outlive the calls. */
struct compare_run {
    const char *id, *label; /* label: the name, made unique in this comparison */
    const char *state;      /* a run state's word */
    enum compare_end end;
    int64_t seed;       /* COMPARE_NO_SEED: an import */
    const char *reason; /* "" when none */
    const char *data;   /* data set, "" when not known (imported) */
    const char *order;  /* data.order, "" when not known */
    const char *
        windows; /* equal for runs whose batches are equal at equal seeds: order, window and batch; "" when not known */
    const char *experiment; /* equal for runs that differ in nothing but the seed */
    int64_t step, tokens;
    double epoch;           /* reached, as step and tokens */
    int64_t params;         /* -1: not known */
    double flops_per_token; /* NaN: not known */
    struct compare_curve val;
    struct compare_train train;
};

enum compare_relation { COMPARE_A_BEATS_B, COMPARE_B_BEATS_A, COMPARE_NEITHER, COMPARE_TIE, COMPARE_UNKNOWN };

struct compare_pair {
    bool on_validation; /* else on the training means */
    enum compare_relation relation;
    struct compare_arrow arrow; /* with one of the two BEATS */
    bool crossed;
    struct compare_cross cross;
};

int compare_pair(const struct compare_run *a, const struct compare_run *b, struct compare_pair *out, struct err *err);

/* One sentence on a pair, as "elephant at epoch 1.86 passes swiglu's best of 3 epochs: 1.61x fewer tokens". */
void compare_pair_text(const struct compare_run *a, const struct compare_run *b, const struct compare_pair *pair,
                       char out[COMPARE_TEXT_SIZE]);
/* What a reader must know before he believes the table: unequal data or order, runs that are not
 * finished, no evaluations, a single seed. Calls visit with one sentence a note; the text lives for the call. */
void compare_notes(const struct compare_run *runs, size_t count, void (*visit)(void *arg, const char *text), void *arg);

#endif
