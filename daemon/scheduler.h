/* scheduler.h: which queued runs to launch now, and on what. Pure: no clock, no I/O; equal inputs give equal decisions.
 *
 * Policy: first in, first out, with backfill that delays nobody. Jobs are taken in the caller's order. The first job
 * that is due and does not fit becomes the head: the CPU slots it needs are set aside as they become free, and so are
 * its GPUs; later jobs start only on what is left. So what the head waits for only grows, and it starts as soon as
 * those before it leave. A job with a backoff (not_before) in the future is passed over until then and reserves
 * nothing.
 *
 * Preemption: a due job that does not fit and may preempt asks holdings of strictly lower priority that may yield to
 * step aside: the lowest first, the first in the caller's order among equals, and no more than it needs with what
 * leaves already. Who was asked keeps what it holds until it has left. Its run is queued again behind the one that it
 * made room for, and being lower it can never ask that one to leave in its turn. Where a job waits that may not
 * preempt, none behind it does, for the room would be the first one's.
 *
 * CPU slots are counted. A GPU is whole (gpu_memory 0: nobody else on it) or shared by MiB: the fullest GPU that still
 * has room is taken, so that whole ones stay whole. Several GPUs of one job are different ones.
 */
#ifndef BAKA_DAEMON_SCHEDULER_H
#define BAKA_DAEMON_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum { SCHEDULER_MAX_GPUS = 64 };

struct sched_machine {
    int cpu_slots;
    int gpu_count;
    int64_t gpu_memory_mib[SCHEDULER_MAX_GPUS];
};

struct sched_demand {
    int cpus;               /* >= 1 */
    int gpus;               /* 0: none */
    int64_t gpu_memory_mib; /* on each GPU; 0: the whole GPU */
};

/* What a running attempt holds. */
struct sched_holding {
    struct sched_demand demand;
    uint64_t gpu_mask; /* bit i: GPU i; as many bits as demand.gpus */
    int64_t priority;
    bool may_yield; /* it can step aside without losing anything */
    bool leaves;    /* it was asked to, or ends for another reason */
};

struct sched_job {
    int64_t id;
    struct sched_demand demand;
    int64_t not_before_ms;
    int64_t priority;
    bool may_preempt;
};

struct sched_launch {
    size_t job; /* index into jobs */
    uint64_t gpu_mask;
};

struct sched_yield {
    size_t holding, job; /* indices: who is asked, and for whom */
};

/* What decide fills in. */
struct sched_room {
    struct sched_launch *launches;
    size_t max_launches;
    struct sched_yield *yields; /* NULL with max_yields 0: nobody is asked */
    size_t max_yields;
};

struct sched_decision {
    size_t launch_count, yield_count;
    int64_t next_due_ms; /* earliest not_before in the future among jobs; INT64_MAX: none */
};

/* ERR_INVALID, with the field's path, when the machine could not run it even if it were empty. */
int scheduler_check(const struct sched_machine *m, const struct sched_demand *d, struct err *err);
/* Jobs by falling priority, in the order in which they are to start among equals. Cannot fail. Jobs that
 * scheduler_check refuses are passed over. */
struct sched_decision scheduler_decide(const struct sched_machine *m, const struct sched_holding *holdings,
                                       size_t holding_count, const struct sched_job *jobs, size_t job_count,
                                       int64_t now_ms, const struct sched_room *out);

#endif
