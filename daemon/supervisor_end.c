/* supervisor_end.c: the verdict on an attempt that is gone, recorded with the run's next state in one
 * transaction. */
#include "daemon/supervisor_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/config.h"
#include "daemon/store.h"
#include "daemon/store_job.h"
#include "daemon/stream.h"
#include "schema/spec.h"

enum { ROOM_TO_BEGIN = 1 << 20 };

/* What the attempts before this one reached, and the newest checkpoint that a next one may begin from. */
static int read_past(const struct supervised *a, struct store_conn *c, struct verdict_evidence *e, struct err *err)
{
    struct store_attempt *attempts;
    struct store_checkpoint newest;
    size_t n;
    int rc = store_attempts(c, a->run, &attempts, &n, err);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < n; i++)
        if (attempts[i].n < a->attempt && attempts[i].last_step > e->furthest)
            e->furthest = attempts[i].last_step;
    store_attempts_free(attempts, n);
    rc = store_checkpoint_newest(c, a->run, &newest, err);
    if (rc == 0)
        e->checkpoint_step = newest.step;
    return rc == -ERR_NOT_FOUND ? 0 : rc;
}

/* Whether the next start may take another micro-batch than this one. */
static int read_micro_batch(const struct supervised *a, struct store_conn *c, struct verdict_evidence *e,
                            struct err *err)
{
    char *text;
    struct spec spec;
    int rc = store_run_spec(c, a->run, &text, err);
    if (rc != 0)
        return rc;
    rc = spec_parse(text, strlen(text), &spec, err);
    free(text);
    if (rc == 0)
        e->micro_batch_auto = spec.train.micro_batch == MICRO_BATCH_AUTO;
    return rc;
}

/* True when the worker was there, and its directory is not. */
static bool had_directory(const struct supervised *a, const struct store_attempt *attempt)
{
    return (a->pid > 0 || attempt->pid > 0 || attempt->started) && access(a->attempt_dir, F_OK) != 0 &&
           (errno == ENOENT || errno == ENOTDIR);
}

/* A worker that cannot write has no way to say so but its exit status, and an adopted one's is not known: one that did
 * not begin while the disk has no room for a beginning (lock, exit.json, journal) was kept from it by that. */
static bool had_no_room(const struct supervised *a, const struct store_attempt *attempt,
                        const struct executor_exit *gone)
{
    struct statvfs fs;
    if (a->launch_failed)
        return a->launch_rc == -ERR_NO_SPACE;
    if (gone->status == JOURNAL_EXIT_NO_SPACE || a->keeper_status == JOURNAL_EXIT_NO_SPACE)
        return true;
    return !attempt->started && statvfs(a->attempt_dir, &fs) == 0 &&
           (uint64_t)fs.f_bavail * fs.f_frsize < ROOM_TO_BEGIN;
}

/* The keeper's own word in its lock, else what was recorded when it was spawned. */
static bool is_of_earlier_boot(const struct supervised *a, const struct store_attempt *attempt)
{
    struct executor_identity identity;
    char now[40];
    clock_boot_id(now);
    executor_look(a->attempt_dir, &identity);
    const char *then = identity.boot_id[0] != '\0' ? identity.boot_id : attempt->boot_id;
    return then[0] != '\0' && strcmp(then, now) != 0;
}

