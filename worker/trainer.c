/* trainer.c: start and end of an attempt. The journal comes first, so that whatever fails afterwards is told there;
 * then spec, data, checkpoint, plan, backend, `start`, model, train loop, `end`.
 *
 * The data set's hash is computed anew at every start (about 1 s for 1 GB): the kernels rely on ids below the
 * vocabulary, and a resumed run relies on the same text. */
#include "worker/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "worker/arguments.h"
#include "worker/attempt.h"
#include "worker/checkpoint.h"
#include "worker/journal_writer.h"
#include "worker/model.h"
#include "worker/model_store.h"
#include "worker/numerics.h"
#include "worker/signals.h"
#include "worker/train_loop.h"

int trainer_note(struct trainer *t, struct err *err, const char *format, ...)
{
    struct journal_record r = {.kind = JOURNAL_NOTE};
    va_list ap;
    va_start(ap, format);
    vsnprintf(r.note, sizeof r.note, format, ap);
    va_end(ap);
    log_event(LOG_LEVEL_WARN, "note", "text=\"%s\"", r.note);
    return journal_writer_append(t->journal, &r, err);
}

static int open_journal(struct trainer *t, struct err *err)
{
    int rc = attempt_open_journal(t->args, &t->journal, err);
    return rc ? rc : checkpoint_remove_leftovers(t->args->run_dir, t->args->attempt, err);
}

static int read_spec(struct trainer *t, struct err *err)
{
    char path[PATH_SIZE], *text = NULL;
    size_t size = 0;
    int rc = path_format(path, err, "%s/spec.json", t->args->run_dir);
    if (rc == 0)
        rc = file_read_all(path, SPEC_MAX_BYTES, &text, &size, err);
    if (rc == 0)
        rc = spec_parse(text, size, &t->spec, err);
    free(text);
    if (rc == 0) {
        spec_hash(&t->spec, t->spec_hash);
        t->threads = t->args->threads ? t->args->threads : (int)t->spec.resources.cpus;
    }
    return rc;
}

static int open_data(struct trainer *t, struct err *err)
{
    int rc = token_file_open(t->args->home, t->spec.data.name, &t->data, err);
    if (rc != 0)
        return rc;
    t->data_open = true;
    struct err inner;
    rc = token_file_verify(&t->data, &inner);
    if (rc != 0)
        return err_set(err, inner.code, "data set '%s': %.500s", t->spec.data.name, inner.message);
    if (t->spec.model.vocab != 0 && (uint64_t)t->spec.model.vocab < t->data.header.vocab) {
        t->blame = END_BAD_SPEC;
        return err_set_at(err, ERR_INVALID, "model.vocab",
                          "%" PRId64 " is less than the data set's vocabulary of %" PRIu64, t->spec.model.vocab,
                          t->data.header.vocab);
    }
    rc = order_create(&t->data, t->spec.data.order, t->spec.data.reset, t->spec.train.seed, t->spec.train.seq_len,
                      t->spec.train.batch, &t->order, err);
    if (rc == 0)
        order_set_memory(t->order, t->spec.memory.xl.len);
    return rc;
}

/* train.steps, else the epochs in steps, rounded up; 0.1 * 30 epochs are 3, whatever the last bit says. */
static int count_steps(struct trainer *t, struct err *err)
{
    t->steps_per_epoch = order_steps_per_epoch(t->order);
    t->predictions_per_epoch = order_predictions_per_epoch(t->order);
    t->total_steps = t->spec.train.steps;
    if (t->total_steps > 0 || t->spec.train.epochs == 0)
        return 0;
    double steps = t->spec.train.epochs * (double)t->steps_per_epoch, whole = nearbyint(steps);
    if (!(fabs(steps - whole) <= 1e-9 * steps))
        whole = ceil(steps);
    if (!(whole < 0x1p53))
        return err_set_at(err, ERR_INVALID, "train.epochs", "too many steps");
    t->total_steps = whole < 1 ? 1 : (int64_t)whole;
    return 0;
}

