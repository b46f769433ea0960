/* supervisor_launch.c: claim, prepare, spawn.
 *
 * The claim is a transaction that fails when the run is no longer queued. From then on the attempt has a number and its
 * end is recorded, however it comes: a launch that the system refuses ends like an attempt without progress. */
#include "daemon/supervisor_internal.h"

#include <stdlib.h>
#include <string.h>
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

/* The newest good checkpoint of `run` whose manifest is there; `wanted` in its place where it is such a one. */
static int choose_checkpoint(struct supervised *a, struct store_conn *c, int64_t run, const char *wanted,
                             struct err *err)
{
    char path[PATH_SIZE], id[STORE_ID_SIZE];
    free(a->checkpoints);
    a->checkpoints = NULL;
    int rc = store_checkpoints(c, run, &a->checkpoints, &a->checkpoint_count, err);
    a->resume[0] = '\0';
    a->resume_step = 0;
    store_id_text(run, id);
    for (size_t i = 0; i < a->checkpoint_count && rc == 0; i++) {
        const struct store_checkpoint *k = &a->checkpoints[i];
        bool is_wanted = strcmp(k->path, wanted) == 0;
        if (k->mark != CHECKPOINT_GOOD || (a->resume[0] != '\0' && !is_wanted))
            continue;
        rc = path_format(path, err, "%s/runs/%s/%s/manifest.json", a->supervisor->bakad->config->home, id, k->path);
        if (rc != 0 || !file_exists(path))
            continue;
        memcpy(a->resume, k->path, sizeof a->resume);
        a->resume_step = k->step;
        if (is_wanted || wanted[0] == '\0')
            break;
    }
    return rc;
}

/* A job computes with a checkpoint of its source: the one of its first launch as long as that is good. Where none is
 * left the worker says so. */
static int choose_of_source(struct supervised *a, struct store_conn *c, struct err *err)
{
    struct store_asked asked;
    char id[STORE_ID_SIZE];
    int rc = store_job_get(c, a->run, &asked, err);
    if (rc != 0)
        return rc;
    free(a->asked);
    a->asked = asked.parameters;
    store_id_text(asked.source, id);
    rc = path_format(a->source_dir, err, "%s/runs/%s", a->supervisor->bakad->config->home, id);
    if (rc == 0)
        rc = choose_checkpoint(a, c, asked.source, asked.checkpoint, err);
    a->checkpoint_count = 0; /* not its own */
    return rc ? rc : store_job_pin(c, a->run, a->resume, err);
}

static int run_claim(struct store_conn *c, void *arg, struct err *err)
{
    struct supervised *a = arg;
    struct store_run run;
    int rc = store_run_get(c, a->run, &run, err);
    if (rc != 0)
        return rc;
    a->total_steps = run.total_steps;
    a->ran_before_ms = run.ran_ms;
    a->micro_batch_limit = run.micro_batch_limit;
    a->source = run.source;
    a->checkpoint_bytes = run.checkpoint_bytes != STORE_UNKNOWN ? run.checkpoint_bytes : 0;
    rc = hang_read_usual(c, &run, &a->usual, err);
    store_run_finish(&run);
    if (rc != 0)
        return rc;
    free(a->spec);
    a->spec = NULL;
    rc = a->source != STORE_UNKNOWN ? choose_of_source(a, c, err) : choose_checkpoint(a, c, a->run, "", err);
    a->good_checkpoints = 0;
    for (size_t i = a->checkpoint_count; rc == 0 && i-- > 0;) /* the newest last: what one really takes */
        if (a->checkpoints[i].mark == CHECKPOINT_GOOD) {
            a->good_checkpoints++;
            a->checkpoint_bytes = a->checkpoints[i].bytes;
        }
    if (rc != 0 || (rc = store_run_spec(c, a->run, &a->spec, err)) != 0)
        return rc;
    if ((rc = spec_parse(a->spec, strlen(a->spec), &a->rules, err)) != 0)
        return rc;
    a->time_limit_s = a->rules.resources.time;
    return store_attempt_claim(c, a->run, a->resume, a->resume_step, a->holding.gpu_mask, clock_wall_ms(), &a->attempt,
                               err);
}

static struct executor_launch describe(const struct supervised *a, const char **keep)
{
    struct executor_launch l = {
        .home = a->supervisor->bakad->config->home,
        .worker = a->supervisor->bakad->config->worker,
        .run_dir = a->run_dir,
        .attempt_dir = a->attempt_dir,
        .attempt = a->attempt,
        .resume = a->resume,
        .spec = a->spec,
        .job = a->asked,
        .source_dir = a->asked != NULL ? a->source_dir : NULL,
        .keep = keep,
        .threads = a->holding.demand.cpus,
        .micro_batch_limit = a->micro_batch_limit,
        .gpu_uuids = a->gpu_uuids,
    };
    for (size_t i = 0; i < a->checkpoint_count && keep != NULL; i++)
        if (a->checkpoints[i].mark != CHECKPOINT_PRUNED)
            keep[l.keep_count++] = a->checkpoints[i].path;
    return l;
}

