/* supervisor_decide.c: what to launch, and who makes room: the queue is read, the scheduler decides, and what it says
 * is begun. One decision at a time; a wish that comes meanwhile makes another one follow. */
#include "daemon/supervisor_internal.h"

#include <stdlib.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "daemon/nvml.h"
#include "daemon/store.h"

static void on_due(uv_timer_t *timer)
{
    struct supervisor *s = timer->data;
    if (s->started)
        supervisor_wake(s);
    else
        supervisor_start(s); /* what runs could not be read the last time */
}

void supervisor_wake_in(struct supervisor *s, int64_t ms)
{
    uint64_t in = ms < 1 ? 1 : (uint64_t)ms;
    if (s->stopping)
        return;
    if (!uv_is_active((uv_handle_t *)&s->due) || uv_timer_get_due_in(&s->due) > in) /* the earliest of all wishes */
        uv_timer_start(&s->due, on_due, in, 0);
}

static int run_queue(struct store_conn *c, void *arg, struct err *err)
{
    struct supervisor *s = arg;
    return store_queue(c, s->queue_look, &s->queue, &s->queue_count, err);
}

static void describe_gpus(const struct bakad *b, struct supervised *a)
{
    size_t used = 0;
    for (int g = 0; g < b->machine.gpu_count; g++)
        if (a->holding.gpu_mask >> g & 1)
            used += (size_t)snprintf(a->gpu_uuids + used, sizeof a->gpu_uuids - used, "%s%s", used > 0 ? "," : "",
                                     b->nvml->gpus[g].uuid);
}

bool supervisor_has(const struct supervisor *s, int64_t run)
{
    for (const struct supervised *a = s->active; a != NULL; a = a->next)
        if (a->run == run)
            return true;
    return false;
}

/* What a decision needs, and what comes out of it. */
struct decision {
    struct sched_holding *held;
    struct supervised **holders; /* of held */
    struct sched_job *jobs;
    struct sched_room room;
    size_t held_count, job_count;
};

static bool decision_init(struct decision *d, const struct supervisor *s)
{
    size_t slots = (size_t)s->bakad->machine.cpu_slots, active = (size_t)s->active_count + 1;
    *d = (struct decision){.held = calloc(active, sizeof *d->held),
                           .holders = calloc(active, sizeof *d->holders),
                           .jobs = calloc(s->queue_count + 1, sizeof *d->jobs),
                           .room = {.launches = calloc(slots + 1, sizeof *d->room.launches),
                                    .max_launches = slots,
                                    .yields = calloc(active, sizeof *d->room.yields),
                                    .max_yields = active}};
    return d->held != NULL && d->holders != NULL && d->jobs != NULL && d->room.launches != NULL &&
           d->room.yields != NULL;
}

static void decision_finish(struct decision *d)
{
    free(d->held);
    free((void *)d->holders);
    free(d->jobs);
    free(d->room.launches);
    free(d->room.yields);
}

static void decision_fill(struct decision *d, struct supervisor *s, int64_t now_ms)
{
    for (struct supervised *a = s->active; a != NULL; a = a->next) { /* the newest first: it loses least */
        struct sched_holding *h = &d->held[d->held_count];
        *h = a->holding;
        h->may_yield = aside_is_possible(a);
        h->leaves = aside_leaves(a);
        d->holders[d->held_count++] = a;
    }
    for (size_t i = 0; i < s->queue_count; i++) {
        const struct store_queued *q = &s->queue[i];
        if (supervisor_has(s, q->id)) /* its end is recorded, its slots are not free yet */
            continue;
        /* no wait is that long: the clock was set back since */
        bool clock_jumped = q->not_before_ms > now_ms + VERDICT_MAX_WAIT_MS;
        /* one whose last attempt came to nothing would make others step aside for nothing, again and again */
        d->jobs[d->job_count++] = (struct sched_job){.id = q->id,
                                                     .demand = {(int)q->cpus, (int)q->gpus, q->gpu_memory},
                                                     .not_before_ms = clock_jumped ? 0 : q->not_before_ms,
                                                     .priority = q->priority,
                                                     .may_preempt = !q->job && q->no_progress == 0};
    }
}

static void launch(struct supervisor *s, const struct sched_job *job, uint64_t gpu_mask)
{
    struct supervised *a = supervised_create(s, job->id);
    if (a == NULL) {
        supervisor_wake_in(s, RETRY_MS);
        return;
    }
    a->holding = (struct sched_holding){.demand = job->demand, .gpu_mask = gpu_mask, .priority = job->priority};
    describe_gpus(s->bakad, a);
    launch_begin(a);
}

static void preempt(const struct decision *d, const struct sched_yield *y)
{
    char id[STORE_ID_SIZE], text[128];
    const struct sched_job *job = &d->jobs[y->job];
    store_id_text(job->id, id);
    snprintf(text, sizeof text, "for %s of priority %lld; this one has %lld", id, (long long)job->priority,
             (long long)d->held[y->holding].priority);
    aside_begin(d->holders[y->holding], ASIDE_PREEMPT, text);
}

static void decide(struct supervisor *s)
{
    struct decision d;
    int64_t now = clock_wall_ms();
    if (!decision_init(&d, s)) {
        log_event(LOG_LEVEL_WARN, "no_memory", "what=scheduling");
        supervisor_wake_in(s, RETRY_MS);
        decision_finish(&d);
        return;
    }
    decision_fill(&d, s, now);
    uint64_t patience = 0;
    if (d.job_count == 0)
        trouble_without_queue(s);
    else
        patience = trouble_before_launch(s);
    if (trouble_is_on(s)) { /* one finds out for all */
        d.room.max_launches = 1;
        d.room.max_yields = 0;
    }
    struct sched_decision out = {.next_due_ms = patience > 0 ? now + (int64_t)patience : INT64_MAX};
    if (patience == 0)
        out = scheduler_decide(&s->bakad->machine, d.held, d.held_count, d.jobs, d.job_count, now, &d.room);
    for (size_t i = 0; i < out.yield_count; i++)
        preempt(&d, &d.room.yields[i]);
    for (size_t i = 0; i < out.launch_count; i++)
        launch(s, &d.jobs[d.room.launches[i].job], d.room.launches[i].gpu_mask);
    if (out.next_due_ms != INT64_MAX)
        supervisor_wake_in(s, out.next_due_ms - now);
    decision_finish(&d);
}

static void on_queue(void *arg, int rc, const struct err *err)
{
    struct supervisor *s = arg;
    s->deciding = false;
    if (s->stopping || s->queue_paused) {
        if (rc == 0)
            free(s->queue);
        s->queue = NULL;
        return;
    }
    if (rc != 0) {
        log_event(LOG_LEVEL_WARN, "queue_unread", "error=\"%s\"", err->message);
        supervisor_wake_in(s, RETRY_MS);
    } else {
        decide(s);
        free(s->queue);
    }
    s->queue = NULL;
    if (s->decide_again)
        supervisor_wake(s);
}

void supervisor_wake(struct supervisor *s)
{
    int used = 0;
    if (!s->started || s->stopping || s->queue_paused)
        return;
    s->decide_again = s->deciding;
    if (s->deciding)
        return;
    for (const struct supervised *a = s->active; a != NULL; a = a->next)
        used += a->holding.demand.cpus;
    s->queue_look = used >= s->bakad->machine.cpu_slots ? FULL_LOOK : QUEUE_LOOK;
    s->deciding = true;
    s->queue_job = (struct store_job){.run = run_queue, .done = on_queue, .arg = s};
    store_read(s->bakad->store, &s->queue_job);
}
