/* train_loop.c: see train_loop.h. After a step, in this order: its record, its evaluation, its checkpoint. So a
 * checkpoint at step S is never ahead of what S owes the journal, and a resumed attempt goes on with S + 1.
 *
 * Now and then a look at the device's health follows a step's record.
 *
 * Where train.verify_every asks for it, a step is done twice, alone, before its record: one that comes out otherwise is
 * no step, and the attempt ends, to be resumed from the checkpoint before it.
 *
 * A backend that works on its own is given the next step before the results of this one are waited for, unless
 * something is due after this one: an evaluation or a checkpoint sees the model as its step left it. */
#include "worker/train_loop.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
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
#include "worker/step_check.h"
#include "worker/trainer.h"
#include "worker/window.h"

/* Without train.checkpoint_every: no two checkpoints closer than this, and no more bytes a second on average. */
#define CHECKPOINT_SECONDS 10.0
#define CHECKPOINT_BYTES_PER_SECOND 2e6

/* A step that was begun and not waited for. */
struct pending {
    struct journal_step record; /* what is known beforehand */
    int64_t predictions, begin_us;
};

struct loop {
    struct trainer *t;
    struct pending pending[MODEL_STEPS_IN_FLIGHT]; /* step s is at s % MODEL_STEPS_IN_FLIGHT */
    int64_t begun;                                 /* newest step begun; t->step is the newest done */
    int64_t done_us;                               /* when that was */
    int64_t checkpoint_step;                       /* newest on the disk, by this attempt or the one resumed from */
    int64_t checkpoint_us;                         /* when it was written, or when the loop began */
    int64_t checkpoint_bytes;
    struct step_check check;
};

/* Predictions counted in the first `step` steps of the run. */
static int64_t tokens_at(const struct trainer *t, int64_t step)
{
    return step / t->steps_per_epoch * t->predictions_per_epoch +
           order_predictions_before(t->order, step % t->steps_per_epoch);
}

/* Forward and backward over the micro-batches, which are ranges of rows, and the update; the loss is the mean over the
 * whole step. */
static void begin_step(struct loop *l, int64_t step)
{
    struct trainer *t = l->t;
    const struct order_batch *b = &t->batch;
    struct pending *p = &l->pending[step % MODEL_STEPS_IN_FLIGHT];
    *p = (struct pending){.record = {.step = step, .tokens = tokens_at(t, step)}, .begin_us = clock_monotonic_us()};
    order_fill(t->order, (step - 1) / t->steps_per_epoch, (step - 1) % t->steps_per_epoch, &t->batch);
    p->record.epoch = (double)p->record.tokens / (double)t->predictions_per_epoch;
    p->record.lr = schedule_lr(&t->spec, step, t->total_steps);
    p->predictions = b->predictions;
    model_step_begin(
        t->model, &(struct step_values){.step = step, .lr = p->record.lr, .loss_scale = 1.0 / (double)b->predictions});
    int64_t in_epoch = (step - 1) % t->steps_per_epoch;
    model_choose_windows(t->model, &(struct window_key){.epoch = (step - 1) / t->steps_per_epoch,
                                                        .number = in_epoch * t->spec.train.batch,
                                                        .fresh = in_epoch == 0});
    model_load(t->model, b->rows, b->inputs, b->targets, b->first);
    model_zero_gradients(t->model);
    for (int64_t row = 0; row < b->rows; row += t->plan.micro_batch)
        model_forward_backward(t->model, row,
                               b->rows - row < t->plan.micro_batch ? b->rows - row : t->plan.micro_batch);
    model_update(t->model);
    model_step_end(t->model);
    l->begun = step;
}

static bool check_is_due(const struct trainer *t, int64_t step)
{
    return t->spec.train.verify_every > 0 && step % t->spec.train.verify_every == 0;
}

/* Nothing else is under way when a step is to be done twice. */
static int begin_next(struct loop *l, struct err *err)
{
    struct trainer *t = l->t;
    int rc = 0;
    if (check_is_due(t, l->begun + 1)) {
        t->blame = END_BACKEND_ERROR;
        rc = step_check_keep(&l->check, t->model, err);
    }
    if (rc == 0)
        begin_step(l, l->begun + 1);
    return rc;
}

