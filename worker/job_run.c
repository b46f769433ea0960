/* job_run.c: see job_run.h. The journal comes first, then job.json, the model, its `start`, the work, the `end`. Asked
 * to stop, it leaves between two batches or two ids and says `stopped`. */
#include "worker/job_run.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "schema/job.h"
#include "worker/arguments.h"
#include "worker/attempt.h"
#include "worker/eval_run.h"
#include "worker/journal_writer.h"
#include "worker/loaded_run.h"
#include "worker/numerics.h"
#include "worker/sample_run.h"
#include "worker/signals.h"

struct running {
    const struct arguments *args;
    struct journal_writer *journal;
    struct job job;
    struct loaded_run run;
    struct token_file data; /* of an evaluation */
    bool data_open;
    struct order_windows windows;
    enum journal_end_reason blame; /* as trainer's */
    int64_t step;                  /* of the checkpoint */
};

static int read_job(struct running *r, struct err *err)
{
    char path[PATH_SIZE], *text = NULL;
    size_t size = 0;
    int rc = path_format(path, err, "%s/job.json", r->args->run_dir);
    if (rc == 0)
        rc = file_read_all(path, JOB_MAX_BYTES, &text, &size, err);
    if (rc == 0)
        rc = job_parse(text, size, &r->job, err);
    free(text);
    return rc;
}

static int load(struct running *r, struct err *err)
{
    const struct loaded_from from = {.home = r->args->home,
                                     .spec_dir = r->args->run_dir,
                                     .run_dir = r->args->source,
                                     .checkpoint = r->args->resume,
                                     .threads = r->args->threads};
    if (r->args->resume[0] == '\0') {
        r->blame = END_BAD_DATA;
        return err_set(err, ERR_NOT_FOUND, "the run %s has no good checkpoint any more", r->job.source);
    }
    int rc = loaded_run_open(&r->run, &from, &r->job, err);
    if (rc != 0) {
        r->blame = r->run.blame;
        return rc;
    }
    r->step = checkpoint_get_state(r->run.checkpoint)->step;
    r->blame = END_BAD_DATA;
    if (r->job.kind == JOB_EVAL)
        rc = eval_open_data(r->args->home, &r->job, &r->run, &r->data, &r->windows, err);
    r->data_open = r->job.kind == JOB_EVAL && rc == 0;
    return rc;
}

static int write_start(struct running *r, struct err *err)
{
    const struct loaded_run *m = &r->run;
    struct backend *b = m->backend;
    struct journal_record record = {.kind = JOURNAL_START};
    struct journal_start *s = &record.start;
    struct numerics n = {.backend = b->ops->name,
                         .device = b->ops->device_kind(b),
                         .libraries = b->ops->library_versions(b),
                         .micro_batch = m->plan.micro_batch,
                         .init = ""};
    const char *data_hash = r->data_open ? r->data.header.hash : checkpoint_get_state(m->checkpoint)->data_hash;
    spec_hash(&m->spec, n.spec_hash);
    snprintf(n.data_hash, sizeof n.data_hash, "%.64s", data_hash);
    int threads = r->args->threads ? r->args->threads : (int)m->spec.resources.cpus;
    *s = (struct journal_start){.attempt = r->args->attempt,
                                .resume_step = r->step,
                                .threads = threads,
                                .micro_batch = m->plan.micro_batch,
                                .params = m->plan.params,
                                .tokens_per_epoch = r->job.tokens_per_epoch,
                                .total_steps = r->step,
                                .memory_bytes = (int64_t)m->plan.bytes.total,
                                .pid = getpid(),
                                .time_ms = clock_wall_ms(),
                                .flops_per_token = m->plan.flops_per_token};
    int rc = numerics_build_id(n.build, err);
    if (rc == 0)
        rc = numerics_id(&n, s->numerics_id, err);
    if (rc != 0)
        return rc;
    memcpy(s->spec_hash, n.spec_hash, sizeof s->spec_hash);
    memcpy(s->data_hash, n.data_hash, sizeof s->data_hash);
    memcpy(s->build, n.build, sizeof s->build);
    snprintf(s->backend, sizeof s->backend, "%s", n.backend);
    snprintf(s->device, sizeof s->device, "%s", n.device);
    log_event(LOG_LEVEL_INFO, "attempt_started", "attempt=%d kind=%s source=%s checkpoint=%s device=%s threads=%d",
              r->args->attempt, job_kind_word(r->job.kind), r->job.source, r->args->resume, s->device, threads);
    return journal_writer_append(r->journal, &record, err);
}

