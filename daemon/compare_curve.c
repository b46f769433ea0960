/* compare_curve.c: curves, and the reduction of a stream of steps to one. Memory is that of the result: a mean a 1/20
 * epoch and at most twice the extents asked for, however many steps stream by. */
#include "daemon/compare.h"

#include <math.h>
#include <stdlib.h>
#include "base/err.h"

int compare_curve_add(struct compare_curve *c, struct compare_point point, struct err *err)
{
    if (c->count == c->capacity) {
        size_t capacity = c->capacity ? 2 * c->capacity : 64;
        struct compare_point *points = realloc(c->points, capacity * sizeof *points);
        if (!points)
            return err_set(err, ERR_NO_MEMORY, "no memory for a curve of %zu points", capacity);
        c->points = points;
        c->capacity = capacity;
    }
    c->points[c->count++] = point;
    return 0;
}

void compare_curve_finish(struct compare_curve *c)
{
    free(c->points);
    *c = (struct compare_curve){0};
}

int compare_train_init(struct compare_train *t, size_t extents, const struct compare_smooth *smooth, struct err *err)
{
    *t = (struct compare_train){.extent_limit = 2 * extents, .steps_per_extent = 1};
    if (extents == 0)
        return 0;
    int rc = smooth ? compare_smooth_init(&t->smoother, smooth, err) : 0;
    if (rc)
        return rc;
    t->extents = malloc(t->extent_limit * sizeof *t->extents);
    return t->extents ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for %zu points of a curve", extents);
}

static double lower(double a, double b)
{
    return isfinite(b) && !(a <= b) ? b : a;
}

static double higher(double a, double b)
{
    return isfinite(b) && !(a >= b) ? b : a;
}

/* Doubles the steps of an extent by joining neighbours. The count is even when this is called. */
static void join_extents(struct compare_train *t)
{
    size_t half = t->extent_count / 2;
    for (size_t i = 0; i < half; i++) {
        const struct compare_extent *left = &t->extents[2 * i], *right = left + 1;
        t->extents[i] = (struct compare_extent){
            right->step,  right->tokens, right->epoch, lower(left->min, right->min), higher(left->max, right->max),
            right->smooth};
    }
    t->extent_count = half;
    t->steps_per_extent *= 2;
}

static void extend(struct compare_train *t, const struct compare_point *p)
{
    double value = isfinite(p->loss) ? p->loss : NAN;
    double smooth = t->smoother.kind == SMOOTH_NONE ? NAN : compare_smooth_add(&t->smoother, p->loss);
    if (t->extent_count == 0 || t->in_extent == t->steps_per_extent) {
        if (t->extent_count == t->extent_limit)
            join_extents(t);
        t->extents[t->extent_count++] = (struct compare_extent){p->step, p->tokens, p->epoch, value, value, smooth};
        t->in_extent = 1;
        return;
    }
    struct compare_extent *e = &t->extents[t->extent_count - 1];
    *e = (struct compare_extent){p->step, p->tokens, p->epoch, lower(e->min, value), higher(e->max, value), smooth};
    t->in_extent++;
}

static int close_bucket(struct compare_train *t, struct err *err)
{
    struct compare_point mean = t->last;
    mean.loss = t->sum / (double)t->in_bucket;
    t->open = false;
    int rc = compare_curve_add(&t->means, mean, err);
    if (rc)
        return rc;
    const struct compare_point *first = &t->first, *last = &t->last;
    struct compare_point centre = {first->step + (last->step - first->step) / 2,
                                   first->tokens + (last->tokens - first->tokens) / 2, (first->epoch + last->epoch) / 2,
                                   mean.loss};
    return compare_curve_add(&t->centres, centre, err);
}

/* An epoch that was printed with a few digits may lie a hair above its bucket's end: 1e-6 of a bucket is forgiven. */
static void open_bucket(struct compare_train *t, const struct compare_point *p)
{
    double k = ceil(p->epoch * COMPARE_BUCKETS_PER_EPOCH - 1e-6) - 1;
    t->open = true;
    t->first = *p;
    t->sum = 0;
    t->in_bucket = 0;
    t->bucket_from = (k + 1e-6) / COMPARE_BUCKETS_PER_EPOCH;
    t->bucket_to = (k + 1 + 1e-6) / COMPARE_BUCKETS_PER_EPOCH;
}

int compare_train_add(struct compare_train *t, size_t count, const int64_t *step, const double *epoch,
                      const int64_t *tokens, const double *loss, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        struct compare_point p = {step[i], tokens[i], epoch[i], loss[i]};
        if (!t->open || !(p.epoch > t->bucket_from && p.epoch <= t->bucket_to)) {
            int rc = t->open ? close_bucket(t, err) : 0;
            if (rc)
                return rc;
            open_bucket(t, &p);
        }
        t->sum += p.loss;
        t->not_finite += !isfinite(p.loss);
        t->in_bucket++;
        t->last = p;
        if (t->extent_limit)
            extend(t, &p);
    }
    return 0;
}

int compare_train_end(struct compare_train *t, struct err *err)
{
    return t->open ? close_bucket(t, err) : 0;
}

void compare_train_finish(struct compare_train *t)
{
    compare_curve_finish(&t->means);
    compare_curve_finish(&t->centres);
    compare_smooth_finish(&t->smoother);
    free(t->extents);
    *t = (struct compare_train){0};
}
