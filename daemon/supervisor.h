/* supervisor.h: from the queue to running workers and back. Decides with the scheduler, launches, tails journals into
 * the store, notices ends, classifies them, and takes over what an earlier daemon left running. Loop's thread.
 *
 * An attempt's way: claimed (a transaction) → prepared (folders, spec.json, lock; off the loop) → spawned → its journal
 * is read while it lives, every 50 ms, all attempts in one timer → gone (exit of our child, or its pidfd) → the rest of
 * the journal is read → the verdict, one transaction with the run's next state → its slots are free, the queue is
 * looked at again. A failing store stops none of this: the step is tried again after a second, with a full disk after
 * up to ten. A worker program that is not there any more stops the launches until it is back; no attempt is counted.
 */
#ifndef BAKA_DAEMON_SUPERVISOR_H
#define BAKA_DAEMON_SUPERVISOR_H

#include <stdint.h>
#include "daemon/queue.h"
#include "daemon/scheduler.h"

struct bakad;
struct err;
struct supervisor;

int supervisor_create(struct bakad *b, struct supervisor **out, struct err *err);
/* Reads what is recorded as starting or running, adopts or ends it, then begins to launch. */
void supervisor_start(struct supervisor *s);
/* Something was queued, or slots may be free: looks at the queue soon. */
void supervisor_wake(struct supervisor *s);
/* The run was marked as cancelling: its worker gets SIGTERM, and SIGKILL after the grace. */
void supervisor_cancel(struct supervisor *s, int64_t run);
/* The run was marked: its worker is asked to checkpoint and step aside, without a deadline but the watchdog's.
 * ASIDE_NONE: the mark was taken back. */
void supervisor_step_aside(struct supervisor *s, int64_t run, enum run_aside why);
/* Of a run that works: whom it may be asked to make room for. */
void supervisor_set_priority(struct supervisor *s, int64_t run, int priority);
/* As the store has it: nothing is launched any more, and all workers step aside; or it goes on. */
void supervisor_pause_queue(struct supervisor *s, bool paused);
/* No launches, no watching any more; workers go on. Jobs in the store may still end. */
void supervisor_stop(struct supervisor *s);
/* After supervisor_stop, when the store has closed. */
void supervisor_destroy(struct supervisor *s);

enum { SUPERVISOR_TROUBLE_SIZE = 900, SUPERVISOR_QUARANTINED_MAX = 16 };

/* A worker that is still there after SIGKILL; its slots and GPUs stay taken. */
struct supervisor_quarantined {
    int64_t run, attempt;
    int pid; /* the trainer's */
    char what[320];
};

struct supervisor_usage {
    bool queue_paused;
    int cpus;
    char trouble[SUPERVISOR_TROUBLE_SIZE]; /* what the queue waits for besides slots; "": nothing */
    int gpu_runs[SCHEDULER_MAX_GPUS];
    int quarantined_count; /* the first SUPERVISOR_QUARANTINED_MAX of them */
    struct supervisor_quarantined quarantined[SUPERVISOR_QUARANTINED_MAX];
};
void supervisor_get_usage(const struct supervisor *s, struct supervisor_usage *out);
/* Any thread, until supervisor_destroy: why the record of the run is behind what really happens, or why no queued run
 * starts, in at most 32 characters; NULL: nothing of the kind. */
const char *supervisor_waits_for(struct supervisor *s, int64_t run, enum run_state state);

#endif
