/* store_steps.h: inside the store: writing steps. Writer's connection, in a transaction. */
#ifndef BAKA_DAEMON_STORE_STEPS_H
#define BAKA_DAEMON_STORE_STEPS_H

#include "daemon/store_curve.h"
#include "daemon/store_statement.h"

enum { STORE_CHUNK_STEPS = 4096 };

/* Steps on their way, ascending; as blobs they go out as they stand here. */
struct store_block {
    size_t n;
    int64_t step[STORE_CHUNK_STEPS], tokens[STORE_CHUNK_STEPS];
    double epoch[STORE_CHUNK_STEPS], loss[STORE_CHUNK_STEPS], lr[STORE_CHUNK_STEPS], grad_norm[STORE_CHUNK_STEPS],
        ms[STORE_CHUNK_STEPS], tok_s[STORE_CHUNK_STEPS];
};

/* The connection's block, empty. ERR_NO_MEMORY. */
int store_block_take(struct store_conn *c, struct store_block **out, struct err *err);
/* The block as one chunk; it is empty after. */
int store_steps_write_chunk(struct store_conn *c, int64_t run, int64_t attempt, struct store_block *b, struct err *err);
/* The block as rows behind those that are there; it is empty after. */
int store_steps_write_tail(struct store_conn *c, int64_t run, int64_t attempt, struct store_block *b, struct err *err);
/* Takes the tail's rows out of the database, to the front of the block, which has room for them. */
int store_steps_take_tail(struct store_conn *c, int64_t run, int64_t attempt, struct store_block *b, struct err *err);
/* Turns the tail into a chunk, which may be short. Nothing to do is fine. */
int store_steps_seal(struct store_conn *c, int64_t run, int64_t attempt, struct err *err);

/* --- reading, with a choice of attempts: keep[n] says whether attempt n counts (NULL: all do) ------------------------
 */

struct store_extent {
    int64_t attempt, first, last; /* steps, inclusive */
    int64_t source_first, n;      /* its source's first step and rows: first may have been cut */
    int64_t chunk;                /* rowid, 0: the attempt's tail */
};
/* The effective curve's pieces that meet first … last, cut to it, ascending, disjoint. Caller frees. */
int store_extents(struct store_conn *c, int64_t run, int64_t first, int64_t last, const bool *keep, size_t keep_n,
                  struct store_extent **out, size_t *n, struct err *err);
int store_curve_load_kept(struct store_conn *c, int64_t run, int64_t first, int64_t last, size_t limit,
                          unsigned columns, const bool *keep, size_t keep_n, struct store_curve *out, struct err *err);

#endif
