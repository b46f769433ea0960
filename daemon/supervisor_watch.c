/* supervisor_watch.c: a worker while it lives: its journal into the store, its limits, its signals, its end.
 *
 * One job of an attempt is in the store at a time (busy). The journal is read on the writer's thread, up to 1 MiB a
 * job; a journal that grew further is read on at once. Gone is said by the exit of our own child, or by the pidfd of
 * one that an earlier daemon started; both lead to watch_gone, once. */
#include "daemon/supervisor_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "daemon/config.h"
#include "daemon/store.h"
#include "daemon/stream.h"

static uint64_t now_of(const struct supervised *a)
{
    return uv_now(a->supervisor->bakad->loop);
}

/* --- journal -------------------------------------------------------------------------------------------------------
 */

static int run_feed(struct store_conn *c, void *arg, struct err *err)
{
    struct supervised *a = arg;
    ssize_t n = 0;
    do
        n = pread(a->journal_fd, a->buffer, a->buffer_size, a->offset);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_set_errno(err, errno, "cannot read the journal in %s", a->attempt_dir);
    memset(&a->news, 0, sizeof a->news);
    int rc = ingest_feed(c, a->ingest, a->offset, a->buffer, (size_t)n, clock_wall_ms(), &a->news, err);
    if (rc == 0 && a->news.started)
        rc = store_run_transition(c, a->run, RUN_STARTING, RUN_RUNNING, "", clock_wall_ms(), err);
    if (rc == 0 && a->news.started) {
        struct store_run run;
        rc = store_run_get(c, a->run, &run, err);
        if (rc == 0) {
            a->total_steps = run.total_steps;
            store_run_finish(&run);
        }
    }
    return rc;
}

static void feed(struct supervised *a, size_t size);

static int64_t journal_size(const struct supervised *a)
{
    struct stat st;
    return a->journal_fd >= 0 && fstat(a->journal_fd, &st) == 0 ? (int64_t)st.st_size : 0;
}

/* True when there is more to read than was there the last time. */
static bool journal_waits(struct supervised *a, size_t *size)
{
    char path[PATH_SIZE + 16];
    struct stat st;
    if (a->journal_fd < 0) {
        snprintf(path, sizeof path, "%s/journal", a->attempt_dir);
        a->journal_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    }
    if (a->journal_fd < 0 || fstat(a->journal_fd, &st) != 0)
        return false;
    if (a->drain_to >= 0 && st.st_size > a->drain_to)
        st.st_size = a->drain_to;
    if (st.st_size <= a->offset)
        return false;
    *size = (uint64_t)(st.st_size - a->offset) > READ_MAX ? READ_MAX : (size_t)(st.st_size - a->offset);
    return true;
}

static void on_fed(void *arg, int rc, const struct err *err)
{
    struct supervised *a = arg;
    struct supervisor *s = a->supervisor;
    int64_t before = a->offset;
    size_t size = 0;
    a->busy = false;
    free(a->buffer);
    a->buffer = NULL;
    if (rc != 0) {
        if (rc != -ERR_NO_SPACE)
            log_event(LOG_LEVEL_WARN, "ingest_failed", "run=%s attempt=%lld error=\"%s\"", a->id, (long long)a->attempt,
                      err->message);
        a->retry_at = now_of(a) + trouble_store(s, a, rc, err);
        return;
    }
    trouble_store_worked(s, a);
    a->offset = a->news.offset;
    if (a->news.ended) {
        a->has_end = true;
        a->end = a->news.end;
    }
    if (a->news.damaged && !a->damage_told)
        log_event(LOG_LEVEL_ERROR, "journal_damaged", "run=%s attempt=%lld", a->id, (long long)a->attempt);
    a->damage_told |= a->news.damaged;
    if (a->news.started)
        stream_run_changed(s->bakad->streams, a->run);
    if (a->news.steps > 0)
        stream_step(s->bakad->streams, a->run, &a->news.last, a->total_steps);
    if (s->stopping)
        return;
    if (a->news.started)
        supervisor_wake(s); /* it may make room now */
    if (a->news.checkpointed)
        prune_begin(s, a->run);
    if (a->asked_to_stop && now_of(a) < a->asked_at + LOOK_MS)
        a->asked_step = a->last_step;
    if (a->stop == STOP_ASIDE && a->phase == PHASE_ALIVE && !a->cancelling && now_of(a) > a->asked_at + LOOK_MS &&
        a->last_step - a->asked_step > DEAF_STEPS) { /* no deadline would ever say so: ask again, without a loss */
        log_event(LOG_LEVEL_WARN, "worker_asked_again", "run=%s attempt=%lld", a->id, (long long)a->attempt);
        a->stop = STOP_NONE;
        a->asked_to_stop = false;
        a->asks_after_checkpoint = true;
        executor_signal(a->pidfd, SIGUSR1);
    }
    if (a->news.checkpointed && a->asks_after_checkpoint && a->phase == PHASE_ALIVE) {
        a->asks_after_checkpoint = false;
        watch_step_aside(a);
    }
    /* read on while whole records come; a torn last line stays where it is */
    a->torn_end = a->offset == before ? before + (int64_t)a->buffer_size : -1;
    bool more = a->offset != before && journal_waits(a, &size);
    hang_hear(a, !more);
    if (more)
        feed(a, size);
    else if (a->phase == PHASE_DRAINING)
        end_begin(a);
}

