#include "cli/plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Share of x at the left whose heights do not count. */
#define SKIPPED 0.2
/* How many times its scale (see find_scale) the picture is high: for single values, and for a run's best and last one,
 * which are what it is about. Falling curves reach 2 to 5. */
#define REACH_OF_VALUES 5
#define REACH_OF_RUNS 10

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

static double lowest_positive_x(const struct plot *p)
{
    double low = INFINITY;
    for (size_t s = 0; s < p->series_count; s++)
        for (size_t i = 0; i < p->series[s].count; i++)
            if (is_point(&p->series[s], i) && p->series[s].x[i] > 0)
                low = fmin(low, p->series[s].x[i]);
    return low;
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
    if (p->x_scale == PLOT_LOG && axis.max > 0) {
        axis.min = lowest_positive_x(p);
        if (axis.min == axis.max)
            axis.min /= 10;
        axis.log = true;
        *out = axis;
        return true;
    }
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
static double *sorted_values(const struct plot_series *s, double from, size_t *count)
{
    double *values = malloc((s->count + 1) * sizeof *values);
    if (!values)
        abort();
    *count = 0;
    for (size_t i = 0; i < s->count; i++)
        if (is_point(s, i) && s->x[i] >= from)
            values[(*count)++] = s->y[i];
    qsort(values, *count, sizeof *values, by_value);
    return values;
}

static double lowest_of(const struct plot *p, bool faint)
{
    double low = INFINITY;
    for (size_t s = 0; s < p->series_count; s++)
        for (size_t i = 0; i < p->series[s].count; i++)
            if (p->series[s].faint == faint && is_point(&p->series[s], i))
                low = fmin(low, p->series[s].y[i]);
    return low;
}

/* What the late part of a usual curve spans: the height above `low` that three quarters of a run's late values stay
 * under, of the median run, but at least the distance of the second best run. 0 when all is equal. */
static double find_scale(const struct plot *p, double low, double from)
{
    double *heights = malloc((p->series_count + 1) * sizeof *heights), second = INFINITY;
    if (!heights)
        abort();
    size_t n = 0;
    bool met_best = false;
    for (size_t s = 0; s < p->series_count; s++) {
        size_t count, late;
        if (p->series[s].faint)
            continue;
        double *values = sorted_values(&p->series[s], -INFINITY, &count);
        if (count > 0 && values[0] == low && !met_best)
            met_best = true;
        else if (count > 0)
            second = fmin(second, values[0]);
        free(values);
        values = sorted_values(&p->series[s], from, &late);
        if (late > 0)
            heights[n++] = values[(late - 1) * 3 / 4] - low;
        free(values);
    }
    qsort(heights, n, sizeof *heights, by_value);
    size_t middle = n ? (n - 1) / 2 : 0;
    while (middle + 1 < n && heights[middle] == 0)
        middle++;
    double scale = n ? heights[middle] : 0;
    free(heights);
    /* A rival that is four times as high has exploded from the start. */
    return isfinite(second) && (low <= 0 || second <= 4 * low) ? fmax(scale, second - low) : scale;
}

static double find_top(const struct plot *p, double low, double from, double scale)
{
    double top = low;
    for (size_t s = 0; s < p->series_count; s++) {
        const struct plot_series *series = &p->series[s];
        double best = INFINITY, last = NAN;
        bool late = false;
        for (size_t i = 0; i < series->count && !series->faint; i++) {
            if (!is_point(series, i))
                continue;
            best = fmin(best, series->y[i]);
            last = series->y[i];
            late |= series->x[i] >= from;
            if (series->x[i] >= from && series->y[i] <= low + REACH_OF_VALUES * scale)
                top = fmax(top, series->y[i]);
        }
        if (late && best <= low + REACH_OF_RUNS * scale)
            top = fmax(top, best);
        if (late && last <= low + REACH_OF_RUNS * scale)
            top = fmax(top, last);
    }
    return top;
}

bool plot_y_axis(const struct plot *p, struct plot_axis *out)
{
    struct plot_axis x;
    if (!plot_x_axis(p, &x))
        return false;
    double low = lowest_of(p, false), faint = lowest_of(p, true), from = x.min + SKIPPED * (x.max - x.min);
    struct plot_axis axis = {low, low, false};
    if (isfinite(low))
        axis.max = find_top(p, low, from, find_scale(p, low, from));
    else
        axis.min = axis.max = faint;
    /* Faint curves may pull the floor down by a quarter of what is there, no more. */
    if (isfinite(low) && faint < low)
        axis.min = fmax(faint, low - 0.25 * (axis.max - low));
    widen(&axis);
    axis.log = axis.min > 0 && (p->y_scale == PLOT_LOG || (p->y_scale == PLOT_AUTO && axis.max > 4 * axis.min));
    double margin = 0.04 * (axis.max - axis.min);
    if (axis.log)
        axis.min /= pow(axis.max / axis.min, 0.04);
    else
        axis.min = axis.min >= 0 && axis.min - margin < 0 ? 0 : axis.min - margin;
    axis.max += margin;
    *out = axis;
    return true;
}

double plot_axis_place(const struct plot_axis *a, double value)
{
    if (a->log)
        return value > 0 ? log(value / a->min) / log(a->max / a->min) : -1;
    return (value - a->min) / (a->max - a->min);
}

double plot_axis_value(const struct plot_axis *a, double place)
{
    return a->log ? a->min * pow(a->max / a->min, place) : a->min + place * (a->max - a->min);
}

bool plot_axis_holds(const struct plot_axis *a, double value)
{
    return value >= a->min && value <= a->max;
}

ptrdiff_t plot_series_end(const struct plot_series *s)
{
    size_t n = s->count;
    while (n > 0 && !is_point(s, n - 1))
        n--;
    return (ptrdiff_t)n - 1;
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
