/* supervisor.c: the table of active attempts, the decision what to launch, start and stop. See supervisor.h. */
#include "daemon/supervisor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "daemon/config.h"
#include "daemon/nvml.h"
#include "daemon/store.h"
#include "daemon/store_aside.h"
#include "daemon/stream.h"
#include "daemon/supervisor_internal.h"
#include "schema/spec.h"

struct supervised *supervised_create(struct supervisor *s, int64_t run)
{
    struct supervised *a = calloc(1, sizeof *a);
    if (a == NULL)
        return NULL;
    a->supervisor = s;
    a->run = run;
    store_id_text(run, a->id);
    a->lock_fd = a->pidfd = a->journal_fd = -1;
    a->total_steps = a->source = a->torn_end = a->drain_to = STORE_UNKNOWN;
    a->next = s->active;
    a->link = &s->active;
    if (a->next != NULL)
        a->next->link = &a->next;
    s->active = a;
    s->active_count++;
    return a;
}

static void supervised_free(struct supervised *a)
{
    if (a->pidfd >= 0)
        close(a->pidfd);
    if (a->journal_fd >= 0)
        close(a->journal_fd);
    if (a->lock_fd >= 0)
        close(a->lock_fd);
    ingest_destroy(a->ingest);
    free(a->spec);
    free(a->asked);
    free(a->checkpoints);
    free(a->buffer);
    free(a);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct supervised *a = handle->data;
    if (--a->handles == 0)
        supervised_free(a);
}

void supervised_destroy(struct supervised *a)
{
    struct supervisor *s = a->supervisor;
    *a->link = a->next;
    if (a->next != NULL)
        a->next->link = a->link;
    if (--s->active_count == 0)
        uv_timer_stop(&s->tick);
    if (a->no_space || a->stuck)
        trouble_publish(s);
    a->handles = a->has_process + a->has_poll;
    if (a->has_process)
        uv_close((uv_handle_t *)&a->process, on_handle_closed);
    if (a->has_poll)
        uv_close((uv_handle_t *)&a->poll, on_handle_closed);
    if (a->handles == 0)
        supervised_free(a);
}

int supervised_paths(struct supervised *a, struct err *err)
{
    const char *home = a->supervisor->bakad->config->home;
    int rc = path_format(a->run_dir, err, "%s/runs/%s", home, a->id);
    if (rc == 0)
        rc = path_format(a->attempt_dir, err, "%s/runs/%s/attempts/%lld", home, a->id, (long long)a->attempt);
    return rc;
}

static void on_tick(uv_timer_t *timer)
{
    struct supervisor *s = timer->data;
    for (struct supervised *a = s->active, *next; a != NULL; a = next) {
        next = a->next; /* a may end here */
        watch_tick(a);
    }
}

void supervisor_tick_on(struct supervisor *s)
{
    if (!s->stopping && !uv_is_active((uv_handle_t *)&s->tick))
        uv_timer_start(&s->tick, on_tick, TICK_MS, TICK_MS);
}

/* --- what to launch ------------------------------------------------------------------------------------------------
 */

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

static bool is_active(const struct supervisor *s, int64_t run)
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