static int open_checkpoint(struct trainer *t, struct err *err)
{
    if (t->args->resume[0] == 0)
        return 0;
    int rc = checkpoint_open(t->args->run_dir, t->args->resume, &t->resumed, err);
    if (rc != 0)
        return rc;
    const struct checkpoint_state *s = checkpoint_get_state(t->resumed);
    if (strcmp(s->data_hash, t->data.header.hash) != 0) {
        t->blame = END_BAD_DATA;
        return err_set(err, ERR_INVALID, "data set '%s' is not the one that %s was trained on", t->spec.data.name,
                       t->args->resume);
    }
    if (strcmp(s->spec_hash, t->spec_hash) != 0)
        return err_set(err, ERR_INVALID, "checkpoint %s was written under another spec", t->args->resume);
    if (s->step > t->total_steps)
        return err_set(err, ERR_INVALID, "checkpoint %s is beyond the last step, %" PRId64, t->args->resume,
                       t->total_steps);
    t->resume_step = t->step = s->step;
    /* What the plan chose at the first start stays for the whole run. */
    if (t->spec.train.micro_batch == MICRO_BATCH_AUTO)
        t->spec.train.micro_batch = s->micro_batch;
    return 0;
}

/* Its hash is in the numerics id, so a resumed attempt reads it too. */
static int open_init(struct trainer *t, struct err *err)
{
    if (t->spec.train.init_from[0] == 0)
        return 0;
    t->blame = END_BAD_SPEC;
    int rc = model_store_open(t->args->home, t->spec.train.init_from, &t->init, err);
    return rc ? rc : model_store_check(t->init, &t->spec, err);
}

static enum journal_end_reason out_of_memory(const struct trainer *t)
{
    return t->device.own_memory ? END_OOM_GPU : END_OOM_HOST;
}

/* What the device told, and if it is that it has no room, what the plan wants it for. */
static int device_failed(struct trainer *t, int rc, struct err *err)
{
    if (rc != -ERR_NO_MEMORY)
        return rc;
    char told[256], needs[160];
    snprintf(told, sizeof told, "%.255s", err->message);
    plan_say_needs(&t->plan, needs, sizeof needs);
    t->blame = out_of_memory(t);
    return err_set(err, ERR_NO_MEMORY, "%s; the run needs %s", told, needs);
}

/* A spec that is too large for the device is refused, as submit does it. One that has a checkpoint did fit a device: it
 * is this one that has too little. */
static int make_plan(struct trainer *t, struct err *err)
{
    t->blame = END_BAD_SPEC;
    t->device.plan.micro_batch_limit = t->args->micro_batch_limit;
    int rc = plan_make(&t->spec, (int64_t)t->data.header.vocab, &t->device.plan, &t->plan, err);
    if (rc == -ERR_TOO_LARGE && t->resumed)
        t->blame = out_of_memory(t);
    t->plan_made = rc == 0;
    return rc;
}

static int open_backend(struct trainer *t, struct err *err)
{
    t->blame = END_BACKEND_ERROR;
    int rc = device_choose(&t->spec, &t->device, err);
    if (rc != 0)
        return rc;
    rc = make_plan(t, err);
    if (rc != 0)
        return rc;
    t->blame = END_BACKEND_ERROR;
    const struct backend_options options = {
        .storage = t->device.storage,
        .threads = t->threads,
        .workspace_bytes = t->plan.bytes.by_class[PLAN_WORKSPACE],
        .branch_bytes = t->plan.branch_workspace,
    };
    rc = device_failed(t, backend_open(t->device.backend, &options, &t->backend, err), err);
    if (rc == 0)
        t->peak_flops = t->backend->ops->peak_flops(t->backend);
    return rc;
}

