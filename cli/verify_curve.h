/* verify_curve.h: what the journals of a run directory's attempts say, one after the other, and whether two runs say
 * the same, bit for bit. No daemon and no database. Thread: any. */
#ifndef BAKA_CLI_VERIFY_CURVE_H
#define BAKA_CLI_VERIFY_CURVE_H

#include <stdbool.h>
#include <stddef.h>
#include "schema/journal.h"

struct err;

struct verify_step {
    double loss, grad_norm;
    bool there;
};

struct verify_eval {
    int64_t step;
    double loss;
    char split[16];
};

struct verify_curve {
    struct verify_step *steps; /* step s at s - 1 */
    size_t size;               /* how many there is room for; the furthest step that was recorded */
    struct verify_eval *evals; /* in the order in which they came, each (step, split) once */
    size_t eval_count;
    int64_t total_steps;             /* by the newest start; 0: none */
    int64_t replayed, replay_misses; /* steps that were done again; of these, with another loss or gradient norm */
    char numerics_id[SHA256_HEX_SIZE];
    bool other_numerics; /* the attempts do not have the same */
    char checkpoint[64]; /* the newest that was recorded; "" */
    int64_t checkpoint_step;
    bool ended; /* the newest attempt's `end` */
    struct journal_end end;
};

/* Journals of the attempts 1 to `attempts`; whole lines only. ERR_DAMAGED for a line that is no record. */
int verify_curve_read(const char *run_dir, int attempts, struct verify_curve *out, struct err *err);
void verify_curve_finish(struct verify_curve *c);

struct verify_difference {
    int64_t step;     /* 0: none */
    const char *what; /* "loss", "gradient norm", "validation loss" */
    double a, b;      /* NaN where a run has none */
};
/* Returns how many values differ; *first is the first of them. */
int64_t verify_curve_compare(const struct verify_curve *a, const struct verify_curve *b,
                             struct verify_difference *first);

#endif