static void feed(struct supervised *a, size_t size)
{
    a->buffer = malloc(size);
    a->buffer_size = size;
    if (a->buffer == NULL) {
        a->retry_at = now_of(a) + RETRY_MS;
        return;
    }
    a->busy = true;
    a->job = (struct store_job){.run = run_feed, .done = on_fed, .arg = a};
    store_write(a->supervisor->bakad->store, &a->job);
}

/* --- life ----------------------------------------------------------------------------------------------------------
 */

static void on_pidfd(uv_poll_t *poll, int status, int events)
{
    struct supervised *a = poll->data;
    (void)status;
    (void)events;
    uv_poll_stop(poll);
    if (a->phase == PHASE_ALIVE)
        watch_gone(a);
}

void watch_alive(struct supervised *a)
{
    a->phase = PHASE_ALIVE;
    a->alive_since = now_of(a);
    hang_watch(a);
    supervisor_tick_on(a->supervisor);
    if (a->cancelling)
        watch_stop_worker(a, a->stop);
    else if (a->asks_after_checkpoint && a->pidfd >= 0) /* a second SIGTERM would end it without one */
        executor_signal(a->pidfd, SIGUSR1);
    else if (a->aside != ASIDE_NONE)
        watch_step_aside(a);
}

void watch_gone(struct supervised *a)
{
    size_t size;
    if (a->phase == PHASE_ALIVE && hang_trainer_lives(a)) {
        if (!a->keeper_gone) /* it dies of that, which takes a moment, or longer in the hands of a driver */
            a->kill_at = now_of(a) + TICK_MS;
        a->keeper_gone = true;
        return;
    }
    if (a->phase != PHASE_DRAINING) {
        a->phase = PHASE_DRAINING;
        trouble_phase_changed(a);
        /* what somebody writes from now on, who outlived the keeper, is nobody's word */
        a->drain_to = journal_waits(a, &size) ? journal_size(a) : a->offset;
    }
    supervisor_tick_on(a->supervisor);
    if (a->busy)
        return; /* its done goes on */
    a->retry_at = 0;
    if (journal_waits(a, &size))
        feed(a, size);
    else
        end_begin(a);
}

void watch_adopt(struct supervised *a)
{
    struct executor_identity identity;
    enum executor_lock lock = executor_look(a->attempt_dir, &identity);
    supervisor_tick_on(a->supervisor);
    if (lock == EXECUTOR_LOCK_ABSENT && a->recorded_pid > 0 &&
        clock_process_start(a->recorded_pid) == a->recorded_start) {
        lock = EXECUTOR_LOCK_HELD; /* its directory was taken away, and its worker does not know */
        identity = (struct executor_identity){.pid = a->recorded_pid, .start_time = a->recorded_start};
    }
    if (lock == EXECUTOR_LOCK_HELD && identity.pid > 0) {
        a->pidfd = executor_pidfd(identity.pid, identity.start_time);
        if (a->pidfd >= 0) {
            a->pid = identity.pid;
            a->start_time = identity.start_time;
            a->poll.data = a;
            a->has_poll = uv_poll_init(a->supervisor->bakad->loop, &a->poll, a->pidfd) == 0;
            if (a->has_poll)
                uv_poll_start(&a->poll, UV_READABLE, on_pidfd);
            log_event(LOG_LEVEL_INFO, "attempt_adopted", "run=%s attempt=%lld pid=%d", a->id, (long long)a->attempt,
                      a->pid);
            watch_alive(a);
            return;
        }
    }
    if (lock == EXECUTOR_LOCK_HELD)
        return; /* just spawned, or just dying: the tick looks again */
    struct executor_exit gone;
    char path[PATH_SIZE + 16];
    snprintf(path, sizeof path, "%s/journal", a->attempt_dir);
    /* the keeper writes its identity before anything else: without it there never was one */
    a->never_started =
        identity.pid == 0 && access(path, F_OK) != 0 && executor_read_exit(a->attempt_dir, &gone, NULL) != 0;
    watch_gone(a);
}

