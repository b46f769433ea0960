/* verdict.h: what an attempt's end means for its run. Pure: evidence in, next state and words out; the policy is that
 * of docs/architecture.md, "Failure policy". */
#ifndef BAKA_DAEMON_VERDICT_H
#define BAKA_DAEMON_VERDICT_H

#include <stdbool.h>
#include <stdint.h>
#include "daemon/queue.h"
#include "schema/journal.h"

enum {
    VERDICT_TEXT_SIZE = 640,
    VERDICT_MAX_NO_PROGRESS = 50, /* attempts in a row */
    VERDICT_MAX_CRASHES = 3,      /* at one step */
    VERDICT_MAX_BACKOFF_MS = 30000,
    VERDICT_WAIT_MS = 2000, /* the first wait for room or a worker program; doubles */
    VERDICT_MAX_WAIT_MS = 120000
};

/* Why we asked the worker to stop. */
enum verdict_stop { STOP_NONE, STOP_TIME_LIMIT, STOP_DIRECTORY_GONE, STOP_HUNG, STOP_ASIDE };

struct verdict_evidence {
    bool never_started;         /* no worker was ever there: not the run's fault */
    bool launch_failed;         /* the system refused to start it; text says why */
    bool launch_waits;          /* for no fault of the run: no room, or no worker program */
    bool no_room;               /* it could not begin, or not say its last word, for want of room on the disk */
    const char *directory_gone; /* the attempt's, deleted or moved under its worker; NULL: it is there */
    bool rebooted;              /* its keeper was of an earlier boot of the machine */
    bool has_exit;              /* exit.json was written */
    int exit_status;            /* -1: by a signal */
    int exit_signal;
    bool has_end; /* the journal's last word */
    enum journal_end_reason end_reason;
    const char *text; /* of the end, or of a failed launch; "" */
    bool cancelling;
    enum run_aside aside; /* why it was asked to step aside */
    enum verdict_stop stop;
    const char *hung; /* with STOP_HUNG: in what, for how long */
    double time_limit_s;
    int64_t resume_step, last_step;               /* of the attempt; equal: it recorded nothing */
    int64_t furthest;                             /* last step that any earlier attempt recorded; 0 */
    int64_t checkpoint_step;                      /* of the newest good checkpoint; 0 */
    int64_t no_progress, crash_step, crash_count; /* of the run before this end */
    bool micro_batch_auto;                        /* the spec leaves it to the plan */
    int64_t micro_batch;                          /* what the attempt started with; 0: it did not come so far */
    int64_t micro_batch_limit;                    /* of the run before this end; 0: none */
};

struct verdict {
    enum run_state to;
    bool mark_checkpoint_bad; /* the one it was resumed from */
    int64_t backoff_ms;       /* with RUN_QUEUED; 0: at once */
    int64_t no_progress, crash_step, crash_count, micro_batch_limit;
    char outcome[64];               /* of the attempt, a word or a few */
    char reason[VERDICT_TEXT_SIZE]; /* of the run's new state */
};

void verdict_decide(const struct verdict_evidence *e, struct verdict *out);

#endif