static int write_start(struct trainer *t, struct err *err)
{
    struct journal_record r = {.kind = JOURNAL_START};
    struct journal_start *s = &r.start;
    struct numerics n = {.backend = t->backend->ops->name,
                         .device = t->backend->ops->device_kind(t->backend),
                         .libraries = t->backend->ops->library_versions(t->backend),
                         .micro_batch = t->plan.micro_batch,
                         .init = t->init ? model_store_sha256(t->init) : ""};
    snprintf(n.spec_hash, sizeof n.spec_hash, "%s", t->spec_hash);
    snprintf(n.data_hash, sizeof n.data_hash, "%.64s", t->data.header.hash);
    int rc = numerics_build_id(n.build, err);
    if (rc == 0)
        rc = numerics_id(&n, t->numerics_id, err);
    if (rc != 0)
        return rc;
    *s = (struct journal_start){.attempt = t->args->attempt,
                                .resume_step = t->resume_step,
                                .threads = t->threads,
                                .micro_batch = t->plan.micro_batch,
                                .params = t->plan.params,
                                .tokens_per_epoch = t->predictions_per_epoch,
                                .steps_per_epoch = t->steps_per_epoch,
                                .total_steps = t->total_steps,
                                .memory_bytes = (int64_t)t->plan.bytes.total,
                                .pid = getpid(),
                                .time_ms = clock_wall_ms(),
                                .flops_per_token = t->plan.flops_per_token,
                                .peak_flops = t->peak_flops};
    snprintf(s->spec_hash, sizeof s->spec_hash, "%s", n.spec_hash);
    snprintf(s->data_hash, sizeof s->data_hash, "%s", n.data_hash);
    snprintf(s->numerics_id, sizeof s->numerics_id, "%s", t->numerics_id);
    snprintf(s->build, sizeof s->build, "%s", n.build);
    snprintf(s->backend, sizeof s->backend, "%s", n.backend);
    snprintf(s->device, sizeof s->device, "%s", n.device);
    rc = journal_writer_append(t->journal, &r, err);
    if (rc != 0)
        return rc;
    log_event(LOG_LEVEL_INFO, "attempt_started",
              "attempt=%d resume_step=%" PRId64 " total_steps=%" PRId64 " params=%" PRId64
              " backend=%s device=%s threads=%d micro_batch=%" PRId64 " recompute=%s memory_bytes=%" PRIu64,
              t->args->attempt, t->resume_step, t->total_steps, t->plan.params, s->backend, s->device, t->threads,
              t->plan.micro_batch, plan_recompute_word(t->plan.recompute), t->plan.bytes.total);
    if (t->resumed && strcmp(checkpoint_get_state(t->resumed)->numerics_id, t->numerics_id) != 0)
        rc = trainer_note(t, err, "resumed under another numerics id");
    return rc;
}

/* As the checkpoint has them, or the model to begin from, or drawn. */
static int set_parameters(struct trainer *t, struct err *err)
{
    int rc;
    if (t->resumed) {
        t->blame = END_BAD_CHECKPOINT;
        rc = checkpoint_restore(t->resumed, t->model, err);
        checkpoint_close(t->resumed);
        t->resumed = NULL;
    } else if (t->init) {
        rc = model_store_load(t->init, &t->plan, t->model, err);
    } else {
        rc = model_init_parameters(t->model, t->spec.train.seed,
                                   t->device.host_threads > 0 ? t->device.host_threads : t->threads, err);
    }
    model_store_close(t->init);
    t->init = NULL;
    return rc;
}

