/* store_aside.h: runs that step aside: paused by request, with the whole queue, for a run of higher priority, or for
 * want of disk space. Rules as in store_run.h.
 *
 * A run that has a worker is marked with the reason, which survives the daemon; the caller stops the worker, and the
 * attempt's end clears the mark. A pause asked for by name is not overwritten by another reason. */
#ifndef BAKA_DAEMON_STORE_ASIDE_H
#define BAKA_DAEMON_STORE_ASIDE_H

#include "daemon/store_run.h"

/* queued: paused at once. starting, running: marked; the caller stops its worker. Else ERR_CONFLICT. *state is the
 * state after. */
int store_run_pause(struct store_conn *c, int64_t id, int64_t now_ms, enum run_state *state, struct err *err);
/* paused: queued. starting, running and marked by a pause: the mark goes, so that it is queued when its worker has
 * ended. Else ERR_CONFLICT. */
int store_run_resume(struct store_conn *c, int64_t id, int64_t now_ms, struct err *err);
/* Marks a run that has a worker. ERR_CONFLICT when it has none, is marked already, or is being cancelled. */
int store_run_step_aside(struct store_conn *c, int64_t id, enum run_aside why, const char *text, int64_t now_ms,
                         struct err *err);

/* Of a run that has not ended, else ERR_CONFLICT. */
int store_run_set_priority(struct store_conn *c, int64_t id, int64_t priority, int64_t now_ms, struct err *err);

/* Whether the whole queue is paused. */
int store_queue_is_paused(struct store_conn *c, bool *paused, struct err *err);
/* Marks the runs that have workers; *asked of them are stopped by the caller. */
int store_queue_pause(struct store_conn *c, int64_t now_ms, int64_t *asked, struct err *err);
/* And every run that is paused, by whatever request, is queued: *resumed of them. */
int store_queue_resume(struct store_conn *c, int64_t now_ms, int64_t *resumed, struct err *err);

#endif
