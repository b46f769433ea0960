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

bool window_is_plain(const struct plan *plan)
{
    return plan->pause_rows == 0 && plan->rmt_tokens == 0;
}

void window_init(struct window *w, const struct spec *spec, const struct plan *plan)
{
    *w = (struct window){.spec = spec, .plan = plan};
    if (window_is_plain(plan))
        return;
    int64_t rows = spec->train.batch, positions = rows * plan->run * plan->segments;
    w->tokens = allocate(positions);
    w->targets = allocate(positions);
    w->first = allocate(positions);
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

/* What a segment has of its tokens. */
struct segment {
    int32_t *tokens, *targets, *first;
    int64_t at; /* the next position */
};

static void put(struct segment *s, int32_t token, int32_t target, int32_t first)
{
    s->tokens[s->at] = token;
    s->targets[s->at] = target;
    s->first[s->at++] = first;
}

static void put_memory(const struct window *w, struct segment *s, int32_t first)
{
    for (int64_t i = 0; i < w->plan->rmt_tokens; i++)
        put(s, 0, -1, first);
}

static void fill_row(struct window *w, const struct window_key *key, int64_t rows, int64_t row, const int32_t *inputs,
                     const int32_t *targets, const int32_t *first)
{
    int64_t seq_len = w->spec->train.seq_len, length = seq_len / w->plan->segments;
    int32_t *places = w->places + row * seq_len, *pauses = w->pauses + row * w->spec->memory.pause.tokens;
    bool moves = w->spec->memory.pause.mode == PAUSE_PREDICT_FROM_LAST;
    struct segment s = {0};
    for (int64_t i = 0; i < seq_len; i++) {
        if (i % length == 0) {
            int64_t base = (i / length * rows + row) * w->plan->run;
            s = (struct segment){w->tokens + base, w->targets + base, w->first + base, 0};
            put_memory(w, &s, first[i]);
        }
        places[i] = (int32_t)s.at;
        int32_t visible = place_first(w, key, places, first[i]);
        put(&s, inputs[i], moves && w->behind[i] > 0 ? -1 : targets[i], visible);
        for (int64_t j = 1; j <= w->behind[i]; j++) {
            *pauses++ = (int32_t)s.at;
            put(&s, 0, moves && j == w->behind[i] ? targets[i] : -1, visible);
        }
        if ((i + 1) % length == 0)
            put_memory(w, &s, visible);
    }
}

void window_fill(struct window *w, const struct window_key *key, int64_t rows, const int32_t *inputs,
                 const int32_t *targets, const int32_t *first)
{
    for (int64_t row = 0; row < rows; row++) {
        int64_t base = row * w->spec->train.seq_len;
        draw_pauses(w, key, row);
        fill_row(w, key, rows, row, inputs + base, targets + base, first + base);
    }
}
