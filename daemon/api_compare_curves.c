#include "daemon/api_compare_curves.h"

#include <math.h>
#include <stdlib.h>
#include "base/err.h"
#include "daemon/compare.h"
#include "daemon/jsonw.h"
#include "daemon/store_curve.h"
#include "daemon/store_gpu.h"

/* Both ascend by step. */
struct stopwatch {
    const struct store_curve *steps;
    size_t at;
    double seconds;
};

static double seconds_until(struct stopwatch *s, int64_t step)
{
    for (; s->at < s->steps->n && s->steps->step[s->at] <= step; s->at++)
        s->seconds += s->steps->ms[s->at] / 1000;
    return s->seconds;
}

int api_clock_init(struct api_clock *clock, const struct store_curve *steps, const struct compare_run *r,
                   struct err *err)
{
    struct api_clock made = {malloc((r->train.means.count + 1) * sizeof(double)),
                             malloc((r->val.count + 1) * sizeof(double)),
                             malloc((r->train.extent_count + 1) * sizeof(double))};
    if (!made.train || !made.val || !made.raw) {
        api_clock_finish(&made);
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    }
    struct stopwatch means = {steps, 0, 0}, val = means, raw = means;
    for (size_t i = 0; i < r->train.means.count; i++)
        made.train[i] = seconds_until(&means, r->train.means.points[i].step);
    for (size_t i = 0; i < r->val.count; i++)
        made.val[i] = seconds_until(&val, r->val.points[i].step);
    for (size_t i = 0; i < r->train.extent_count; i++)
        made.raw[i] = seconds_until(&raw, r->train.extents[i].step);
    *clock = made;
    return 0;
}

void api_clock_finish(struct api_clock *clock)
{
    free(clock->train);
    free(clock->val);
    free(clock->raw);
    *clock = (struct api_clock){0};
}

static void write_seconds(struct jsonw *w, const double *seconds, size_t count)
{
    if (!seconds)
        return;
    jsonw_begin_array(w, "seconds");
    for (size_t i = 0; i < count; i++)
        jsonw_known(w, NULL, seconds[i]);
    jsonw_end_array(w);
}

static void write_curve(struct jsonw *w, const char *key, const struct compare_curve *c, const double *seconds)
{
    jsonw_begin_object(w, key);
    jsonw_begin_array(w, "step");
    for (size_t i = 0; i < c->count; i++)
        jsonw_int(w, NULL, c->points[i].step);
    jsonw_end_array(w);
    jsonw_begin_array(w, "epoch");
    for (size_t i = 0; i < c->count; i++)
        jsonw_real(w, NULL, c->points[i].epoch);
    jsonw_end_array(w);
    jsonw_begin_array(w, "tokens");
    for (size_t i = 0; i < c->count; i++)
        jsonw_int(w, NULL, c->points[i].tokens);
    jsonw_end_array(w);
    jsonw_begin_array(w, "loss");
    for (size_t i = 0; i < c->count; i++)
        jsonw_real(w, NULL, c->points[i].loss);
    jsonw_end_array(w);
    write_seconds(w, seconds, c->count);
    jsonw_end_object(w);
}

static void write_extents(struct jsonw *w, const struct compare_train *t, const double *seconds, bool smooth)
{
    const struct compare_extent *e = t->extents;
    jsonw_begin_object(w, "raw");
    jsonw_begin_array(w, "step");
    for (size_t i = 0; i < t->extent_count; i++)
        jsonw_int(w, NULL, e[i].step);
    jsonw_end_array(w);
    jsonw_begin_array(w, "epoch");
    for (size_t i = 0; i < t->extent_count; i++)
        jsonw_real(w, NULL, e[i].epoch);
    jsonw_end_array(w);
    jsonw_begin_array(w, "tokens");
    for (size_t i = 0; i < t->extent_count; i++)
        jsonw_int(w, NULL, e[i].tokens);
    jsonw_end_array(w);
    jsonw_begin_array(w, "min");
    for (size_t i = 0; i < t->extent_count; i++)
        jsonw_real(w, NULL, e[i].min);
    jsonw_end_array(w);
    jsonw_begin_array(w, "max");
    for (size_t i = 0; i < t->extent_count; i++)
        jsonw_real(w, NULL, e[i].max);
    jsonw_end_array(w);
    if (smooth) {
        jsonw_begin_array(w, "smooth");
        for (size_t i = 0; i < t->extent_count; i++)
            jsonw_real(w, NULL, e[i].smooth);
        jsonw_end_array(w);
    }
    write_seconds(w, seconds, t->extent_count);
    jsonw_end_object(w);
}

void api_curves_write(struct jsonw *w, const struct compare_run *r, const struct api_clock *clock, bool raw,
                      bool smooth)
{
    jsonw_begin_object(w, "curves");
    write_curve(w, "train", &r->train.means, clock->train);
    write_curve(w, "val", &r->val, clock->val);
    if (raw)
        write_extents(w, &r->train, clock->raw, smooth);
    jsonw_end_object(w);
}

struct spent {
    int64_t step;
    double joules;
};

/* Of samples by attempt: an attempt counts from zero, and one that fell back supersedes the steps behind it. */
static size_t add_up(const struct store_gpu *samples, size_t count, struct spent *out)
{
    size_t n = 0;
    double before = 0, newest = 0;
    int64_t attempt = 0;
    for (size_t i = 0; i < count; i++) {
        const struct store_gpu *g = &samples[i];
        if (g->attempt != attempt) {
            before += newest;
            newest = 0;
            attempt = g->attempt;
        }
        if (!isfinite(g->sample.health.energy_j))
            continue;
        newest = fmax(newest, g->sample.health.energy_j);
        while (n > 0 && out[n - 1].step >= g->sample.step)
            n--;
        out[n++] = (struct spent){g->sample.step, before + newest};
    }
    return n;
}

int api_energy_write(struct store_conn *c, struct jsonw *w, int64_t run, struct err *err)
{
    struct store_gpu *samples;
    size_t count;
    int rc = store_gpu_list(c, run, &samples, &count, err);
    if (rc)
        return rc;
    struct spent *spent = malloc((count + 1) * sizeof *spent);
    if (!spent) {
        free(samples);
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    }
    size_t n = add_up(samples, count, spent);
    jsonw_begin_object(w, "energy");
    jsonw_begin_array(w, "step");
    for (size_t i = 0; i < n; i++)
        jsonw_int(w, NULL, spent[i].step);
    jsonw_end_array(w);
    jsonw_begin_array(w, "joules");
    for (size_t i = 0; i < n; i++)
        jsonw_real(w, NULL, spent[i].joules);
    jsonw_end_array(w);
    jsonw_end_object(w);
    free(spent);
    free(samples);
    return 0;
}
