/* scheduler.c: see scheduler.h for the policy. Cost: jobs × GPUs × GPUs a job. */
#include "daemon/scheduler.h"

#include <string.h>
#include "base/err.h"

/* What is free. gpu_users counts runs on a GPU: a whole GPU is wanted only where it is 0. */
struct room {
    int cpus;
    int gpu_count;
    int gpu_users[SCHEDULER_MAX_GPUS];
    bool gpu_whole[SCHEDULER_MAX_GPUS]; /* held as a whole by somebody */
    int64_t gpu_free[SCHEDULER_MAX_GPUS];
};

static void room_init(struct room *room, const struct sched_machine *m)
{
    memset(room, 0, sizeof *room);
    room->cpus = m->cpu_slots;
    room->gpu_count = m->gpu_count < SCHEDULER_MAX_GPUS ? m->gpu_count : SCHEDULER_MAX_GPUS;
    memcpy(room->gpu_free, m->gpu_memory_mib, sizeof room->gpu_free);
}

static void room_take(struct room *room, const struct sched_demand *d, uint64_t gpu_mask)
{
    room->cpus -= d->cpus;
    for (int g = 0; g < room->gpu_count; g++) {
        if (!(gpu_mask >> g & 1))
            continue;
        room->gpu_users[g]++;
        if (d->gpu_memory_mib == 0)
            room->gpu_whole[g] = true;
        else
            room->gpu_free[g] -= d->gpu_memory_mib;
    }
}

static bool gpu_fits(const struct room *room, int g, const struct sched_demand *d)
{
    if (room->gpu_whole[g])
        return false;
    return d->gpu_memory_mib == 0 ? room->gpu_users[g] == 0 : room->gpu_free[g] >= d->gpu_memory_mib;
}

/* Chooses GPUs: for a share the fullest that fits, for a whole one the smallest; ties go to the lower index. */
static bool room_fits(const struct room *room, const struct sched_demand *d, uint64_t *gpu_mask)
{
    if (d->cpus > room->cpus)
        return false;
    uint64_t mask = 0;
    for (int n = 0; n < d->gpus; n++) {
        int best = -1;
        for (int g = 0; g < room->gpu_count; g++) {
            if ((mask >> g & 1) || !gpu_fits(room, g, d))
                continue;
            if (best < 0 || room->gpu_free[g] < room->gpu_free[best])
                best = g;
        }
        if (best < 0)
            return false;
        mask |= (uint64_t)1 << best;
    }
    *gpu_mask = mask;
    return true;
}

int scheduler_check(const struct sched_machine *m, const struct sched_demand *d, struct err *err)
{
    int big_enough = 0;
    if (d->cpus < 1 || d->cpus > m->cpu_slots)
        return err_set_at(err, ERR_INVALID, "resources.cpus",
                          "%d CPU slots asked for; this daemon has %d (--cpu-slots)", d->cpus, m->cpu_slots);
    if (d->gpus > m->gpu_count)
        return err_set_at(err, ERR_INVALID, "resources.gpus", "%d asked for; this machine has %d GPU%s", d->gpus,
                          m->gpu_count, m->gpu_count == 1 ? "" : "s");
    for (int g = 0; d->gpus > 0 && g < m->gpu_count; g++)
        big_enough += m->gpu_memory_mib[g] >= d->gpu_memory_mib;
    if (big_enough < d->gpus)
        return err_set_at(err, ERR_INVALID, "resources.gpu_memory",
                          "%lld MiB asked for on %d GPUs; %d of this machine have as much",
                          (long long)d->gpu_memory_mib, d->gpus, big_enough);
    return 0;
}

/* Sets aside what the waiting head needs. Where it lacks GPUs, every GPU that could serve it once empty is closed to
 * later jobs: a stream of small shares would otherwise keep each of them occupied for ever. */
static void room_reserve(struct room *room, const struct sched_machine *m, const struct sched_demand *head)
{
    struct sched_demand gpus_only = *head;
    uint64_t mask;
    gpus_only.cpus = 0;
    bool gpus_fit = room_fits(room, &gpus_only, &mask);
    room->cpus -= head->cpus;
    if (gpus_fit) {
        room_take(room, &gpus_only, mask);
        return;
    }
    for (int g = 0; g < room->gpu_count; g++)
        if (m->gpu_memory_mib[g] >= head->gpu_memory_mib)
            room->gpu_whole[g] = true;
}

/* --- preemption ----------------------------------------------------------------------------------------------------
 */