static int evaluate(struct running *r, enum journal_end_reason *reason, struct err *err)
{
    struct journal_record record = {.kind = JOURNAL_EVAL};
    struct journal_eval *e = &record.eval;
    struct evaluation found;
    int64_t begin = clock_monotonic_us();
    r->blame = END_BACKEND_ERROR;
    int rc = eval_compute(&r->run, &r->data, &r->windows, signals_stop_requested, &found, err);
    if (rc != 0)
        return rc;
    if (found.stopped) {
        *reason = END_STOPPED;
        return 0;
    }
    e->step = r->step;
    e->tokens = checkpoint_get_state(r->run.checkpoint)->tokens;
    e->epoch = r->job.tokens_per_epoch > 0 ? (double)e->tokens / (double)r->job.tokens_per_epoch : 0;
    e->predictions = found.predictions;
    e->loss = found.loss;
    e->perplexity = exp(found.loss);
    e->bits_per_byte = found.bits_per_byte;
    e->word_perplexity = found.word_perplexity;
    e->ms = (double)(clock_monotonic_us() - begin) / 1e3;
    snprintf(e->split, sizeof e->split, "%s", r->job.train_split ? "train" : "val");
    log_event(LOG_LEVEL_INFO, "evaluated", "step=%" PRId64 " data=%s loss=%.17g ms=%.1f", e->step, r->job.data, e->loss,
              e->ms);
    r->blame = END_INTERNAL_ERROR;
    return journal_writer_append(r->journal, &record, err);
}

struct sample_file {
    int fd;
    const char *path;
};

static int take_id(void *arg, int32_t id, struct err *err)
{
    const struct sample_file *f = arg;
    char line[16];
    int n = snprintf(line, sizeof line, "%d\n", (int)id);
    return file_write_all(f->fd, line, (size_t)n, f->path, err);
}

static int sample(struct running *r, enum journal_end_reason *reason, struct err *err)
{
    char path[PATH_SIZE];
    int rc = path_format(path, err, "%s/attempts/%d/sample", r->args->run_dir, r->args->attempt);
    if (rc != 0)
        return rc;
    struct sample_file file = {open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600), path};
    if (file.fd < 0)
        return err_set_errno(err, errno, "cannot make %s", path);
    r->blame = END_BACKEND_ERROR;
    rc = sample_generate(&r->job, &r->run, r->job.ids, r->job.id_count,
                         &(struct sample_out){take_id, signals_stop_requested, &file}, err);
    if (rc == 0 && fsync(file.fd) != 0)
        rc = err_set_errno(err, errno, "cannot sync %s", path);
    close(file.fd);
    if (rc == 0 && signals_stop_requested())
        *reason = END_STOPPED;
    return rc;
}

static enum journal_end_reason reason_of(const struct running *r, const struct err *err)
{
    switch (err->code) {
    case ERR_NO_SPACE:
        return END_DISK_FULL;
    case ERR_NO_MEMORY:
        return r->blame == END_OOM_GPU ? END_OOM_GPU : END_OOM_HOST;
    default:
        return r->blame;
    }
}

static int run(struct running *r, enum journal_end_reason *reason, struct err *err)
{
    r->blame = END_BAD_SPEC;
    int rc = read_job(r, err);
    if (rc == 0)
        rc = load(r, err);
    if (rc != 0)
        return rc;
    r->blame = END_INTERNAL_ERROR;
    rc = write_start(r, err);
    if (rc != 0)
        return rc;
    return r->job.kind == JOB_EVAL ? evaluate(r, reason, err) : sample(r, reason, err);
}

int job_run(const struct arguments *args, int keeper_pid)
{
    struct running r = {.args = args};
    struct err err = {0};
    enum journal_end_reason reason = END_FINISHED;
    if (signals_start(keeper_pid, &err) != 0 || attempt_open_journal(args, &r.journal, &err) != 0) {
        journal_writer_close(r.journal);
        return attempt_not_started(&err);
    }
    int rc = run(&r, &reason, &err);
    int status = rc == 0 ? attempt_end(r.journal, reason, r.step, NULL)
                         : attempt_end(r.journal, reason_of(&r, &err), r.step, &err);
    if (r.data_open)
        token_file_close(&r.data);
    loaded_run_close(&r.run);
    job_finish(&r.job);
    journal_writer_close(r.journal);
    return status;
}