static void on_prepare(uv_work_t *work)
{
    struct supervised *a = work->data;
    const char **keep = calloc(a->checkpoint_count + 1, sizeof *keep);
    if (keep == NULL) {
        a->launch_rc = err_set(&a->launch_err, ERR_NO_MEMORY, "out of memory");
        return;
    }
    struct executor_launch l = describe(a, keep);
    a->launch_rc = executor_prepare(&l, &a->lock_fd, &a->launch_err);
    free((void *)keep);
}

static void on_child_exit(uv_process_t *process, int64_t status, int signal)
{
    struct supervised *a = process->data;
    (void)signal;
    a->keeper_status = status; /* exit.json has the trainer's, where there was room for it */
    if (a->phase == PHASE_ALIVE && !a->supervisor->stopping)
        watch_gone(a);
}

static int run_spawned(struct store_conn *c, void *arg, struct err *err)
{
    struct supervised *a = arg;
    char boot_id[40];
    clock_boot_id(boot_id);
    return store_attempt_spawned(c, a->run, a->attempt, a->pid, (int64_t)a->start_time, boot_id, err);
}

static void on_spawned(void *arg, int rc, const struct err *err)
{
    struct supervised *a = arg;
    a->busy = false;
    if (rc != 0) /* the lock file says the same */
        log_event(LOG_LEVEL_WARN, "identity_unrecorded", "run=%s error=\"%s\"", a->id, err->message);
    if (!a->supervisor->stopping)
        watch_tick(a);
}

static void fail(struct supervised *a)
{
    a->launch_failed = true;
    a->launch_waits |= a->launch_rc == -ERR_NO_SPACE;
    log_event(LOG_LEVEL_WARN, "launch_failed", "run=%s attempt=%lld error=\"%s\"", a->id, (long long)a->attempt,
              a->launch_err.message);
    end_begin(a);
}

static void on_prepared(uv_work_t *work, int status)
{
    struct supervised *a = work->data;
    struct supervisor *s = a->supervisor;
    if (s->stopping) { /* the next daemon finds no keeper and queues it again */
        bakad_leave(s->bakad);
        return;
    }
    bakad_leave(s->bakad);
    if (status != 0)
        a->launch_rc = err_set(&a->launch_err, ERR_UNAVAILABLE, "%s", uv_strerror(status));
    if (a->launch_rc != 0) {
        fail(a);
        return;
    }
    if (a->cancelling || a->aside != ASIDE_NONE) {
        a->never_started = true;
        end_begin(a);
        return;
    }
    struct executor_launch l = describe(a, NULL);
    a->process.data = a;
    a->launch_rc = executor_spawn(s->bakad->loop, &l, a->lock_fd, &a->process, on_child_exit, &a->launch_err);
    /* libuv wants the handle closed also when the spawn failed, but not when it did not come to that */
    a->has_process = uv_handle_get_type((uv_handle_t *)&a->process) == UV_PROCESS;
    close(a->lock_fd);
    a->lock_fd = -1;
    free(a->spec);
    a->spec = NULL;
    if (a->launch_rc != 0) {
        a->launch_waits = true;
        if (a->launch_rc != -ERR_NO_SPACE) /* no room for its log says nothing of the program */
            trouble_worker(s, &a->launch_err);
        fail(a);
        return;
    }
    trouble_worker_worked(s);
    a->pid = a->process.pid;
    a->start_time = clock_process_start(a->pid);
    a->pidfd = executor_pidfd(a->pid, a->start_time);
    log_event(LOG_LEVEL_INFO, "attempt_started", "run=%s attempt=%lld pid=%d resume=%s", a->id, (long long)a->attempt,
              a->pid, a->resume[0] != '\0' ? a->resume : "none");
    watch_alive(a);
    a->busy = true;
    a->job = (struct store_job){.run = run_spawned, .done = on_spawned, .arg = a};
    store_write(s->bakad->store, &a->job);
}

static void on_claimed(void *arg, int rc, const struct err *err)
{
    struct supervised *a = arg;
    struct supervisor *s = a->supervisor;
    a->busy = false;
    if (s->stopping)
        return;
    if (rc != 0) {
        if (rc != -ERR_CONFLICT && rc != -ERR_NO_SPACE) /* cancelled meanwhile; told by trouble_store */
            log_event(LOG_LEVEL_WARN, "claim_failed", "run=%s error=\"%s\"", a->id, err->message);
        supervised_destroy(a);
        if (rc == -ERR_CONFLICT)
            supervisor_wake(s);
        else
            supervisor_wake_in(s, (int64_t)trouble_store(s, NULL, rc, err));
        return;
    }
    trouble_store_worked(s, NULL);
    stream_run_changed(s->bakad->streams, a->run);
    a->phase = PHASE_PREPARING;
    a->ingest = ingest_create(a->run, a->attempt);
    a->launch_rc = supervised_paths(a, &a->launch_err);
    if (a->launch_rc == 0)
        a->launch_rc = disk_preflight(a, &a->launch_err);
    if (a->launch_rc != 0) {
        fail(a);
        return;
    }
    a->work.data = a;
    bakad_enter(s->bakad);
    uv_queue_work(s->bakad->loop, &a->work, on_prepare, on_prepared);
}

void launch_begin(struct supervised *a)
{
    a->phase = PHASE_CLAIMING;
    a->busy = true;
    a->job = (struct store_job){.run = run_claim, .done = on_claimed, .arg = a};
    store_write(a->supervisor->bakad->store, &a->job);
}