static int run_end(struct store_conn *c, void *arg, struct err *err)
{
    struct supervised *a = arg;
    struct executor_exit gone = {.status = STORE_UNKNOWN, .signal = STORE_UNKNOWN, .maxrss_bytes = STORE_UNKNOWN};
    struct store_run run;
    struct store_attempt attempt;
    int64_t now = clock_wall_ms();
    int rc = store_run_get(c, a->run, &run, err);
    if (rc != 0)
        return rc;
    rc = store_attempt_get(c, a->run, a->attempt, &attempt, err);
    if (rc != 0) {
        store_run_finish(&run);
        return rc;
    }
    bool has_exit = executor_read_exit(a->attempt_dir, &gone, NULL) == 0;
    struct verdict_evidence e = {
        .never_started = a->never_started,
        .launch_failed = a->launch_failed,
        .launch_waits = a->launch_waits,
        .no_room = had_no_room(a, &attempt, &gone),
        .directory_gone = a->stop == STOP_DIRECTORY_GONE || had_directory(a, &attempt) ? a->attempt_dir : NULL,
        .rebooted = is_of_earlier_boot(a, &attempt),
        .has_exit = has_exit,
        .exit_status = gone.status,
        .exit_signal = gone.signal,
        .has_end = a->has_end,
        .end_reason = a->end.reason,
        .text = a->launch_failed ? a->launch_err.message
                : a->has_end     ? a->end.text
                                 : "",
        .cancelling = run.cancelling,
        .aside = run.aside != ASIDE_NONE ? run.aside : a->aside,
        .stop = a->stop,
        .hung = a->hung,
        .time_limit_s = a->time_limit_s,
        .resume_step = attempt.resume_step,
        .last_step = attempt.last_step,
        .no_progress = run.no_progress,
        .crash_step = run.crash_step,
        .crash_count = run.crash_count,
        .micro_batch = attempt.started ? run.micro_batch : 0,
        .micro_batch_limit = run.micro_batch_limit,
    };
    rc = read_past(a, c, &e, err);
    if (rc == 0 && a->has_end && a->end.reason == END_OOM_GPU)
        rc = read_micro_batch(a, c, &e, err);
    verdict_decide(&e, &a->verdict);
    const struct verdict *v = &a->verdict;
    struct store_attempt_end end = {v->outcome, has_exit ? gone.status : STORE_UNKNOWN,
                                    has_exit ? gone.signal : STORE_UNKNOWN, gone.maxrss_bytes};
    if (rc == 0)
        rc = store_attempt_finish(c, a->run, a->attempt, &end, now, err);
    if (rc == 0)
        rc = store_run_transition(c, a->run, run.state, v->to, v->reason, now, err);
    if (rc == 0)
        rc = store_run_set_backoff(
            c, a->run,
            &(struct store_backoff){.not_before_ms = v->to == RUN_QUEUED && v->backoff_ms > 0 ? now + v->backoff_ms : 0,
                                    .no_progress = v->no_progress,
                                    .crash_step = v->crash_step,
                                    .crash_count = v->crash_count,
                                    .micro_batch_limit = v->micro_batch_limit},
            err);
    if (rc == 0 && v->mark_checkpoint_bad && attempt.resume[0] != '\0')
        rc = store_checkpoint_set_mark(c, run.source != STORE_UNKNOWN ? run.source : a->run, attempt.resume,
                                       CHECKPOINT_BAD, err);
    a->source = run.source;
    store_run_finish(&run);
    free(attempt.end_text);
    free(attempt.outcome);
    return rc;
}

static void on_ended(void *arg, int rc, const struct err *err)
{
    struct supervised *a = arg;
    struct supervisor *s = a->supervisor;
    a->busy = false;
    if (rc != 0) {
        if (rc != -ERR_NO_SPACE)
            log_event(LOG_LEVEL_WARN, "end_unrecorded", "run=%s attempt=%lld error=\"%s\"", a->id,
                      (long long)a->attempt, err->message);
        a->retry_at = uv_now(s->bakad->loop) + trouble_store(s, a, rc, err);
        supervisor_tick_on(s);
        return;
    }
    log_event(LOG_LEVEL_INFO, "attempt_ended", "run=%s attempt=%lld outcome=\"%s\" state=%s reason=\"%s\"", a->id,
              (long long)a->attempt, a->verdict.outcome, run_state_word(a->verdict.to), a->verdict.reason);
    stream_run_changed(s->bakad->streams, a->run);
    if (s->stopping)
        return;
    trouble_store_worked(s, a);
    if (a->source != STORE_UNKNOWN && run_state_is_final(a->verdict.to))
        prune_begin(s, a->source); /* what was kept for it */
    supervised_destroy(a);
    supervisor_wake(s);
}

void end_begin(struct supervised *a)
{
    a->phase = PHASE_ENDING;
    a->busy = true;
    a->job = (struct store_job){.run = run_end, .done = on_ended, .arg = a};
    store_write(a->supervisor->bakad->store, &a->job);
}