/* Waits for the oldest step begun. */
static int finish_step(struct loop *l, struct journal_step *out, struct err *err)
{
    struct pending *p = &l->pending[(l->t->step + 1) % MODEL_STEPS_IN_FLIGHT];
    struct model_results r;
    int rc = model_step_wait(l->t->model, &r, err);
    if (rc != 0)
        return rc;
    int64_t now = clock_monotonic_us(), begin = p->begin_us > l->done_us ? p->begin_us : l->done_us;
    double us = now > begin ? (double)(now - begin) : 1;
    l->done_us = now;
    *out = p->record;
    out->loss = r.loss_sum / (double)p->predictions;
    out->grad_norm = r.grad_norm;
    out->ms = us / 1e3;
    out->tok_s = (double)p->predictions / (us / 1e6);
    out->mfu = plan_mfu(l->t->plan.flops_per_token, out->tok_s, l->t->peak_flops);
    return 0;
}

static int write_checkpoint(struct loop *l, struct err *err)
{
    struct trainer *t = l->t;
    struct checkpoint_state state = {.step = t->step,
                                     .epoch = t->step / t->steps_per_epoch,
                                     .step_in_epoch = t->step % t->steps_per_epoch,
                                     .tokens = tokens_at(t, t->step),
                                     .seed = t->spec.train.seed,
                                     .micro_batch = t->plan.micro_batch};
    snprintf(state.spec_hash, sizeof state.spec_hash, "%s", t->spec_hash);
    snprintf(state.data_hash, sizeof state.data_hash, "%.64s", t->data.header.hash);
    snprintf(state.numerics_id, sizeof state.numerics_id, "%s", t->numerics_id);
    struct journal_record r = {.kind = JOURNAL_CHECKPOINT};
    signals_clear_checkpoint_request();
    t->blame = END_BACKEND_ERROR;
    int rc = model_read_updates(t->model, &state.updates, err);
    if (rc != 0)
        return rc;
    t->blame = END_INTERNAL_ERROR;
    rc = checkpoint_write(t->args->run_dir, t->args->attempt, &state, t->model, t->journal, &r.checkpoint, err);
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
    if (signals_checkpoint_requested() || signals_stop_requested() || t->step == t->total_steps)
        return true;
    if (t->spec.train.checkpoint_every > 0)
        return t->step % t->spec.train.checkpoint_every == 0;
    double seconds = (double)(clock_monotonic_us() - l->checkpoint_us) / 1e6;
    return seconds >= CHECKPOINT_SECONDS && seconds >= (double)l->checkpoint_bytes / CHECKPOINT_BYTES_PER_SECOND;
}

static bool evaluation_is_due(const struct trainer *t, int64_t step)
{
    return schedule_evaluates(&t->spec, step, t->steps_per_epoch) || step == t->total_steps;
}

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

/* The step once more from the state before it. ERR_DAMAGED where anything comes out otherwise: a bit was turned in one
 * of the two, and nobody knows in which. */
static int do_again(struct loop *l, const struct journal_step *first, struct err *err)
{
    struct trainer *t = l->t;
    struct journal_step again;
    struct err what = {0};
    int rc = step_check_swap(&l->check, t->model, err);
    if (rc != 0)
        return rc;
    begin_step(l, first->step);
    rc = finish_step(l, &again, err);
    if (rc != 0)
        return rc;
    if (!same_bits(first->loss, again.loss))
        rc = err_set(&what, ERR_DAMAGED, "the loss is %.17g and %.17g", first->loss, again.loss);
    else if (!same_bits(first->grad_norm, again.grad_norm))
        rc = err_set(&what, ERR_DAMAGED, "the gradient norm is %.17g and %.17g", first->grad_norm, again.grad_norm);
    else
        rc = step_check_compare(&l->check, t->model, &what);
    if (rc == -ERR_DAMAGED) {
        t->blame = END_SILENT_CORRUPTION;
        return err_set(err, ERR_DAMAGED, "step %" PRId64 " was done twice from the same state: %.300s", first->step,
                       what.message);
    }
    return rc != 0 ? err_set(err, what.code, "%s", what.message) : 0;
}

/* True when the next step may begin before the newest one begun is done. What comes by time or by signal waits for the
 * steps begun by then. */
