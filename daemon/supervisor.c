/* supervisor.c: the table of active attempts, requests, adoption, start and stop. See supervisor.h. */
#include "daemon/supervisor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/spare.h"
#include "daemon/config.h"
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
    spare_keep();
    disk_look(s);
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

void supervisor_cancel(struct supervisor *s, int64_t run)
{
    s->adopt_again = !s->started; /* what was read may be older than the mark */
    for (struct supervised *a = s->active; a != NULL; a = a->next)
        if (a->run == run) {
            a->cancelling = true;
            if (a->phase == PHASE_ALIVE)
                watch_stop_worker(a, a->stop);
        }
}

void supervisor_step_aside(struct supervisor *s, int64_t run, enum run_aside why)
{
    s->adopt_again = !s->started;
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
    s->adopt_again = !s->started;
    for (struct supervised *a = s->active; a != NULL; a = a->next)
        if (a->run == run)
            a->holding.priority = priority;
}

void supervisor_pause_queue(struct supervisor *s, bool paused)
{
    s->adopt_again = !s->started;
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
    rc = store_queue_is_paused(c, &s->adopt_paused, err);
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
    if (rc != 0) { /* asked again later, from the beginning */
        store_runs_free(s->adopt_runs, s->adopt_count);
        store_attempts_free(s->adopt_attempts, s->adopt_count);
        free(s->adopt_known);
        s->adopt_runs = NULL;
        s->adopt_attempts = NULL;
        s->adopt_known = NULL;
    }
    return rc;
}

/* False when it has to be tried again. */
static bool adopt_one(struct supervisor *s, const struct store_run *run, const struct store_attempt *attempt,
                      const struct adopted *known)
{
    struct err err;
    char boot_id[40];
    struct supervised *a = supervised_create(s, run->id);
    if (a == NULL)
        return false;
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
    a->checkpoint_bytes = run->checkpoint_bytes != STORE_UNKNOWN ? run->checkpoint_bytes : 0;
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
        return true;
    }
    a->phase = PHASE_ADOPTING;
    watch_adopt(a);
    return true;
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
    const bool again = s->adopt_again && !s->stopping;
    bool all = s->adopt_known != NULL || s->adopt_count == 0;
    for (size_t i = 0; i < s->adopt_count && s->adopt_known != NULL && !s->stopping && !again; i++)
        if (!supervisor_has(s, s->adopt_runs[i].id)) /* not adopted by an earlier try that had no memory for all */
            all &= adopt_one(s, &s->adopt_runs[i], &s->adopt_attempts[i], &s->adopt_known[i]);
    store_runs_free(s->adopt_runs, s->adopt_count);
    store_attempts_free(s->adopt_attempts, s->adopt_count);
    free(s->adopt_known);
    s->adopt_known = NULL;
    s->adopt_runs = NULL;
    s->adopt_attempts = NULL;
    if (again) {
        s->adopt_again = false;
        supervisor_start(s);
        return;
    }
    s->queue_paused = s->adopt_paused;
    s->started = all;
    if (all) {
        trouble_publish(s);
        supervisor_wake(s);
    } else if (!s->stopping) {
        supervisor_wake_in(s, RETRY_MS);
    }
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
