#include "daemon/ingest_window.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void window_finish(struct ingest_window *w)
{
    free(w->steps);
    *w = (struct ingest_window){0};
}

void window_clear(struct ingest_window *w)
{
    w->start = w->n = 0;
}

static int make_room(struct ingest_window *w, struct err *err)
{
    if (w->start + w->n < w->capacity)
        return 0;
    if (w->start > w->n) { /* more than half is behind the window */
        memmove(w->steps, w->steps + w->start, w->n * sizeof *w->steps);
        w->start = 0;
        return 0;
    }
    size_t wanted = w->capacity ? 2 * w->capacity : 64;
    struct window_step *larger = realloc(w->steps, wanted * sizeof *larger);
    if (!larger)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    w->steps = larger;
    w->capacity = wanted;
    return 0;
}

int window_add(struct ingest_window *w, const struct window_step *step, int64_t tokens_per_epoch, struct err *err)
{
    int rc = make_room(w, err);
    if (rc)
        return rc;
    w->steps[w->start + w->n++] = *step;
    /* in the window: 20 * age < tokens an epoch, in integers without overflow */
    int64_t oldest_age = tokens_per_epoch < 1 ? -1 : (tokens_per_epoch - 1) / WINDOW_EPOCH_SHARE;
    while (w->n > 1 && (oldest_age < 0 || step->tokens - w->steps[w->start].tokens > oldest_age)) {
        w->start++;
        w->n--;
    }
    return 0;
}

struct store_real window_loss(const struct ingest_window *w)
{
    double sum = 0;
    for (size_t i = 0; i < w->n; i++)
        sum += w->steps[w->start + i].loss;
    return w->n ? (struct store_real){true, sum / (double)w->n} : (struct store_real){false, NAN};
}

struct window_pace window_pace(const struct ingest_window *w)
{
    size_t n = w->n < WINDOW_SPEED_STEPS ? w->n : WINDOW_SPEED_STEPS, counted = 0;
    double ms = 0, tokens = 0, mfu_ms = 0;
    bool mfu_known = true;
    for (size_t i = 0; i < n; i++) {
        const struct window_step *s = &w->steps[w->start + w->n - 1 - i];
        if (!isfinite(s->ms) || !isfinite(s->tok_s) || s->ms < 0)
            continue;
        counted++;
        ms += s->ms;
        tokens += s->tok_s * s->ms / 1e3;
        mfu_ms += s->mfu * s->ms;
        mfu_known = mfu_known && s->mfu > 0 && isfinite(s->mfu);
    }
    const struct store_real unknown = {false, NAN};
    return (struct window_pace){.tok_s = ms > 0 ? (struct store_real){true, tokens / ms * 1e3} : unknown,
                                .step_ms = counted ? (struct store_real){true, ms / (double)counted} : unknown,
                                .mfu = ms > 0 && mfu_known ? (struct store_real){true, mfu_ms / ms} : unknown};
}
