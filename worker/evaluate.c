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
#include "worker/window.h"

static uint64_t split_tokens(const struct token_file_header *h, enum token_split split)
{
    return split == SPLIT_TRAIN ? h->train_count : h->count - h->train_count;
}

static uint64_t split_words(const struct token_file_header *h, enum token_split split)
{
    return split == SPLIT_TRAIN ? h->train_words : h->words - h->train_words;
}

/* Bits a byte = nats a token / ln 2 * tokens a byte, the last one over the split's own text; NaN when its bytes are not
 * known. */
static double bits_per_byte(const struct token_file_header *h, enum token_split split, double loss)
{
    if (h->text_bytes == 0 || h->train_text_bytes == 0 || h->text_bytes <= h->train_text_bytes)
        return NAN;
    bool train = split == SPLIT_TRAIN;
    uint64_t bytes = train ? h->train_text_bytes : h->text_bytes - h->train_text_bytes;
    return loss / M_LN2 * ((double)split_tokens(h, split) / (double)bytes);
}

/* exp(nats a word) = exp(nats a token * tokens a word), over the split's own text, all of which an evaluation covers.
 */
static double word_perplexity(const struct token_file_header *h, enum token_split split, double loss)
{
    uint64_t words = split_words(h, split);
    return words == 0 ? NAN : exp(loss * ((double)split_tokens(h, split) / (double)words));
}

/* With a memory a batch is window i of each stream, and so are the streams of train.batch, whatever the micro-batch. */
struct order_windows evaluate_windows(const struct spec *s, const struct plan *plan, enum token_split split,
                                      int64_t stride)
{
    return (struct order_windows){split, s->train.seq_len, stride,
                                  spec_has_memory(s) ? s->train.batch : plan->micro_batch};
}

static void load_batch(const struct evaluated *m, const struct token_file *data, const struct order_windows *w,
                       int64_t i, struct order_batch *room)
{
    if (spec_has_memory(m->spec))
        order_eval_stream_fill(data, w, m->spec->data.reset, m->plan->xl_eval_len, i, room);
    else
        order_eval_fill(data, w, m->spec->data.reset, i, room);
    model_choose_windows(m->model,
                         &(struct window_key){.epoch = WINDOW_EVALUATION, .number = i * w->batch, .fresh = i == 0});
    model_load(m->model, room->rows, room->inputs, room->targets, room->first);
}

int evaluate_split(const struct evaluated *m, const struct token_file *data, const struct order_windows *windows,
                   struct order_batch *room, struct evaluation *out, struct err *err)
{
    struct model_results results = {0};
    int64_t steps = order_eval_steps(data, windows), most = m->plan->micro_batch, waited = 0, predictions = 0;
    out->stopped = false;
    for (int64_t i = 0; i < steps; i++) {
        bool last = i == steps - 1;
        if (m->stopped && m->stopped()) {
            out->stopped = true;
            last = true; /* of those that are waited for */
        }
        model_step_begin(m->model, &(struct step_values){.step = m->step});
        load_batch(m, data, windows, i, room);
        predictions += room->predictions;
        if (i == 0)
            model_zero_loss(m->model);
        for (int64_t row = 0; row < room->rows; row += most)
            model_forward(m->model, row, room->rows - row < most ? room->rows - row : most);
        model_step_end(m->model);
        for (; i + 1 - waited > (last ? 0 : model_steps_in_flight(m->model) - 1); waited++) {
            int rc = model_step_wait(m->model, &results, err);
            if (rc != 0)
                return rc;
        }
        if (out->stopped)
            return 0;
    }
    out->predictions = predictions;
    out->loss = results.loss_sum / (double)predictions;
    out->bits_per_byte = bits_per_byte(&data->header, windows->split, out->loss);
    out->word_perplexity = word_perplexity(&data->header, windows->split, out->loss);
    return 0;
}

int evaluate_run(struct trainer *t, int64_t tokens, struct err *err)
{
    int64_t begin = clock_monotonic_us();
    const struct evaluated model = {t->model, &t->spec, &t->plan, t->step, NULL};
    const struct order_windows windows = evaluate_windows(&t->spec, &t->plan, SPLIT_VAL, t->spec.train.seq_len);
    if (order_eval_steps(&t->data, &windows) == 0)
        return 0;
    struct journal_record r = {.kind = JOURNAL_EVAL};
    struct journal_eval *e = &r.eval;
    struct evaluation found;
    t->blame = END_BACKEND_ERROR;
    int rc = evaluate_split(&model, &t->data, &windows, &t->batch, &found, err);
    if (rc != 0)
        return rc;
    e->step = t->step;
    e->tokens = tokens;
    e->epoch = (double)tokens / (double)t->predictions_per_epoch;
    e->predictions = found.predictions;
    e->loss = found.loss;
    e->perplexity = exp(e->loss);
    e->bits_per_byte = found.bits_per_byte;
    e->word_perplexity = found.word_perplexity;
    e->ms = (double)(clock_monotonic_us() - begin) / 1e3;
    snprintf(e->split, sizeof e->split, "val");
    log_event(LOG_LEVEL_INFO, "evaluated", "step=%" PRId64 " epoch=%.4f loss=%.17g perplexity=%.6g ms=%.1f", e->step,
              e->epoch, e->loss, e->perplexity, e->ms);
    t->blame = END_INTERNAL_ERROR;
    return journal_writer_append(t->journal, &r, err);
}
