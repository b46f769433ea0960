#include "daemon/compare_smooth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"

int compare_smooth_parse(const char *text, struct compare_smooth *out, struct err *err)
{
    double value;
    if (strncmp(text, "ema:", 4) == 0 && json_number_read(text + 4, &value) == 0 && value >= 0 && value < 1) {
        *out = (struct compare_smooth){.kind = SMOOTH_EMA, .beta = value};
        return 0;
    }
    if (strncmp(text, "window:", 7) == 0 && json_number_read(text + 7, &value) == 0 && value >= 1 &&
        value <= SMOOTH_MAX_WINDOW && value == floor(value)) {
        *out = (struct compare_smooth){.kind = SMOOTH_WINDOW, .window = (int64_t)value};
        return 0;
    }
    return err_set_at(err, ERR_INVALID, "smooth",
                      "\"%.40s\": ema:B with 0 <= B < 1, or window:N with N from 1 to %d steps, is needed", text,
                      SMOOTH_MAX_WINDOW);
}

int compare_smooth_init(struct compare_smooth *s, const struct compare_smooth *like, struct err *err)
{
    *s = (struct compare_smooth){.kind = like->kind, .beta = like->beta, .window = like->window, .weight = 1};
    if (s->kind != SMOOTH_WINDOW)
        return 0;
    s->ring = malloc((size_t)s->window * sizeof *s->ring);
    return s->ring ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for a window of %lld steps", (long long)s->window);
}

/* A sum that is carried along collects rounding: it is made anew each time round the ring. */
static double add_to_window(struct compare_smooth *s, double value)
{
    if (s->held == s->window)
        s->sum -= s->ring[s->next];
    else
        s->held++;
    s->ring[s->next] = value;
    s->sum += value;
    s->next = (s->next + 1) % s->window;
    if (s->next == 0) {
        s->sum = 0;
        for (int64_t i = 0; i < s->held; i++)
            s->sum += s->ring[i];
    }
    return s->sum / (double)s->held;
}

double compare_smooth_add(struct compare_smooth *s, double value)
{
    if (!isfinite(value))
        return NAN;
    switch (s->kind) {
    case SMOOTH_EMA:
        s->weight *= s->beta;
        s->mean = s->beta * s->mean + (1 - s->beta) * value;
        return s->mean / (1 - s->weight);
    case SMOOTH_WINDOW:
        return add_to_window(s, value);
    case SMOOTH_NONE:
        break;
    }
    return value;
}

void compare_smooth_finish(struct compare_smooth *s)
{
    free(s->ring);
    *s = (struct compare_smooth){0};
}
