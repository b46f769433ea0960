/* evaluate.c: see evaluate.h. */
#include "worker/evaluate.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "worker/journal_writer.h"
#include "worker/model.h"
#include "worker/trainer.h"

/* Bits a byte = nats a token / ln 2 * tokens a byte, the last one over the split's own text; NaN when its bytes are not
 * known. */
static double bits_per_byte(const struct token_file_header *h, enum token_split split, double loss)
{
    if (h->text_bytes == 0 || h->train_text_bytes == 0 || h->text_bytes <= h->train_text_bytes)
        return NAN;
    bool train = split == SPLIT_TRAIN;
    uint64_t bytes = train ? h->train_text_bytes : h->text_bytes - h->train_text_bytes;
    uint64_t tokens = train ? h->train_count : h->count - h->train_count;
    return loss / M_LN2 * ((double)tokens / (double)bytes);
}

int evaluate_split(struct model *model, int64_t step, const struct token_file *data,
                   const struct order_windows *windows, enum spec_reset reset, struct order_batch *room,
                   struct evaluation *out, struct err *err)
{
    struct model_results results = {0};
    int64_t steps = order_eval_steps(data, windows), waited = 0, predictions = 0;
    for (int64_t i = 0; i < steps; i++) {
        order_eval_fill(data, windows, reset, i, room);
        predictions += room->predictions;
        model_step_begin(model, &(struct step_values){.step = step});
        model_load(model, room->rows, room->inputs, room->targets, room->first);
        if (i == 0)
            model_zero_loss(model);
        model_forward(model, 0, room->rows);
        model_step_end(model);
        bool last = i == steps - 1;
        for (; i + 1 - waited > (last ? 0 : model_steps_in_flight(model) - 1); waited++) {
            int rc = model_step_wait(model, &results, err);
            if (rc != 0)
                return rc;
        }
    }
    out->predictions = predictions;
    out->loss = results.loss_sum / (double)predictions;
    out->bits_per_byte = bits_per_byte(&data->header, windows->split, out->loss);
    return 0;
}

int evaluate_run(struct trainer *t, int64_t tokens, struct err *err)
{
    int64_t begin = clock_monotonic_us(), seq_len = t->spec.train.seq_len;
    const struct order_windows windows = {SPLIT_VAL, seq_len, seq_len, t->plan.micro_batch};
    if (order_eval_steps(&t->data, &windows) == 0)
        return 0;
    struct journal_record r = {.kind = JOURNAL_EVAL};
    struct journal_eval *e = &r.eval;
    struct evaluation found;
    t->blame = END_BACKEND_ERROR;
    int rc = evaluate_split(t->model, t->step, &t->data, &windows, t->spec.data.reset, &t->batch, &found, err);
    if (rc != 0)
        return rc;
    e->step = t->step;
    e->tokens = tokens;
    e->epoch = (double)tokens / (double)t->predictions_per_epoch;
    e->predictions = found.predictions;
    e->loss = found.loss;
    e->perplexity = exp(e->loss);
    e->bits_per_byte = found.bits_per_byte;
    e->ms = (double)(clock_monotonic_us() - begin) / 1e3;
    snprintf(e->split, sizeof e->split, "val");
    log_event(LOG_LEVEL_INFO, "evaluated", "step=%" PRId64 " epoch=%.4f loss=%.17g perplexity=%.6g ms=%.1f", e->step,
              e->epoch, e->loss, e->perplexity, e->ms);
    t->blame = END_INTERNAL_ERROR;
    return journal_writer_append(t->journal, &r, err);
}