static const char *why_word(const struct supervised *a, enum verdict_stop why)
{
    switch (why) {
    case STOP_DIRECTORY_GONE:
        return "directory_gone";
    case STOP_HUNG:
        return "hung";
    case STOP_TIME_LIMIT:
        return "time_limit";
    case STOP_ASIDE:
        return a->cancelling ? "cancel" : run_aside_word(a->aside);
    case STOP_NONE:
        break;
    }
    return "cancel";
}

/* SIGTERM once: a second one would end it without a checkpoint. Who only steps aside has no deadline, for it must not
 * lose a step; if it hangs, the watchdog gives it one. */
void watch_stop_worker(struct supervised *a, enum verdict_stop why)
{
    a->stop = why;
    if (a->kill_at == 0 && (why != STOP_ASIDE || a->cancelling))
        a->kill_at = now_of(a) + 1000 * (uint64_t)a->supervisor->bakad->config->cancel_grace_s + 1;
    if (a->asked_to_stop)
        return;
    a->asked_to_stop = true;
    a->asked_at = now_of(a);
    a->asked_step = a->last_step;
    log_event(LOG_LEVEL_INFO, "worker_asked_to_stop", "run=%s attempt=%lld pid=%d why=%s", a->id, (long long)a->attempt,
              a->pid, why_word(a, why));
    if (a->pidfd >= 0)
        executor_signal(a->pidfd, SIGTERM);
}

void watch_step_aside(struct supervised *a)
{
    if (a->aside != ASIDE_NONE && a->stop == STOP_NONE && !a->cancelling)
        watch_stop_worker(a, STOP_ASIDE);
}

/* Its worker goes on in a directory that has no name any more: what it writes is lost, and so are its checkpoints. */
static bool directory_is_gone(const struct supervised *a)
{
    char path[PATH_SIZE + 16];
    snprintf(path, sizeof path, a->journal_fd >= 0 ? "%s/journal" : "%s", a->attempt_dir);
    return access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR);
}

static void watch_limits(struct supervised *a)
{
    uint64_t now = now_of(a);
    log_limit(a);
    if (now >= a->look_at && (a->stop == STOP_NONE || a->stop == STOP_ASIDE) && !a->cancelling) {
        a->look_at = now + LOOK_MS;
        if (directory_is_gone(a)) {
            log_event(LOG_LEVEL_ERROR, "directory_gone", "run=%s attempt=%lld directory=%s", a->id,
                      (long long)a->attempt, a->attempt_dir);
            watch_stop_worker(a, STOP_DIRECTORY_GONE);
        }
    }
    double ran_s = ((double)a->ran_before_ms + (double)(now - a->alive_since)) / 1000;
    if (a->time_limit_s > 0 && ran_s >= a->time_limit_s && a->stop == STOP_NONE && !a->cancelling)
        watch_stop_worker(a, STOP_TIME_LIMIT);
    if (a->kill_at != 0 && now >= a->kill_at)
        hang_kill(a);
}

void watch_tick(struct supervised *a)
{
    size_t size;
    if (a->phase == PHASE_ALIVE)
        watch_limits(a);
    if (a->phase == PHASE_ALIVE && a->keeper_gone)
        watch_gone(a);
    if (now_of(a) < a->retry_at)
        hang_pause(a);
    if (a->busy || now_of(a) < a->retry_at)
        return;
    switch (a->phase) {
    case PHASE_ADOPTING:
        watch_adopt(a);
        break;
    case PHASE_ALIVE: {
        /* what the last look left behind is a torn line: it is no news until there is more of it */
        bool waits = journal_waits(a, &size) && a->offset + (int64_t)size != a->torn_end;
        hang_pass(a, !waits);
        if (waits)
            feed(a, size);
        break;
    }
    case PHASE_DRAINING:
        watch_gone(a);
        break;
    case PHASE_ENDING:
        end_begin(a);
        break;
    case PHASE_CLAIMING:
    case PHASE_PREPARING:
        break;
    }
}