static bool may_run_ahead(const struct loop *l)
{
    const struct trainer *t = l->t;
    int64_t every = t->spec.train.checkpoint_every;
    if (l->begun == t->step)
        return true;
    return l->begun - t->step < model_steps_in_flight(t->model) && !evaluation_is_due(t, l->begun) &&
           !(every > 0 && l->begun % every == 0) && !check_is_due(t, l->begun) && !check_is_due(t, l->begun + 1) &&
           !checkpoint_is_due(l);
}

/* One step's results with all that follows from them; *diverged says that the run must end here. */
static int finish(struct loop *l, bool *diverged, struct err *err)
{
    struct trainer *t = l->t;
    struct journal_record r = {.kind = JOURNAL_STEP};
    t->blame = END_BACKEND_ERROR;
    int rc = finish_step(l, &r.step, err);
    if (rc == 0 && check_is_due(t, r.step.step))
        rc = do_again(l, &r.step, err);
    if (rc != 0)
        return rc;
    t->blame = END_INTERNAL_ERROR;
    rc = journal_writer_append(t->journal, &r, err);
    if (rc != 0)
        return rc;
    t->step++;
    rc = health_record_if_due(&t->health, t->step, l->done_us, err);
    if (rc != 0)
        return rc;
    if (!isfinite(r.step.loss) || !isfinite(r.step.grad_norm)) {
        const char *what = isfinite(r.step.loss) ? "gradient norm" : "loss";
        *diverged = t->spec.train.on_nonfinite == NONFINITE_STOP;
        if (*diverged) {
            err_set(err, ERR_OK, "the %s of step %" PRId64 " is not finite", what, t->step);
            return 0;
        }
        rc = trainer_note(t, err, "step %" PRId64 ": the %s is not finite, the update was skipped", t->step, what);
    }
    if (l->begun > t->step || rc != 0)
        return rc;
    if (evaluation_is_due(t, t->step))
        rc = evaluate_run(t, tokens_at(t, t->step), err);
    if (rc == 0 && checkpoint_is_due(l))
        rc = write_checkpoint(l, err);
    return rc;
}

/* A run that begins from given parameters tells where it begins; one without steps has nothing else to tell, and leaves
 * its parameters to whoever wants to use them. */
static int begin(struct loop *l, struct err *err)
{
    struct trainer *t = l->t;
    int rc = 0;
    if (t->step == 0 && (t->spec.train.init_from[0] || t->total_steps == 0))
        rc = evaluate_run(t, 0, err);
    if (rc == 0 && t->total_steps == 0 && t->args->resume[0] == 0)
        rc = write_checkpoint(l, err);
    return rc;
}

static int run_steps(struct loop *l, enum journal_end_reason *reason, struct err *err)
{
    struct trainer *t = l->t;
    int rc = begin(l, err);
    if (rc != 0)
        return rc;
    for (;;) {
        if (l->begun < t->total_steps && !signals_stop_requested() && may_run_ahead(l)) {
            rc = begin_next(l, err);
            if (rc != 0)
                return rc;
            continue;
        }
        if (l->begun == t->step)
            break;
        bool diverged = false;
        rc = finish(l, &diverged, err);
        if (rc != 0)
            return rc;
        if (diverged) {
            *reason = END_DIVERGED;
            return 0;
        }
    }
    /* The signal may have come after the last step had looked for it. */
    if (signals_stop_requested() && checkpoint_is_due(l)) {
        rc = write_checkpoint(l, err);
        if (rc != 0)
            return rc;
    }
    *reason = t->step == t->total_steps ? END_FINISHED : END_STOPPED;
    return 0;
}

int train_loop_run(struct trainer *t, enum journal_end_reason *reason, struct err *err)
{
    struct loop l = {.t = t, .begun = t->step, .checkpoint_step = t->resume_step};
    l.checkpoint_us = clock_monotonic_us();
    l.checkpoint_bytes = (int64_t)(t->plan.bytes.by_class[PLAN_PARAMETERS] + t->plan.bytes.by_class[PLAN_MOMENTS]);
    int rc = run_steps(&l, reason, err);
    step_check_finish(&l.check);
    return rc;
}
