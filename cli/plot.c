#include "cli/plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Share of x at the left whose heights do not count. */
#define SKIPPED 0.2

static bool is_point(const struct plot_series *s, size_t i)
{
    return isfinite(s->x[i]) && isfinite(s->y[i]);
}

/* An axis needs some extent: a single value gets room on both sides. */
static void widen(struct plot_axis *a)
{
    if (a->max > a->min)
        return;
    double room = fabs(a->min) > 0 ? fabs(a->min) * 0.1 : 1;
    a->min -= room;
    a->max += room;
}

bool plot_x_axis(const struct plot *p, struct plot_axis *out)
{
    struct plot_axis axis = {INFINITY, -INFINITY, false};
    for (size_t s = 0; s < p->series_count; s++)
        for (size_t i = 0; i < p->series[s].count; i++)
            if (is_point(&p->series[s], i)) {
                axis.min = fmin(axis.min, p->series[s].x[i]);
                axis.max = fmax(axis.max, p->series[s].x[i]);
            }
    if (!(axis.min <= axis.max))
        return false;
    /* A curve that begins near zero is read best from zero. */
    if (axis.min > 0 && axis.min < 0.2 * axis.max)
        axis.min = 0;
    widen(&axis);
    *out = axis;
    return true;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Finite values at x >= from, sorted; caller frees. */
static double *collect(const struct plot *p, double from, bool faint, size_t *count)
{
    size_t total = 0, n = 0;
    for (size_t s = 0; s < p->series_count; s++)
        total += p->series[s].count;
    double *values = malloc((total + 1) * sizeof *values);
    if (!values)
        abort();
    for (size_t s = 0; s < p->series_count; s++)
        for (size_t i = 0; i < p->series[s].count; i++)
            if (p->series[s].faint == faint && is_point(&p->series[s], i) && p->series[s].x[i] >= from)
                values[n++] = p->series[s].y[i];
    qsort(values, n, sizeof *values, by_value);
    *count = n;
    return values;
}

bool plot_y_axis(const struct plot *p, struct plot_axis *out)
{
    struct plot_axis x;
    if (!plot_x_axis(p, &x))
        return false;
    size_t n, m;
    double *late = collect(p, x.min + SKIPPED * (x.max - x.min), false, &n);
    if (n < 4) {
        free(late);
        late = collect(p, -INFINITY, false, &n);
    }
    double *faint = collect(p, x.min + SKIPPED * (x.max - x.min), true, &m);
    const double *values = n ? late : faint;
    size_t count = n ? n : m;
    bool found = count > 0;
    if (found) {
        double low = values[0], high = values[count - 1], most = values[count * 9 / 10];
        double limit = most + 1.5 * (most - low);
        if (high > limit && limit > low)
            high = limit;
        /* Faint curves may pull the floor down by half of what is there, no more. */
        if (n && m && faint[0] < low)
            low = fmax(faint[0], low - 0.5 * (high - low));
        struct plot_axis axis = {low, high, false};
        widen(&axis);
        axis.log = axis.min > 0 && axis.max > 4 * axis.min;
        double margin = 0.04 * (axis.max - axis.min);
        if (!axis.log)
            axis.min = axis.min >= 0 && axis.min - margin < 0 ? 0 : axis.min - margin;
        axis.max += margin;
        *out = axis;
    }
    free(late);
    free(faint);
    return found;
}

double plot_axis_place(const struct plot_axis *a, double value)
{
    if (a->log)
        return value > 0 ? log(value / a->min) / log(a->max / a->min) : -1;
    return (value - a->min) / (a->max - a->min);
}

static size_t linear_ticks(const struct plot_axis *a, size_t wanted, struct plot_tick out[PLOT_TICKS_MAX])
{
    static const double nice[] = {1, 2, 5, 10};
    double raw = (a->max - a->min) / (double)wanted;
    double power = pow(10, floor(log10(raw)));
    for (int i = 0; i < 4; i++) {
        double step = nice[i] * power;
        double first = ceil(a->min / step - 1e-9), last = floor(a->max / step + 1e-9);
        if (last - first + 1 > (double)wanted && i < 3)
            continue;
        int decimals = step < 1 ? (int)ceil(-log10(step) - 1e-9) : 0;
        size_t n = 0;
        for (double k = first; k <= last && n < wanted; k++, n++) {
            out[n].value = k * step;
            if (decimals > 9 || fabs(out[n].value) >= 1e7)
                snprintf(out[n].label, sizeof out[n].label, "%.6g", out[n].value);
            else
                snprintf(out[n].label, sizeof out[n].label, "%.*f", decimals, k == 0 ? 0.0 : out[n].value);
        }
        return n;
    }
    return 0;
}

static size_t log_ticks(const struct plot_axis *a, size_t wanted, struct plot_tick out[PLOT_TICKS_MAX])
{
    static const double leads[][3] = {{1, 2, 5}, {1, 3, 0}, {1, 0, 0}};
    for (int choice = 0; choice < 3; choice++) {
        size_t n = 0;
        for (int e = (int)floor(log10(a->min)); e <= (int)ceil(log10(a->max)); e++)
            for (int i = 0; i < 3 && leads[choice][i] > 0; i++) {
                double value = leads[choice][i] * pow(10, e);
                if (value < a->min * (1 - 1e-9) || value > a->max * (1 + 1e-9))
                    continue;
                if (n < wanted) {
                    out[n].value = value;
                    snprintf(out[n].label, sizeof out[n].label, "%.6g", value);
                }
                n++;
            }
        if (n <= wanted)
            return n;
    }
    return wanted;
}

size_t plot_ticks(const struct plot_axis *a, size_t wanted, struct plot_tick out[PLOT_TICKS_MAX])
{
    if (wanted > PLOT_TICKS_MAX)
        wanted = PLOT_TICKS_MAX;
    if (a->log) {
        size_t n = log_ticks(a, wanted, out);
        if (n >= 3)
            return n;
    }
    return linear_ticks(a, wanted, out);
}
