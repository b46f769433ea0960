#include "daemon/compare.h"

#include <math.h>
#include <stdlib.h>
#include "base/err.h"

ptrdiff_t compare_curve_best(const struct compare_curve *c)
{
    ptrdiff_t best = -1;
    for (size_t i = 0; i < c->count; i++)
        if (isfinite(c->points[i].loss) && (best < 0 || c->points[i].loss < c->points[best].loss))
            best = (ptrdiff_t)i;
    return best;
}

bool compare_beats_best(const struct compare_curve *winner, const struct compare_curve *loser,
                        struct compare_arrow *out)
{
    ptrdiff_t best = compare_curve_best(loser);
    if (best < 0)
        return false;
    double bar = loser->points[best].loss;
    size_t first = winner->count;
    while (first > 0 && isfinite(winner->points[first - 1].loss) && winner->points[first - 1].loss < bar)
        first--;
    if (first == winner->count)
        return false;
    out->at = winner->points[first];
    out->loser_best = loser->points[best];
    bool known = out->loser_best.tokens > 0 && out->at.tokens > 0;
    out->tokens_ratio = known ? (double)out->loser_best.tokens / (double)out->at.tokens : NAN;
    return true;
}

/* A cursor over the finite points of a curve, in increasing tokens. */
struct walker {
    const struct compare_point *points;
    size_t count, at; /* points[at] is the first one at or after the place asked for */
};

/* Finite points whose tokens grow; a foreign curve may hold others. Caller frees. */
static int usable_points(const struct compare_curve *c, struct walker *out, struct err *err)
{
    struct compare_point *kept = malloc((c->count + 1) * sizeof *kept);
    if (!kept)
        return err_set(err, ERR_NO_MEMORY, "no memory to compare curves of %zu points", c->count);
    size_t n = 0;
    for (size_t i = 0; i < c->count; i++)
        if (isfinite(c->points[i].loss) && (n == 0 || c->points[i].tokens > kept[n - 1].tokens))
            kept[n++] = c->points[i];
    *out = (struct walker){kept, n, 0};
    return 0;
}

struct place {
    double step, epoch, loss;
};

/* `tokens` grows from call to call and lies within the curve. */
static struct place interpolate(struct walker *w, double tokens)
{
    while (w->at + 1 < w->count && (double)w->points[w->at].tokens < tokens)
        w->at++;
    const struct compare_point *right = &w->points[w->at];
    if ((double)right->tokens <= tokens || w->at == 0)
        return (struct place){(double)right->step, right->epoch, right->loss};
    const struct compare_point *left = right - 1;
    double t = (tokens - (double)left->tokens) / (double)(right->tokens - left->tokens);
    return (struct place){(double)left->step + t * (double)(right->step - left->step),
                          left->epoch + t * (right->epoch - left->epoch), left->loss + t * (right->loss - left->loss)};
}

double compare_loss_at(const struct compare_curve *c, int64_t tokens, double *epoch)
{
    const struct compare_point *left = NULL, *right = NULL;
    for (size_t i = 0; i < c->count && !right; i++) {
        const struct compare_point *p = &c->points[i];
        if (!isfinite(p->loss) || (left && p->tokens <= left->tokens))
            continue;
        if (p->tokens < tokens)
            left = p;
        else
            right = p;
    }
    if (!right || (!left && right->tokens > tokens))
        return NAN;
    double t = left ? (double)(tokens - left->tokens) / (double)(right->tokens - left->tokens) : 1;
    if (epoch)
        *epoch = left && t < 1 ? left->epoch + t * (right->epoch - left->epoch) : right->epoch;
    return left && t < 1 ? left->loss + t * (right->loss - left->loss) : right->loss;
}

static void find_cross(struct walker *a, struct walker *b, struct compare_cross *out, bool *found)
{
    *found = false;
    int64_t from = a->points[0].tokens > b->points[0].tokens ? a->points[0].tokens : b->points[0].tokens;
    int64_t a_end = a->points[a->count - 1].tokens, b_end = b->points[b->count - 1].tokens;
    int64_t to = a_end < b_end ? a_end : b_end;
    double last_nonzero = 0, last_nonzero_at = 0; /* difference and tokens */
    double last_zero_at = -1;
    size_t i = 0, j = 0;
    double where = 0;
    while (i < a->count || j < b->count) {
        int64_t at = j >= b->count || (i < a->count && a->points[i].tokens <= b->points[j].tokens)
                         ? a->points[i].tokens
                         : b->points[j].tokens;
        while (i < a->count && a->points[i].tokens <= at)
            i++;
        while (j < b->count && b->points[j].tokens <= at)
            j++;
        if (at < from || at > to)
            continue;
        double tokens = (double)at;
        double d = interpolate(a, tokens).loss - interpolate(b, tokens).loss;
        if (d == 0) {
            last_zero_at = tokens;
            continue;
        }
        if (last_nonzero != 0 && (d > 0) != (last_nonzero > 0)) {
            *found = true;
            out->a_below = d < 0;
            where = last_zero_at > last_nonzero_at
                        ? last_zero_at
                        : last_nonzero_at + (tokens - last_nonzero_at) * (last_nonzero / (last_nonzero - d));
        }
        last_nonzero = d;
        last_nonzero_at = tokens;
    }
    if (!*found)
        return;
    struct walker *below = out->a_below ? a : b;
    below->at = 0;
    struct place p = interpolate(below, where);
    out->tokens = where;
    out->step = p.step;
    out->epoch = p.epoch;
}

int compare_last_cross(const struct compare_curve *a, const struct compare_curve *b, struct compare_cross *out,
                       bool *found, struct err *err)
{
    struct walker wa = {0}, wb = {0};
    int rc = usable_points(a, &wa, err);
    if (rc == 0)
        rc = usable_points(b, &wb, err);
    if (rc == 0) {
        *found = false;
        if (wa.count && wb.count)
            find_cross(&wa, &wb, out, found);
    }
    free((void *)(uintptr_t)wa.points);
    free((void *)(uintptr_t)wb.points);
    return rc;
}

int compare_pair(const struct compare_run *a, const struct compare_run *b, struct compare_pair *out, struct err *err)
{
    struct compare_pair pair = {.on_validation = a->val.count > 0 && b->val.count > 0};
    const struct compare_curve *ca = pair.on_validation ? &a->val : &a->train.means;
    const struct compare_curve *cb = pair.on_validation ? &b->val : &b->train.means;
    ptrdiff_t best_a = compare_curve_best(ca), best_b = compare_curve_best(cb);
    if (best_a < 0 || best_b < 0)
        pair.relation = COMPARE_UNKNOWN;
    else if (compare_beats_best(ca, cb, &pair.arrow))
        pair.relation = COMPARE_A_BEATS_B;
    else if (compare_beats_best(cb, ca, &pair.arrow))
        pair.relation = COMPARE_B_BEATS_A;
    else
        pair.relation = ca->points[best_a].loss == cb->points[best_b].loss ? COMPARE_TIE : COMPARE_NEITHER;
    int rc = compare_last_cross(pair.on_validation ? ca : &a->train.centres,
                                pair.on_validation ? cb : &b->train.centres, &pair.cross, &pair.crossed, err);
    if (rc == 0)
        *out = pair;
    return rc;
}
