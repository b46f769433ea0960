/* ingest.h: an attempt's journal into the store.
 *
 * The caller reads the journal file from the offset that ingest says and hands over what is there, in a write job;
 * whole lines are taken, a torn last line is left for the next time. Steps, evaluations, looks at the GPU, checkpoints,
 * `start`, `end`, the run's summary and the new offset are written together, so that after a crash offset and steps
 * agree and reading goes on where the database says. When the job fails (its run or its commit), nothing is lost: ask
 * again with the same object, it notices that the database is not where it thought and reloads itself.
 *
 * Damage is shown, never skipped in silence: a whole line that is no record, a line longer than JOURNAL_LINE_MAX, a
 * step that does not follow the one before, a second `start`, anything after `end`: the attempt is marked
 * journal_damaged and an event tells the first place; later records go on being taken, steps at or before the last one
 * are not. Steps that were lost so are counted with the run (missing_steps), and an event tells of them, until a later
 * attempt computes them again.
 *
 * Replays: steps that an older attempt of the run recorded too are compared with it. Equal numerics id and any bit of
 * the loss other: run.nondeterminism counts every such step, the first one of an attempt makes a `nondeterminism` event
 * with both losses. Other numerics id: the first one further apart than 1e-3 (relative) makes a `replay_drift` event.
 *
 * A struct ingest is used by the thread of the connection that it is given, one call at a time.
 */
#ifndef BAKA_DAEMON_INGEST_H
#define BAKA_DAEMON_INGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "daemon/store.h"
#include "schema/journal.h"

struct ingest;

/* Never touches the database. */
struct ingest *ingest_create(int64_t run, int64_t attempt);
void ingest_destroy(struct ingest *g);

/* What one call of ingest_feed brought. */
struct ingest_news {
    int64_t offset; /* where to read on: the first byte not in the store */
    int64_t records;
    bool started, ended, evaluated, checkpointed, damaged; /* in this call */
    struct journal_end end;                                /* when ended */
    int64_t steps;                                         /* in this call */
    struct journal_step last;                              /* when steps > 0 */
    double slowest_step_ms;                                /* of them */
    struct journal_start start;                            /* when started */
    int64_t evaluated_step, checkpointed_step;             /* when evaluated, checkpointed: the newest */
    double evaluation_ms, checkpoint_ms;
    int64_t nondeterminism; /* steps found in this call */
};
enum { INGEST_BUFFER_BYTES = 1 << 20 }; /* a good size to read; any above JOURNAL_LINE_MAX works */

/* bytes begin at `offset` of the journal. When offset is not where the store stands, nothing is taken and news->offset
 * says where to read: so a first call with size 0 is the way to ask. */
int ingest_feed(struct store_conn *c, struct ingest *g, int64_t offset, const char *bytes, size_t size, int64_t now_ms,
                struct ingest_news *news, struct err *err);

#endif
