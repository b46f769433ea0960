/* evaluate.c: see evaluate.h. */
#include "worker/evaluate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "worker/journal_writer.h"
#include "worker/model.h"
#include "worker/trainer.h"
#include "worker/window.h"

/* Bits a byte = nats a token / ln 2 * tokens a byte, the last one over the split's own text; NaN when its bytes are not
 * known. */
static double bits_per_byte(const struct token_file_header *h, double loss)
{
    uint64_t bytes = h->text_bytes - h->train_text_bytes, tokens = h->count - h->train_count;
    if (h->text_bytes == 0 || h->train_text_bytes == 0 || h->text_bytes <= h->train_text_bytes)
        return NAN;
    return loss / M_LN2 * ((double)tokens / (double)bytes);
}

/* With a memory a batch is window i of each stream, and so are the streams of train.batch, whatever the micro-batch. */
static int64_t count_batches(const struct trainer *t)
{
    if (spec_has_memory(&t->spec))
        return order_eval_stream_steps(&t->data, SPLIT_VAL, t->spec.train.seq_len, t->spec.train.batch);
    return order_eval_steps(&t->data, SPLIT_VAL, t->spec.train.seq_len, t->plan.micro_batch);
}

static void load_batch(struct trainer *t, int64_t i)
{
    const struct spec *s = &t->spec;
    bool streams = spec_has_memory(s);
    if (streams)
        order_eval_stream_fill(&t->data, SPLIT_VAL, s->data.reset, s->train.seq_len, s->train.batch,
                               t->plan.xl_eval_len, i, &t->batch);
    else
        order_eval_fill(&t->data, SPLIT_VAL, s->data.reset, s->train.seq_len, t->plan.micro_batch, i, &t->batch);
    int64_t rows = streams ? s->train.batch : t->plan.micro_batch;
    model_choose_windows(t->model,
                         &(struct window_key){.epoch = WINDOW_EVALUATION, .number = i * rows, .fresh = i == 0});
    model_load(t->model, t->batch.rows, t->batch.inputs, t->batch.targets, t->batch.first);
}

int evaluate_run(struct trainer *t, int64_t tokens, struct err *err)
{
    int64_t begin = clock_monotonic_us(), steps = count_batches(t);
    if (steps == 0)
        return 0;
    struct journal_record r = {.kind = JOURNAL_EVAL};
    struct journal_eval *e = &r.eval;
    struct model_results results = {0};
    t->blame = END_BACKEND_ERROR;
    int64_t waited = 0;
    for (int64_t i = 0; i < steps; i++) {
        model_step_begin(t->model, &(struct step_values){.step = t->step});
        load_batch(t, i);
        e->predictions += t->batch.predictions;
        if (i == 0)
            model_zero_loss(t->model);
        for (int64_t row = 0; row < t->batch.rows; row += t->plan.micro_batch)
            model_forward(t->model, row,
                          t->batch.rows - row < t->plan.micro_batch ? t->batch.rows - row : t->plan.micro_batch);
        model_step_end(t->model);
        bool last = i == steps - 1;
        for (; i + 1 - waited > (last ? 0 : model_steps_in_flight(t->model) - 1); waited++) {
            int rc = model_step_wait(t->model, &results, err);
            if (rc != 0)
                return rc;
        }
    }
    e->step = t->step;
    e->tokens = tokens;
    e->epoch = (double)tokens / (double)t->predictions_per_epoch;
    e->loss = results.loss_sum / (double)e->predictions;
    e->perplexity = exp(e->loss);
    e->bits_per_byte = bits_per_byte(&t->data.header, e->loss);
    e->ms = (double)(clock_monotonic_us() - begin) / 1e3;
    snprintf(e->split, sizeof e->split, "val");
    log_event(LOG_LEVEL_INFO, "evaluated", "step=%" PRId64 " epoch=%.4f loss=%.17g perplexity=%.6g ms=%.1f", e->step,
              e->epoch, e->loss, e->perplexity, e->ms);
    t->blame = END_INTERNAL_ERROR;
    return journal_writer_append(t->journal, &r, err);
}
