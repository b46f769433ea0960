/* train_loop.c: see train_loop.h. After a step, in this order: its record, its evaluation, its checkpoint. So a
 * checkpoint at step S is never ahead of what S owes the journal, and a resumed attempt goes on with S + 1. */
#include "worker/train_loop.h"

#include <inttypes.h>
#include <math.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "worker/arguments.h"
#include "worker/checkpoint.h"
#include "worker/evaluate.h"
#include "worker/journal_writer.h"
#include "worker/model.h"
#include "worker/schedule.h"
#include "worker/signals.h"
#include "worker/trainer.h"

/* Without train.checkpoint_every: no two checkpoints closer than this, and no more bytes a second on average. */
#define CHECKPOINT_SECONDS 10.0
#define CHECKPOINT_BYTES_PER_SECOND 2e6

struct loop {
    struct trainer *t;
    int64_t checkpoint_step; /* newest on the disk, by this attempt or the one resumed from */
    int64_t checkpoint_us;   /* when it was written, or when the loop began */
    int64_t checkpoint_bytes;
};

/* Predictions counted in the first `step` steps of the run. */
static int64_t tokens_at(const struct trainer *t, int64_t step)
{
    return step / t->steps_per_epoch * t->predictions_per_epoch +
           order_predictions_before(t->order, step % t->steps_per_epoch);
}

/* Forward and backward over the micro-batches, which are ranges of rows; the loss is the mean over the whole step. */
static int run_batch(struct trainer *t, double *loss, struct err *err)
{
    const struct order_batch *b = &t->batch;
    double sum;
    model_zero_gradients(t->model);
    for (int64_t row = 0; row < b->rows; row += t->plan.micro_batch) {
        int64_t rows = b->rows - row < t->plan.micro_batch ? b->rows - row : t->plan.micro_batch;
        int64_t at = row * t->spec.train.seq_len;
        model_forward_backward(t->model, rows, b->inputs + at, b->targets + at, b->first + at,
                               1.0 / (double)b->predictions);
    }
    int rc = model_read_loss(t->model, &sum, err);
    if (rc == 0)
        *loss = sum / (double)b->predictions;
    return rc;
}

static int run_step(struct trainer *t, int64_t step, struct journal_step *out, struct err *err)
{
    int64_t begin = clock_monotonic_us();
    order_fill(t->order, (step - 1) / t->steps_per_epoch, (step - 1) % t->steps_per_epoch, &t->batch);
    struct journal_step s = {.step = step, .tokens = tokens_at(t, step)};
    s.epoch = (double)s.tokens / (double)t->predictions_per_epoch;
    s.lr = schedule_lr(&t->spec, step, t->total_steps);
    int rc = run_batch(t, &s.loss, err);
    if (rc == 0)
        rc = model_optimizer_step(t->model, step, s.lr, &s.grad_norm, err);
    if (rc != 0)
        return rc;
    double us = (double)(clock_monotonic_us() - begin);
    s.ms = us / 1e3;
    s.tok_s = (double)t->batch.predictions / (us > 0 ? us / 1e6 : 1e-6);
    *out = s;
    return 0;
}

static int write_checkpoint(struct loop *l, struct err *err)
{
    struct trainer *t = l->t;
    struct checkpoint_state state = {.step = t->step,
                                     .epoch = t->step / t->steps_per_epoch,
                                     .step_in_epoch = t->step % t->steps_per_epoch,
                                     .tokens = tokens_at(t, t->step),
                                     .updates = model_updates(t->model),
                                     .seed = t->spec.train.seed,
                                     .micro_batch = t->plan.micro_batch};
    snprintf(state.spec_hash, sizeof state.spec_hash, "%s", t->spec_hash);
    snprintf(state.data_hash, sizeof state.data_hash, "%.64s", t->data.header.hash);
    snprintf(state.numerics_id, sizeof state.numerics_id, "%s", t->numerics_id);
    struct journal_record r = {.kind = JOURNAL_CHECKPOINT};
    t->blame = END_INTERNAL_ERROR;
    int rc = checkpoint_write(t->args->run_dir, t->args->attempt, &state, t->model, t->journal, &r.checkpoint, err);
    if (rc != 0)
        return rc;
    l->checkpoint_step = t->step;
    l->checkpoint_us = clock_monotonic_us();
    l->checkpoint_bytes = r.checkpoint.bytes;
    return journal_writer_append(t->journal, &r, err);
}

static bool checkpoint_is_due(const struct loop *l)
{
    const struct trainer *t = l->t;
    if (t->step == l->checkpoint_step)
        return false;
    if (signals_take_checkpoint_request() || signals_stop_requested() || t->step == t->total_steps)
        return true;
    if (t->spec.train.checkpoint_every > 0)
        return t->step % t->spec.train.checkpoint_every == 0;
    double seconds = (double)(clock_monotonic_us() - l->checkpoint_us) / 1e6;
    return seconds >= CHECKPOINT_SECONDS && seconds >= (double)l->checkpoint_bytes / CHECKPOINT_BYTES_PER_SECOND;
}

static bool evaluation_is_due(const struct trainer *t)
{
    int64_t every = t->spec.train.eval_every;
    return (every > 0 && t->step % every == 0) || t->step % t->steps_per_epoch == 0 || t->step == t->total_steps;
}

/* One step with all that follows from it; *diverged says that the run must end here. */
static int advance(struct loop *l, bool *diverged, struct err *err)
{
    struct trainer *t = l->t;
    struct journal_record r = {.kind = JOURNAL_STEP};
    t->blame = END_BACKEND_ERROR;
    int rc = run_step(t, t->step + 1, &r.step, err);
    if (rc != 0)
        return rc;
    t->blame = END_INTERNAL_ERROR;
    rc = journal_writer_append(t->journal, &r, err);
    if (rc != 0)
        return rc;
    t->step++;
    if (!isfinite(r.step.loss) || !isfinite(r.step.grad_norm)) {
        const char *what = isfinite(r.step.loss) ? "gradient norm" : "loss";
        *diverged = t->spec.train.on_nonfinite == NONFINITE_STOP;
        if (*diverged) {
            err_set(err, ERR_OK, "the %s of step %" PRId64 " is not finite", what, t->step);
            return 0;
        }
        rc = trainer_note(t, err, "step %" PRId64 ": the %s is not finite, the update was skipped", t->step, what);
    }
    if (rc == 0 && evaluation_is_due(t))
        rc = evaluate_run(t, tokens_at(t, t->step), err);
    if (rc == 0 && checkpoint_is_due(l))
        rc = write_checkpoint(l, err);
    return rc;
}

int train_loop_run(struct trainer *t, enum journal_end_reason *reason, struct err *err)
{
    struct loop l = {.t = t, .checkpoint_step = t->resume_step, .checkpoint_us = clock_monotonic_us()};
    l.checkpoint_bytes = (int64_t)(t->plan.bytes.by_class[PLAN_PARAMETERS] + t->plan.bytes.by_class[PLAN_MOMENTS]);
    bool diverged = false;
    while (t->step < t->total_steps && !signals_stop_requested()) {
        int rc = advance(&l, &diverged, err);
        if (rc != 0)
            return rc;
        if (diverged) {
            *reason = END_DIVERGED;
            return 0;
        }
    }
    /* The signal may have come after the last step had looked for it. */
    if (signals_stop_requested() && checkpoint_is_due(&l)) {
        int rc = write_checkpoint(&l, err);
        if (rc != 0)
            return rc;
    }
    *reason = t->step == t->total_steps ? END_FINISHED : END_STOPPED;
    return 0;
}
