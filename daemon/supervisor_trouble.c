/* supervisor_trouble.c: what keeps the whole queue, or the record of a run, waiting: a full disk, and a worker program
 * that cannot be started. Both pass by themselves, so nothing fails for them: what waits is tried again with growing
 * patience, one launch at a time, and the log says when it begins and when it is over, not each try.
 *
 * The loop's thread knows; store threads that write answers read what was published under the lock. */
#include "daemon/supervisor_internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/log.h"
#include "daemon/config.h"
#include "daemon/stream.h"

enum { DISK_PATIENCE_MAX_MS = 10000, WORKER_PATIENCE_MAX_MS = 30000 };

static uint64_t patience_ms(unsigned failures, uint64_t max_ms)
{
    uint64_t ms = (uint64_t)RETRY_MS << (failures > 10 ? 10 : failures - 1);
    return ms < max_ms ? ms : max_ms;
}

void trouble_publish(struct supervisor *s)
{
    struct trouble *t = &s->trouble;
    size_t n = 0;
    uv_mutex_lock(&t->lock);
    for (const struct supervised *a = s->active; a != NULL; a = a->next)
        n += a->no_space || a->stuck;
    struct trouble_run *rows = realloc(t->runs, (n + 1) * sizeof *rows);
    t->run_count = 0;
    if (rows != NULL) {
        t->runs = rows;
        for (const struct supervised *a = s->active; a != NULL; a = a->next)
            if (a->no_space || a->stuck)
                rows[t->run_count++] = (struct trouble_run){a->run, a->phase == PHASE_ALIVE, a->stuck};
    }
    t->published_disk = t->disk_failures > 0;
    t->published_worker = t->worker_failures > 0;
    t->published_pause = s->queue_paused;
    t->published_low = t->disk_low;
    uv_mutex_unlock(&t->lock);
}

bool trouble_is_on(const struct supervisor *s)
{
    return s->trouble.disk_failures > 0 || s->trouble.worker_failures > 0;
}

int trouble_init(struct supervisor *s, struct err *err)
{
    int rc = uv_mutex_init(&s->trouble.lock);
    return rc == 0 ? 0 : err_set(err, ERR_NO_MEMORY, "cannot make a lock: %s", uv_strerror(rc));
}

void trouble_finish(struct supervisor *s)
{
    uv_mutex_destroy(&s->trouble.lock);
    free(s->trouble.runs);
}

const char *supervisor_waits_for(struct supervisor *s, int64_t run, enum run_state state)
{
    struct trouble *t = &s->trouble;
    const char *why = NULL;
    uv_mutex_lock(&t->lock);
    if (state == RUN_QUEUED)
        why = t->published_pause    ? run_aside_reason(ASIDE_QUEUE)
              : t->published_disk   ? "disk full: waiting for room"
              : t->published_low    ? "disk low: waiting for room"
              : t->published_worker ? "waiting: worker cannot start"
                                    : NULL;
    for (size_t i = 0; i < t->run_count && run_state_is_active(state) && why == NULL; i++)
        if (t->runs[i].run == run)
            why = t->runs[i].stuck   ? "hung: cannot be killed"
                  : t->runs[i].alive ? "disk full: progress not recorded"
                                     : "disk full: waiting for room";
    uv_mutex_unlock(&t->lock);
    return why;
}

void trouble_say(const struct supervisor *s, char out[SUPERVISOR_TROUBLE_SIZE])
{
    const struct trouble *t = &s->trouble;
    out[0] = '\0';
    if (t->disk_failures > 0)
        snprintf(out, SUPERVISOR_TROUBLE_SIZE, "disk full: waiting for room in %.400s", s->bakad->config->home);
    else if (t->disk_low)
        snprintf(out, SUPERVISOR_TROUBLE_SIZE,
                 "disk low: %lld MiB are free in %.400s/runs; nothing starts until there is more room",
                 (long long)(t->disk_free >> 20), s->bakad->config->home);
    else if (t->worker_failures > 0)
        snprintf(out, SUPERVISOR_TROUBLE_SIZE, "no run can start: %s", t->worker);
}

/* --- the store ----------------------------------------------------------------------------------------------------
 */

