/* store_curve.h: steps and evaluations of a run, as one curve.
 *
 * The effective curve has each step once: where several attempts recorded it, the newest attempt's. An evaluation
 * (step, split) likewise. Rules as in store_run.h; results are columns of n values, one allocation a column.
 */
#ifndef BAKA_DAEMON_STORE_CURVE_H
#define BAKA_DAEMON_STORE_CURVE_H

#include "daemon/store_run.h"

/* Bits of `columns`; also the order in which the API names them. */
enum store_column {
    COLUMN_EPOCH = 1 << 0,
    COLUMN_TOKENS = 1 << 1,
    COLUMN_LOSS = 1 << 2,
    COLUMN_LR = 1 << 3,
    COLUMN_GRAD_NORM = 1 << 4,
    COLUMN_MS = 1 << 5,
    COLUMN_TOK_S = 1 << 6,
    COLUMN_MFU = 1 << 7, /* derived: takes COLUMN_TOK_S with it */
    COLUMNS_COMPARE = COLUMN_EPOCH | COLUMN_TOKENS | COLUMN_LOSS,
    COLUMNS_ALL = (1 << 8) - 1
};

struct store_curve {
    size_t n;
    int64_t *step;                                      /* ascending, always there */
    int64_t *tokens;                                    /* these: NULL unless asked for */
    double *epoch, *loss, *lr, *grad_norm, *ms, *tok_s; /* NaN where an import has none */
    double *mfu;                                        /* 0 where it is not known */
};
void store_curve_finish(struct store_curve *v);

/* Steps in first … last (inclusive; INT64_MAX for all), at most `limit` of them (0: all), only the columns asked for: a
 * million steps of COLUMNS_COMPARE take some 15 ms. */
int store_curve_load(struct store_conn *c, int64_t run, int64_t first, int64_t last, size_t limit, unsigned columns,
                     struct store_curve *out, struct err *err);

struct store_eval {
    int64_t step, tokens, attempt;
    double epoch, loss;
    struct store_real perplexity, bits_per_byte, word_perplexity;
    char split[16];
};
/* By step, then split. Caller frees. */
int store_evals(struct store_conn *c, int64_t run, struct store_eval **out, size_t *n, struct err *err);

/* What the newest validation says besides its loss; all unknown where there is none. */
struct store_quality {
    struct store_real perplexity, bits_per_byte, word_perplexity;
};
/* Milliseconds that an evaluation of the run took at most; 0: none is recorded. */
int store_eval_longest(struct store_conn *c, int64_t run, int64_t *ms, struct err *err);
int store_eval_newest(struct store_conn *c, int64_t run, struct store_quality *out, struct err *err);

#endif
