/* supervisor_hang.c: a worker that makes no progress, and one that does not go.
 *
 * The watchdog (watchdog.c) is fed with what the journal brings and with the time that passes between ticks in which
 * everything was read. When it expires: the worker is asked for its stack (SIGQUIT, into worker.log), what /proc and
 * the newest look at the GPU tell is kept as an event, and after EVIDENCE_MS the worker is stopped as any other:
 * SIGTERM, and SIGKILL after the grace. SIGKILL goes to the trainer, not to the keeper: as long as the trainer is
 * there, in whatever state, its keeper waits and holds the lock, and the attempt its slots and devices. One that is
 * still there STUCK_MS later cannot be killed: bakad says so and looks again until it has gone. */
#include "daemon/supervisor_internal.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/process.h"
#include "daemon/config.h"
#include "daemon/store_curve.h"
#include "daemon/store_gpu.h"
#include "daemon/stream.h"
#include "schema/spec_schedule.h"

enum { EVIDENCE_MS = 1000, TEXT_SIZE = 768 };

static uint64_t now_of(const struct supervised *a)
{
    return uv_now(a->supervisor->bakad->loop);
}

/* --- what is recorded ---------------------------------------------------------------------------------------------
 */

/* An event of an attempt, which may have ended before it is written. */
struct told {
    struct store_job job;
    int64_t run, attempt;
    const char *kind;
    char text[TEXT_SIZE];
};

/* The newest look at the GPU by this attempt, behind the text. */
static int add_gpu(struct store_conn *c, struct told *t, struct err *err)
{
    struct store_gpu *all;
    size_t n;
    int rc = store_gpu_newest(c, t->run, &all, &n, err);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        const struct gpu_health *h = &all[i].sample.health;
        size_t used = strlen(t->text);
        if (all[i].attempt == t->attempt)
            snprintf(t->text + used, sizeof t->text - used,
                     "; GPU at step %lld: Xid %lld, %lld C, %lld MiB in use (-1: not known)",
                     (long long)all[i].sample.step, (long long)h->xid, (long long)h->temperature_c,
                     (long long)(h->memory_used == GPU_UNKNOWN ? GPU_UNKNOWN : h->memory_used >> 20));
    }
    free(all);
    return 0;
}

static int run_tell(struct store_conn *c, void *arg, struct err *err)
{
    struct told *t = arg;
    int rc = add_gpu(c, t, err);
    return rc ? rc : store_event_add(c, t->run, t->attempt, t->kind, t->text, clock_wall_ms(), err);
}

static void on_told(void *arg, int rc, const struct err *err)
{
    struct told *t = arg;
    if (rc != 0) /* the log has it */
        log_event(LOG_LEVEL_WARN, "event_unrecorded", "kind=%s error=\"%s\"", t->kind, err->message);
    free(t);
}

static void tell(struct supervised *a, const char *kind, const char *text)
{
    struct told *t = calloc(1, sizeof *t);
    log_event(LOG_LEVEL_WARN, kind, "run=%s attempt=%lld what=\"%s\"", a->id, (long long)a->attempt, text);
    if (t == NULL)
        return;
    *t = (struct told){.run = a->run, .attempt = a->attempt, .kind = kind};
    snprintf(t->text, sizeof t->text, "%s", text);
    t->job = (struct store_job){.run = run_tell, .done = on_told, .arg = t};
    store_write(a->supervisor->bakad->store, &t->job);
}

/* --- progress ------------------------------------------------------------------------------------------------------
 */

int hang_read_usual(struct store_conn *c, const struct store_run *run, struct watchdog_usual *out, struct err *err)
{
    int64_t evaluation_ms = 0;
    int rc = store_eval_longest(c, run->id, &evaluation_ms, err);
    if (rc == 0)
        *out = (struct watchdog_usual){.step_ms = run->step_ms.known ? run->step_ms.value : 0,
                                       .evaluation_ms = (double)evaluation_ms};
    return rc;
}

/* What is due after the newest step, by the spec and by what was asked. Without a readable spec anything may be. */
static void find_due(const struct supervised *a, struct watchdog_news *n)
{
    const struct spec *s = &a->rules;
    int64_t every = s->train.checkpoint_every, step = a->last_step;
    bool known = s->train.batch > 0 && a->steps_per_epoch > 0, last = step == a->total_steps;
    n->last_step = step;
    n->evaluation_due = step > 0 && (!known || last || schedule_evaluates(s, step, a->steps_per_epoch));
    n->checkpoint_due = step > 0 && (last || a->asked_to_stop || (every > 0 && step % every == 0));
    n->checkpoint_possible = n->checkpoint_due || every == 0;
}

static struct watchdog_work find_work(const struct supervised *a, const struct journal_start *start)
{
    const struct spec *s = &a->rules;
    struct watchdog_work w = {.steps = a->source == STORE_UNKNOWN, .tokens_per_epoch = (double)a->tokens_per_epoch};
    if (start == NULL)
        return w;
    w.tokens_per_epoch = (double)start->tokens_per_epoch;
    w.flops_per_step = start->flops_per_token * (double)(s->train.batch * s->train.seq_len);
    w.peak_flops = start->peak_flops;
    w.memory_bytes = (double)start->memory_bytes;
    w.evaluates_first = start->resume_step == 0 && (s->train.init_from[0] != '\0' || start->total_steps == 0);
    return w;
}