static void decision_fill(struct decision *d, struct supervisor *s)
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
        if (is_active(s, q->id)) /* its end is recorded, its slots are not free yet */
            continue;
        /* one whose last attempt came to nothing would make others step aside for nothing, again and again */
        d->jobs[d->job_count++] = (struct sched_job){.id = q->id,
                                                     .demand = {(int)q->cpus, (int)q->gpus, q->gpu_memory},
                                                     .not_before_ms = q->not_before_ms,
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
    decision_fill(&d, s);
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

void supervisor_cancel(struct supervisor *s, int64_t run)
{
    for (struct supervised *a = s->active; a != NULL; a = a->next)
        if (a->run == run) {
            a->cancelling = true;
            if (a->phase == PHASE_ALIVE)
                watch_stop_worker(a, a->stop);
        }
}

void supervisor_step_aside(struct supervisor *s, int64_t run, enum run_aside why)
{
    for (struct supervised *a = s->active; a != NULL; a = a->next) {
        if (a->run != run || a->phase == PHASE_ENDING)
            continue;
        a->aside = why;
        if (a->phase == PHASE_ALIVE)
            watch_step_aside(a);
    }
}

void supervisor_set_priority(struct supervisor *s, int64_t run, int priority)
{
    for (struct supervised *a = s->active; a != NULL; a = a->next)
        if (a->run == run)
            a->holding.priority = priority;
}

void supervisor_pause_queue(struct supervisor *s, bool paused)
{
    s->queue_paused = paused;
    trouble_publish(s);
    for (struct supervised *a = s->active, *next; paused && a != NULL; a = next) {
        next = a->next;
        if (a->aside == ASIDE_NONE)
            supervisor_step_aside(s, a->run, ASIDE_QUEUE);
        stream_run_changed(s->bakad->streams, a->run);
    }
    supervisor_wake(s);
}

void supervisor_get_usage(const struct supervisor *s, struct supervisor_usage *out)
{
    memset(out, 0, sizeof *out);
    out->queue_paused = s->queue_paused;
    trouble_say(s, out->trouble);
    for (const struct supervised *a = s->active; a != NULL; a = a->next) {
        out->cpus += a->holding.demand.cpus;
        for (int g = 0; g < SCHEDULER_MAX_GPUS; g++)
            out->gpu_runs[g] += (int)(a->holding.gpu_mask >> g & 1);
        if (a->stuck && out->quarantined_count < SUPERVISOR_QUARANTINED_MAX)
            hang_describe(a, &out->quarantined[out->quarantined_count++]);
    }
}

/* --- start and stop ------------------------------------------------------------------------------------------------
 */

int supervisor_create(struct bakad *b, struct supervisor **out, struct err *err)
{
    struct supervisor *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    s->bakad = b;
    int rc = trouble_init(s, err);
    if (rc != 0) {
        free(s);
        return rc;
    }
    uv_timer_init(b->loop, &s->tick);
    uv_timer_init(b->loop, &s->due);
    s->tick.data = s->due.data = s;
    *out = s;
    return 0;
}

static int run_adopt(struct store_conn *c, void *arg, struct err *err)
{
    struct supervisor *s = arg;
    int rc = store_active(c, &s->adopt_runs, &s->adopt_attempts, &s->adopt_count, err);
    if (rc != 0)
        return rc;
    rc = store_queue_is_paused(c, &s->queue_paused, err);
    s->adopt_known = calloc(s->adopt_count + 1, sizeof *s->adopt_known);
    for (size_t i = 0; i < s->adopt_count && s->adopt_known != NULL && rc == 0; i++) {
        struct adopted *known = &s->adopt_known[i];
        char *text;
        rc = hang_read_usual(c, &s->adopt_runs[i], &known->usual, err);
        /* a spec that cannot be read any more has no limit: its worker runs on */
        if (rc != 0 || store_run_spec(c, s->adopt_runs[i].id, &text, NULL) != 0)
            continue;
        (void)spec_parse(text, strlen(text), &known->rules, NULL);
        free(text);
    }
    return rc;
}

static void adopt_one(struct supervisor *s, const struct store_run *run, const struct store_attempt *attempt,
                      const struct adopted *known)
{
    struct err err;
    char boot_id[40];
    struct supervised *a = supervised_create(s, run->id);
    if (a == NULL)
        return;
    a->attempt = attempt->n;
    a->holding = (struct sched_holding){.demand = {(int)run->cpus, (int)run->gpus, run->gpu_memory},
                                        .gpu_mask = attempt->gpu_mask,
                                        .priority = run->priority};
    a->resume_step = attempt->resume_step;
    memcpy(a->resume, attempt->resume, sizeof a->resume);
    a->offset = attempt->journal_offset;
    clock_boot_id(boot_id);
    if (attempt->pid > 0 && strcmp(attempt->boot_id, boot_id) == 0) {
        a->recorded_pid = (int)attempt->pid;
        a->recorded_start = (uint64_t)attempt->start_time;
    }
    a->cancelling = run->cancelling;
    a->aside = run->aside;
    a->asks_after_checkpoint = a->aside != ASIDE_NONE && run->source == STORE_UNKNOWN;
    a->total_steps = run->total_steps;
    a->ran_before_ms = run->ran_ms;
    if (run->running_since_ms != STORE_UNKNOWN && clock_wall_ms() > run->running_since_ms)
        a->ran_before_ms += clock_wall_ms() - run->running_since_ms;
    if (known != NULL) {
        a->rules = known->rules;
        a->usual = known->usual;
        a->time_limit_s = known->rules.resources.time;
    }
    a->source = run->source;
    a->journal_started = attempt->started;
    a->last_step = attempt->last_step;
    a->steps_per_epoch = run->steps_per_epoch;
    a->tokens_per_epoch = run->tokens_per_epoch;
    if (attempt->end_reason[0] != '\0')
        for (int reason = 0; reason <= END_INTERNAL_ERROR; reason++)
            if (strcmp(journal_end_reason_word((enum journal_end_reason)reason), attempt->end_reason) == 0) {
                a->has_end = true;
                a->end.reason = (enum journal_end_reason)reason;
                snprintf(a->end.text, sizeof a->end.text, "%s", attempt->end_text != NULL ? attempt->end_text : "");
            }
    a->ingest = ingest_create(a->run, a->attempt);
    if (supervised_paths(a, &err) != 0) {
        log_event(LOG_LEVEL_ERROR, "not_adopted", "run=%s error=\"%s\"", a->id, err.message);
        return;
    }
    a->phase = PHASE_ADOPTING;
    watch_adopt(a);
}

static void on_adopt(void *arg, int rc, const struct err *err)
{
    struct supervisor *s = arg;
    if (rc != 0) {
        log_event(LOG_LEVEL_ERROR, "adoption_failed", "error=\"%s\"", err->message);
        if (!s->stopping)
            supervisor_wake_in(s, RETRY_MS);
        return;
    }
    for (size_t i = 0; i < s->adopt_count && !s->stopping; i++)
        adopt_one(s, &s->adopt_runs[i], &s->adopt_attempts[i], s->adopt_known != NULL ? &s->adopt_known[i] : NULL);
    store_runs_free(s->adopt_runs, s->adopt_count);
    store_attempts_free(s->adopt_attempts, s->adopt_count);
    free(s->adopt_known);
    s->adopt_known = NULL;
    s->adopt_runs = NULL;
    s->adopt_attempts = NULL;
    s->started = true;
    trouble_publish(s);
    supervisor_wake(s);
}

void supervisor_start(struct supervisor *s)
{
    s->adopt_job = (struct store_job){.run = run_adopt, .done = on_adopt, .arg = s};
    store_read(s->bakad->store, &s->adopt_job);
}

void supervisor_stop(struct supervisor *s)
{
    s->stopping = true;
    uv_timer_stop(&s->tick);
    uv_timer_stop(&s->due);
    for (struct supervised *a = s->active; a != NULL; a = a->next)
        if (a->has_poll)
            uv_poll_stop(&a->poll);
}

static void on_supervisor_closed(uv_handle_t *handle)
{
    struct supervisor *s = handle->data;
    if (--s->handles == 0) {
        trouble_finish(s);
        free(s);
    }
}

void supervisor_destroy(struct supervisor *s)
{
    while (s->active != NULL)
        supervised_destroy(s->active);
    s->handles = 2;
    uv_close((uv_handle_t *)&s->tick, on_supervisor_closed);
    uv_close((uv_handle_t *)&s->due, on_supervisor_closed);
}
