/* ingest_replay.h: are the steps that an attempt does again the same as when an older attempt did them? Inside ingest.
 */
#ifndef BAKA_DAEMON_INGEST_REPLAY_H
#define BAKA_DAEMON_INGEST_REPLAY_H

#include "daemon/store_steps.h"

/* How far a loss may be off, relative to the larger, when the numerics ids differ. */
#define REPLAY_TOLERANCE 1e-3

/* Which older attempts there are. */
struct replay {
    bool *same, *other; /* by attempt: with the same numerics id, with another; NULL: no older attempt */
    size_t n;
    int64_t last_step;            /* of all of them; -1: none */
    char before[SHA256_HEX_SIZE]; /* the numerics id of the newest that started; "" without one */
};

struct replay_found {
    int64_t replayed, nondeterministic; /* steps done again under an equal numerics id; of these, not equal bit for bit */
    int64_t replayed_other, drifted;    /* the same under another id; of these, beyond the tolerance */
};

void replay_finish(struct replay *p);
/* For an attempt that started with numerics_id. *p is finished first. */
int replay_load(struct store_conn *c, int64_t run, int64_t attempt, const char *numerics_id, struct replay *p,
                struct err *err);
/* Compares losses and gradient norms of the block's steps (under another id, losses) and adds to *found. The first one that is off makes an event, unless the attempt had
 * one before (*found is not zero). */
int replay_compare(struct store_conn *c, int64_t run, int64_t attempt, const struct replay *p,
                   const struct store_block *b, int64_t now_ms, struct replay_found *found, struct err *err);

#endif
