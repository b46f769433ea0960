/* ingest_summary.h: inside ingest: what a run's row tells of its curve, so that no list reads steps. Writer's
 * connection, in a transaction. */
#ifndef BAKA_DAEMON_INGEST_SUMMARY_H
#define BAKA_DAEMON_INGEST_SUMMARY_H

#include <stdbool.h>
#include <stdint.h>
#include "daemon/ingest_window.h"
#include "daemon/store_steps.h"
#include "schema/journal.h"

/* The newest step. `ahead`: it is the curve's last; one that is computed again says nothing but its pace. */
int summary_progress(struct store_conn *c, int64_t run, const struct journal_step *s, bool ahead,
                     const struct ingest_window *w, struct err *err);
/* The newest and the best evaluation. */
int summary_val(struct store_conn *c, int64_t run, struct err *err);
/* The steps of the block, which come into the curve, as those that train.on_nonfinite skipped; what was known of the
 * same steps is replaced. *known, the run's number of such steps, follows. */
int summary_skipped(struct store_conn *c, int64_t run, const struct store_block *b, int64_t *known, struct err *err);
/* Steps 1 to the curve's last, or to `witness` where that is later, that no attempt has. `before` is what the row says
 * now; an event tells when more are missing, and when none is any more. */
int summary_missing(struct store_conn *c, int64_t run, int64_t attempt, int64_t witness, int64_t before, int64_t now_ms,
                    struct err *err);

#endif