uint64_t trouble_store(struct supervisor *s, struct supervised *a, int rc, const struct err *err)
{
    struct trouble *t = &s->trouble;
    uint64_t now = uv_now(s->bakad->loop);
    if (rc != -ERR_NO_SPACE)
        return RETRY_MS;
    bool first = t->disk_failures == 0;
    if (first)
        log_event(LOG_LEVEL_WARN, "disk_full", "error=\"%s\"", err->message);
    if (first || now >= t->disk_retry_at) { /* several attempts that fail in one moment are one failure */
        t->disk_failures++;
        t->disk_retry_at = now + patience_ms(t->disk_failures, DISK_PATIENCE_MAX_MS);
    }
    if (first || (a != NULL && !a->no_space)) {
        if (a != NULL)
            a->no_space = true;
        trouble_publish(s);
        if (a != NULL)
            stream_run_changed(s->bakad->streams, a->run);
    }
    return t->disk_retry_at - now;
}

static bool any_waits(const struct supervisor *s)
{
    for (const struct supervised *a = s->active; a != NULL; a = a->next)
        if (a->no_space)
            return true;
    return false;
}

void trouble_store_worked(struct supervisor *s, struct supervised *a)
{
    struct trouble *t = &s->trouble;
    if (t->disk_failures == 0)
        return;
    if (a != NULL && a->no_space) {
        a->no_space = false;
        trouble_publish(s);
        stream_run_changed(s->bakad->streams, a->run);
    }
    /* small writes still find room in the write-ahead log's file: one of them is no news for the others */
    if (any_waits(s) || uv_now(s->bakad->loop) < t->disk_retry_at)
        return;
    log_event(LOG_LEVEL_INFO, "disk_has_room", "tries=%u", t->disk_failures);
    t->disk_failures = 0;
    trouble_publish(s);
    supervisor_wake_in(s, 0);
}

void trouble_phase_changed(struct supervised *a)
{
    if (!a->no_space)
        return;
    trouble_publish(a->supervisor);
    stream_run_changed(a->supervisor->bakad->streams, a->run);
}

/* --- the worker program -------------------------------------------------------------------------------------------
 */

void trouble_worker(struct supervisor *s, const struct err *err)
{
    struct trouble *t = &s->trouble;
    if (t->worker_failures == 0 || strcmp(t->worker, err->message) != 0)
        log_event(LOG_LEVEL_WARN, "worker_unusable", "error=\"%s\"", err->message);
    memcpy(t->worker, err->message, sizeof t->worker);
    t->worker_failures++;
    t->worker_retry_at = uv_now(s->bakad->loop) + patience_ms(t->worker_failures, WORKER_PATIENCE_MAX_MS);
    trouble_publish(s);
}

void trouble_worker_worked(struct supervisor *s)
{
    struct trouble *t = &s->trouble;
    if (t->worker_failures == 0)
        return;
    log_event(LOG_LEVEL_INFO, "worker_usable", "tries=%u", t->worker_failures);
    t->worker_failures = 0;
    t->worker_missing = false;
    trouble_publish(s);
}

uint64_t trouble_before_launch(struct supervisor *s)
{
    struct trouble *t = &s->trouble;
    uint64_t now = uv_now(s->bakad->loop);
    struct err err;
    if (t->disk_failures > 0 && now < t->disk_retry_at)
        return t->disk_retry_at - now;
    if (disk_is_low(s))
        return LOOK_MS;
    if (t->worker_failures > 0 && now < t->worker_retry_at)
        return t->worker_retry_at - now;
    if (executor_check_worker(s->bakad->config->worker, &err) != 0) {
        t->worker_missing = true;
        trouble_worker(s, &err);
        return t->worker_retry_at - now;
    }
    if (t->worker_missing) /* one that is there and still refused goes on waiting for a launch that works */
        trouble_worker_worked(s);
    return 0;
}

void trouble_without_queue(struct supervisor *s)
{
    struct trouble *t = &s->trouble;
    if (t->disk_low) /* nobody looks again before something is queued */
        disk_is_low(s);
    if (!trouble_is_on(s) || any_waits(s))
        return;
    t->disk_failures = t->worker_failures = 0;
    t->worker_missing = false;
    trouble_publish(s);
}