static void find_trainer(struct supervised *a)
{
    int pid = process_child(a->pid);
    uint64_t start = clock_process_start(pid);
    if (start == 0)
        return;
    a->trainer_pid = pid;
    a->trainer_start = start;
}

bool hang_trainer_lives(const struct supervised *a)
{
    return process_lives(a->trainer_pid, a->trainer_start);
}

void hang_watch(struct supervised *a)
{
    const struct config *c = a->supervisor->bakad->config;
    struct watchdog_limits limits = {c->hung_start_s, c->hung_floor_s, c->hung_ceiling_s};
    watchdog_init(&a->watchdog, &limits, &a->usual);
    if (a->journal_started) {
        struct watchdog_news where = {
            .steps = a->last_step - a->resume_step, .ended = a->has_end, .work = find_work(a, NULL)};
        find_due(a, &where);
        watchdog_adopt(&a->watchdog, &where);
    }
    a->passed_at = now_of(a);
    find_trainer(a);
}

/* Asked for its stack now; hang_pass goes on when the evidence had time. */
static void begin(struct supervised *a)
{
    const struct watchdog *w = &a->watchdog;
    char process[320], text[TEXT_SIZE];
    find_trainer(a);
    process_describe(a->trainer_pid > 0 ? a->trainer_pid : a->pid, process, sizeof process);
    snprintf(a->hung, sizeof a->hung, "nothing new for %.0f s, the budget of %s%s after step %lld", w->silent_ms / 1e3,
             w->phase == WATCHDOG_EVALUATION ? "an "
             : w->phase == WATCHDOG_EXIT     ? "its "
                                             : "a ",
             watchdog_phase_word(w->phase), (long long)a->last_step);
    snprintf(text, sizeof text, "%s; %s; its stack is asked for, see the log", a->hung, process);
    tell(a, "hung", text);
    a->stop = STOP_HUNG;
    a->terminate_at = now_of(a) + EVIDENCE_MS;
    if (a->pidfd >= 0)
        executor_signal(a->pidfd, SIGQUIT);
}

void hang_pass(struct supervised *a, bool quiet)
{
    uint64_t now = now_of(a), elapsed = now - a->passed_at;
    a->passed_at = now;
    if (a->terminate_at != 0 && now >= a->terminate_at) {
        a->terminate_at = 0;
        watch_stop_worker(a, STOP_HUNG);
    }
    /* a worker with a deadline is killed by that */
    if (watchdog_pass(&a->watchdog, elapsed) && quiet && a->kill_at == 0 && a->terminate_at == 0)
        begin(a);
}

void hang_hear(struct supervised *a, bool quiet)
{
    const struct ingest_news *news = &a->news;
    struct watchdog_news n = {
        .started = news->started,
        .ended = news->ended,
        .steps = news->steps,
        .slowest_step_ms = news->slowest_step_ms,
        .tok_s = news->last.tok_s,
        .evaluated = news->evaluated,
        .evaluated_step = news->evaluated_step,
        .evaluation_ms = news->evaluation_ms,
        .checkpointed = news->checkpointed,
        .checkpointed_step = news->checkpointed_step,
        .checkpoint_ms = news->checkpoint_ms,
    };
    if (news->started) {
        a->journal_started = true;
        a->steps_per_epoch = news->start.steps_per_epoch;
        a->last_step = news->start.resume_step;
        n.work = find_work(a, &news->start);
        find_trainer(a);
    }
    if (news->steps > 0)
        a->last_step = news->last.step;
    find_due(a, &n);
    if (!watchdog_hear(&a->watchdog, &n) && a->phase == PHASE_ALIVE)
        hang_pass(a, quiet);
    a->passed_at = now_of(a);
}

void hang_pause(struct supervised *a)
{
    a->passed_at = now_of(a);
}

/* --- a worker that does not go -------------------------------------------------------------------------------------
 */

static void set_stuck(struct supervised *a)
{
    char process[320], text[TEXT_SIZE];
    process_describe(a->trainer_pid > 0 ? a->trainer_pid : a->pid, process, sizeof process);
    snprintf(text, sizeof text, "still there %d s after SIGKILL, %s; its slots stay taken until it goes",
             STUCK_MS / 1000, process);
    tell(a, "unkillable", text);
    a->stuck = true;
    trouble_publish(a->supervisor);
    stream_run_changed(a->supervisor->bakad->streams, a->run);
}

void hang_kill(struct supervised *a)
{
    if (a->kills == 0)
        log_event(LOG_LEVEL_WARN, "worker_killed", "run=%s attempt=%lld pid=%d", a->id, (long long)a->attempt, a->pid);
    else if (!a->stuck)
        set_stuck(a);
    a->kills++;
    a->kill_at = now_of(a) + STUCK_MS;
    if (a->keeper_gone)
        executor_kill_orphan(a->trainer_pid, a->trainer_start);
    else if (a->pidfd >= 0)
        executor_kill(a->pid, a->pidfd);
}

void hang_describe(const struct supervised *a, struct supervisor_quarantined *out)
{
    *out = (struct supervisor_quarantined){
        .run = a->run, .attempt = a->attempt, .pid = a->trainer_pid > 0 ? a->trainer_pid : a->pid};
    process_describe(out->pid, out->what, sizeof out->what);
}