static int make_model(struct trainer *t, struct err *err)
{
    int rc = model_create(&t->spec, &t->plan, t->backend, &t->model, err);
    if (rc != 0)
        return device_failed(t, rc, err);
    t->health = (struct health){.backend = t->backend, .journal = t->journal};
    t->backend = NULL;
    size_t rows = (size_t)(t->spec.train.batch > t->plan.micro_batch ? t->spec.train.batch : t->plan.micro_batch);
    size_t n = rows * (size_t)t->spec.train.seq_len;
    t->batch.inputs = calloc(n, sizeof *t->batch.inputs);
    t->batch.targets = calloc(n, sizeof *t->batch.targets);
    t->batch.first = calloc(n, sizeof *t->batch.first);
    if (!t->batch.inputs || !t->batch.targets || !t->batch.first)
        return err_set(err, ERR_NO_MEMORY, "no memory for a batch of %zu tokens", n);
    return set_parameters(t, err);
}

/* Everything up to the first step. On failure t->blame says which reason it is. */
static int start(struct trainer *t, struct err *err)
{
    t->blame = END_BAD_SPEC;
    int rc = read_spec(t, err);
    if (rc != 0)
        return rc;
    t->blame = END_BAD_DATA;
    rc = open_data(t, err);
    if (rc != 0)
        return rc;
    t->blame = END_BAD_SPEC;
    rc = count_steps(t, err);
    if (rc != 0)
        return rc;
    t->blame = END_BAD_CHECKPOINT;
    rc = open_checkpoint(t, err);
    if (rc != 0)
        return rc;
    rc = open_init(t, err);
    if (rc != 0)
        return rc;
    rc = open_backend(t, err);
    if (rc != 0)
        return rc;
    t->blame = END_INTERNAL_ERROR;
    rc = write_start(t, err);
    if (rc != 0)
        return rc;
    t->blame = END_BACKEND_ERROR;
    return make_model(t, err);
}

/* The reason that the error's code tells, else the one that the failing part set. */
static enum journal_end_reason reason_of(const struct trainer *t, const struct err *err)
{
    switch (err->code) {
    case ERR_NO_SPACE:
        return END_DISK_FULL;
    case ERR_NO_MEMORY:
        return t->blame == END_OOM_GPU ? END_OOM_GPU : END_OOM_HOST;
    default:
        return t->blame;
    }
}

static void release(struct trainer *t)
{
    checkpoint_close(t->resumed);
    model_store_close(t->init);
    if (t->model)
        model_destroy(t->model);
    if (t->backend)
        t->backend->ops->close(t->backend);
    free(t->batch.inputs);
    free(t->batch.targets);
    free(t->batch.first);
    if (t->order)
        order_destroy(t->order);
    if (t->plan_made)
        plan_finish(&t->plan);
    if (t->data_open)
        token_file_close(&t->data);
    journal_writer_close(t->journal);
}

/* The last look at the device is the one that may tell why the steps failed; then the journal's own error is nothing.
 */
static int train(struct trainer *t, enum journal_end_reason *reason, struct err *err)
{
    t->blame = END_INTERNAL_ERROR;
    int rc = health_record(&t->health, t->step, clock_monotonic_us(), err);
    if (rc != 0)
        return rc;
    rc = train_loop_run(t, reason, err);
    if (t->blame == END_BACKEND_ERROR)
        rc = device_failed(t, rc, err);
    if (rc != 0) {
        health_record(&t->health, t->step, clock_monotonic_us(), NULL);
        return rc;
    }
    t->blame = END_INTERNAL_ERROR;
    return health_record(&t->health, t->step, clock_monotonic_us(), err);
}

int trainer_run(const struct arguments *args, int keeper_pid)
{
    struct trainer t = {.args = args};
    struct err err = {0};
    if (signals_start(keeper_pid, &err) != 0 || open_journal(&t, &err) != 0) {
        release(&t);
        return attempt_not_started(&err);
    }
    enum journal_end_reason reason = END_FINISHED;
    int rc = start(&t, &err);
    if (rc == 0)
        rc = train(&t, &reason, &err);
    int status = rc == 0 ? attempt_end(t.journal, reason, t.step, err.message[0] ? &err : NULL)
                         : attempt_end(t.journal, reason_of(&t, &err), t.step, &err);
    release(&t);
    return status;
}