static void room_give(struct room *room, const struct sched_holding *h)
{
    room->cpus += h->demand.cpus;
    for (int g = 0; g < room->gpu_count; g++) {
        if (!(h->gpu_mask >> g & 1))
            continue;
        room->gpu_users[g]--;
        if (h->demand.gpu_memory_mib == 0)
            room->gpu_whole[g] = false;
        else
            room->gpu_free[g] += h->demand.gpu_memory_mib;
    }
}

struct preemption {
    const struct sched_holding *holdings;
    size_t holding_count;
    struct sched_yield *yields;
    size_t count, max;
    struct room later; /* what will be free when all who leave have left, less what waiting jobs take of it */
    bool closed;       /* a job waits for what it may not ask for */
};

static bool is_asked(const struct preemption *p, size_t holding)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->yields[i].holding == holding)
            return true;
    return false;
}

/* The next to be asked for the job, or holding_count. */
static size_t lowest(const struct preemption *p, const struct sched_job *job)
{
    size_t best = p->holding_count;
    for (size_t i = 0; i < p->holding_count; i++) {
        const struct sched_holding *h = &p->holdings[i];
        if (h->may_yield && !h->leaves && h->priority < job->priority && !is_asked(p, i) &&
            (best == p->holding_count || h->priority < p->holdings[best].priority))
            best = i;
    }
    return best;
}

/* Sets aside for a waiting job what will be free; asks as many to leave as that takes, or none. */
static void preempt_for(struct preemption *p, const struct sched_job *job, size_t job_index)
{
    size_t before = p->count, next;
    uint64_t mask;
    bool fits = room_fits(&p->later, &job->demand, &mask);
    while (!fits && job->may_preempt && p->count < p->max && (next = lowest(p, job)) < p->holding_count) {
        p->yields[p->count++] = (struct sched_yield){next, job_index};
        room_give(&p->later, &p->holdings[next]);
        fits = room_fits(&p->later, &job->demand, &mask);
    }
    if (!fits) {
        for (; p->count > before; p->count--)
            room_take(&p->later, &p->holdings[p->yields[p->count - 1].holding].demand,
                      p->holdings[p->yields[p->count - 1].holding].gpu_mask);
        p->closed = true;
        return;
    }
    /* one that was asked early may hold nothing of what it took at last; the highest are spared first */
    for (size_t i = p->count; i-- > before;) {
        const struct sched_holding *h = &p->holdings[p->yields[i].holding];
        room_take(&p->later, &h->demand, h->gpu_mask);
        if (room_fits(&p->later, &job->demand, &mask)) {
            p->yields[i] = p->yields[--p->count];
            continue;
        }
        room_give(&p->later, h);
    }
    if (room_fits(&p->later, &job->demand, &mask))
        room_take(&p->later, &job->demand, mask);
}

struct sched_decision scheduler_decide(const struct sched_machine *m, const struct sched_holding *holdings,
                                       size_t holding_count, const struct sched_job *jobs, size_t job_count,
                                       int64_t now_ms, const struct sched_room *out)
{
    struct sched_decision decision = {.next_due_ms = INT64_MAX};
    struct preemption p = {
        .holdings = holdings, .holding_count = holding_count, .yields = out->yields, .max = out->max_yields};
    struct room room;
    bool head_waits = false;

    room_init(&room, m);
    room_init(&p.later, m);
    for (size_t i = 0; i < holding_count; i++) {
        room_take(&room, &holdings[i].demand, holdings[i].gpu_mask);
        if (!holdings[i].leaves)
            room_take(&p.later, &holdings[i].demand, holdings[i].gpu_mask);
    }

    for (size_t i = 0; i < job_count && decision.launch_count < out->max_launches; i++) {
        const struct sched_job *job = &jobs[i];
        uint64_t mask;
        if (job->not_before_ms > now_ms) {
            if (job->not_before_ms < decision.next_due_ms)
                decision.next_due_ms = job->not_before_ms;
            continue;
        }
        bool hopeless = job->demand.gpus == 0 && job->demand.cpus > room.cpus && head_waits;
        if (hopeless && p.closed)
            continue;
        if (scheduler_check(m, &job->demand, NULL) != 0)
            continue;
        if (hopeless || !room_fits(&room, &job->demand, &mask)) {
            if (!head_waits)
                room_reserve(&room, m, &job->demand);
            head_waits = true;
            if (!p.closed)
                preempt_for(&p, job, i);
            continue;
        }
        room_take(&room, &job->demand, mask);
        room_take(&p.later, &job->demand, mask);
        out->launches[decision.launch_count++] = (struct sched_launch){.job = i, .gpu_mask = mask};
    }
    decision.yield_count = p.count;
    return decision;
}
