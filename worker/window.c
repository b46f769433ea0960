#include "worker/window.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/philox.h"

static int32_t *allocate(int64_t count)
{
    int32_t *p = calloc((size_t)count + 1, sizeof *p);
    if (!p)
        abort();
    return p;
}

void window_init(struct window *w, const struct spec *spec, const struct plan *plan)
{
    *w = (struct window){.spec = spec, .plan = plan};
    if (plan->run == spec->train.seq_len)
        return;
    int64_t rows = spec->train.batch;
    w->tokens = allocate(rows * plan->run);
    w->targets = allocate(rows * plan->run);
    w->first = allocate(rows * plan->run);
    w->places = allocate(rows * spec->train.seq_len);
    w->pauses = allocate(rows * spec->memory.pause.tokens);
    w->behind = allocate(spec->train.seq_len);
}

void window_finish(struct window *w)
{
    free(w->tokens);
    free(w->targets);
    free(w->first);
    free(w->places);
    free(w->pauses);
    free(w->behind);
}

static void draw_pauses(struct window *w, const struct window_key *key, int64_t row)
{
    int64_t seq_len = w->spec->train.seq_len, count = w->spec->memory.pause.tokens;
    char name[48];
    struct philox random;
    memset(w->behind, 0, (size_t)seq_len * sizeof *w->behind);
    snprintf(name, sizeof name, "%" PRId64 ".%" PRId64, key->epoch, key->number + row);
    philox_init(&random, (uint64_t)w->spec->train.seed, "pause", name);
    for (int64_t i = 0; i < count; i++) {
        bool drop = w->spec->memory.pause.mode == PAUSE_DROP;
        w->behind[drop ? (i + 1) * seq_len / (count + 1) : (int64_t)philox_below(&random, (uint64_t)seq_len)]++;
    }
}

/* A position of the window as one of the run; `first` counts from the memory's begin. */
static int32_t place_first(const struct window *w, const struct window_key *key, const int32_t *places, int32_t first)
{
    int64_t memory = key->epoch == WINDOW_EVALUATION ? w->plan->xl_eval_len : w->plan->xl_len;
    return first <= memory ? first : (int32_t)memory + places[first - memory];
}

static void fill_row(struct window *w, const struct window_key *key, int64_t row, const int32_t *inputs,
                     const int32_t *targets, const int32_t *first)
{
    int64_t run = w->plan->run, at = 0, pause = 0;
    int32_t *tokens_out = w->tokens + row * run, *targets_out = w->targets + row * run;
    int32_t *first_out = w->first + row * run, *places = w->places + row * w->spec->train.seq_len;
    int32_t *pauses = w->pauses + row * w->spec->memory.pause.tokens;
    bool moves = w->spec->memory.pause.mode == PAUSE_PREDICT_FROM_LAST;
    for (int64_t i = 0; i < w->spec->train.seq_len; i++) {
        places[i] = (int32_t)at;
        for (int64_t j = 0; j <= w->behind[i]; j++, at++) {
            tokens_out[at] = j == 0 ? inputs[i] : 0;
            targets_out[at] = j == (moves ? w->behind[i] : 0) ? targets[i] : -1;
            first_out[at] = place_first(w, key, places, first[i]);
            if (j > 0)
                pauses[pause++] = (int32_t)at;
        }
    }
}

void window_fill(struct window *w, const struct window_key *key, int64_t rows, const int32_t *inputs,
                 const int32_t *targets, const int32_t *first)
{
    for (int64_t row = 0; row < rows; row++) {
        int64_t base = row * w->spec->train.seq_len;
        draw_pauses(w, key, row);
        fill_row(w, key, row, inputs + base, targets + base, first + base);
    }
}
