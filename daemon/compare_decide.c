#include "daemon/compare_decide.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "daemon/student.h"

struct pair {
    const struct compare_run *a, *b;
};

/* The pairs of a comparison of two groups, and what they say. */
struct pairing {
    struct pair *pairs;
    size_t count;
    bool on_validation, equal_order, order_known, same_data;
};

/* Of each group the runs that count, by seed: one a seed, the one that came furthest, the later one where several came
 * as far. Group g has runs[first[g]] … runs[first[g + 1] - 1]. */
struct roster {
    const struct compare_run **runs;
    size_t *first;
};

struct entry {
    const struct compare_run *run;
    size_t group;
};

/* By group and seed; of one seed the run that counts comes first. */
static int by_seed(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->group != y->group)
        return x->group > y->group ? 1 : -1;
    if (x->run->seed != y->run->seed)
        return x->run->seed > y->run->seed ? 1 : -1;
    if (x->run->step != y->run->step)
        return x->run->step < y->run->step ? 1 : -1;
    return (x->run < y->run) - (x->run > y->run);
}

static void roster_finish(struct roster *r)
{
    free(r->runs);
    free(r->first);
}

static int roster_init(struct roster *out, const struct compare_run *runs, const size_t *group_of, size_t count,
                       size_t group_count, struct err *err)
{
    struct roster r = {malloc((count + 1) * sizeof *r.runs), malloc((group_count + 1) * sizeof *r.first)};
    struct entry *entries = malloc((count + 1) * sizeof *entries);
    if (!r.runs || !r.first || !entries) {
        free(entries);
        roster_finish(&r);
        return err_set(err, ERR_NO_MEMORY, "no memory to compare %zu runs", count);
    }
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct entry){&runs[i], group_of[i]};
    qsort(entries, count, sizeof *entries, by_seed);
    size_t kept = 0, at = 0;
    for (size_t g = 0; g < group_count; g++) {
        r.first[g] = kept;
        for (; at < count && entries[at].group == g; at++)
            if (kept == r.first[g] || r.runs[kept - 1]->seed != entries[at].run->seed)
                r.runs[kept++] = entries[at].run;
    }
    r.first[group_count] = kept;
    free(entries);
    *out = r;
    return 0;
}

static bool disagree(const char *a, const char *b)
{
    return *a && *b && strcmp(a, b) != 0;
}

static void add_pair(struct pairing *p, const struct compare_run *a, const struct compare_run *b)
{
    p->pairs[p->count++] = (struct pair){a, b};
    p->on_validation &= a->val.count > 0 && b->val.count > 0;
    p->equal_order &= *a->windows && strcmp(a->windows, b->windows) == 0;
    p->order_known &= *a->windows && *b->windows;
    p->same_data &= !disagree(a->data, b->data);
}

/* Equal seeds of two groups. What has no seed, an import, is alone in its group and meets any group of one run.
 * p->pairs has room for them all. */
static void find_pairs(const struct roster *r, size_t a, size_t b, struct pairing *p)
{
    const struct compare_run *const *of_a = r->runs + r->first[a], *const *of_b = r->runs + r->first[b];
    size_t count_a = r->first[a + 1] - r->first[a], count_b = r->first[b + 1] - r->first[b];
    *p = (struct pairing){p->pairs, 0, true, true, true, true};
    if (count_a == 1 && count_b == 1 && (of_a[0]->seed == COMPARE_NO_SEED || of_b[0]->seed == COMPARE_NO_SEED)) {
        add_pair(p, of_a[0], of_b[0]);
        return;
    }
    for (size_t i = 0, k = 0; i < count_a && k < count_b;) {
        int64_t seed_a = of_a[i]->seed, seed_b = of_b[k]->seed;
        if (seed_a == seed_b && seed_a != COMPARE_NO_SEED)
            add_pair(p, of_a[i], of_b[k]);
        i += seed_a <= seed_b;
        k += seed_b <= seed_a;
    }
}

static const struct compare_curve *curve_of(const struct compare_run *r, bool on_validation)
{
    return on_validation ? &r->val : &r->train.means;
}

static int64_t end_of(const struct compare_run *r, bool on_validation)
{
    const struct compare_curve *c = curve_of(r, on_validation);
    return c->count ? c->points[c->count - 1].tokens : 0;
}

/* The end of the shortest run that did not break; *open: that run goes on. -1: no run has a curve. */
static int64_t shortest_end(const struct pairing *p, bool *open)
{
    int64_t at = -1;
    *open = false;
    for (size_t i = 0; i < 2 * p->count; i++) {
        const struct pair *pair = &p->pairs[i / 2];
        const struct compare_run *r = i % 2 ? pair->b : pair->a;
        if (pair->a->end == COMPARE_BROKEN || pair->b->end == COMPARE_BROKEN)
            continue;
        int64_t end = end_of(r, p->on_validation);
        bool goes_on = r->end == COMPARE_GOES_ON;
        if (at < 0 || end < at || (end == at && goes_on)) {
            at = end;
            *open = goes_on;
        }
    }
    return at;
}

static void measure(const struct pairing *p, bool given, double *differences, struct compare_decision *d, bool *open)
{
    double sum_a = 0, sum_b = 0, sum = 0, squares = 0;
    for (size_t i = 0; i < p->count; i++) {
        const struct pair *pair = &p->pairs[i];
        if (!given && (pair->a->end == COMPARE_BROKEN || pair->b->end == COMPARE_BROKEN))
            continue;
        double a = compare_loss_at(curve_of(pair->a, p->on_validation), d->tokens, &d->epoch_a);
        double b = compare_loss_at(curve_of(pair->b, p->on_validation), d->tokens, &d->epoch_b);
        *open |= given && ((pair->a->end == COMPARE_GOES_ON && end_of(pair->a, p->on_validation) < d->tokens) ||
                           (pair->b->end == COMPARE_GOES_ON && end_of(pair->b, p->on_validation) < d->tokens));
        if (!isfinite(a) || !isfinite(b))
            continue;
        sum_a += a;
        sum_b += b;
        differences[d->n++] = a - b;
    }
    if (d->n == 0)
        return;
    for (size_t i = 0; i < d->n; i++)
        sum += differences[i];
    d->mean_a = sum_a / (double)d->n;
    d->mean_b = sum_b / (double)d->n;
    d->difference = sum / (double)d->n;
    for (size_t i = 0; i < d->n; i++)
        squares += (differences[i] - d->difference) * (differences[i] - d->difference);
    if (d->n > 1)
        d->sd = sqrt(squares / (double)(d->n - 1));
    if (d->n >= COMPARE_MIN_SEEDS) {
        double error = d->sd / sqrt((double)d->n);
        /* all differences equal: certain, unless they are nothing at all */
        d->p = error > 0 ? student_two_sided(d->difference / error, (double)d->n - 1) : d->difference == 0 ? 1 : 0;
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* `epochs` is room for a number a pair. */
static int find_crossing(const struct pairing *p, double *epochs, struct compare_crossing *out, struct err *err)
{
    *out = (struct compare_crossing){.pairs = p->count, .epoch = NAN, .low = NAN, .high = NAN};
    for (size_t i = 0; i < p->count; i++) {
        const struct compare_run *a = p->pairs[i].a, *b = p->pairs[i].b;
        struct compare_cross cross;
        bool found;
        int rc = compare_last_cross(p->on_validation ? &a->val : &a->train.centres,
                                    p->on_validation ? &b->val : &b->train.centres, &cross, &found, err);
        if (rc)
            return rc;
        if (!found)
            continue;
        epochs[out->crossed++] = cross.epoch;
        out->a_below += cross.a_below;
    }
    size_t n = out->crossed;
    if (n == 0)
        return 0;
    qsort(epochs, n, sizeof *epochs, by_value);
    out->epoch = n % 2 ? epochs[n / 2] : (epochs[n / 2 - 1] + epochs[n / 2]) / 2;
    out->low = epochs[0];
    out->high = epochs[n - 1];
    return 0;
}

static int examine(const struct pairing *p, int64_t at_tokens, double *room, struct compare_decision *d,
                   struct err *err)
{
    bool open = false;
    d->on_validation = p->on_validation;
    d->equal_order = p->equal_order && p->count > 0;
    d->order_known = p->order_known;
    d->same_data = p->same_data;
    d->seeds = p->count;
    d->tokens = at_tokens > 0 ? at_tokens : shortest_end(p, &open);
    int rc = find_crossing(p, room, &d->crossing, err);
    if (rc)
        return rc;
    if (d->tokens > 0)
        measure(p, at_tokens > 0, room, d, &open);
    /* The first of what forbids a decision is what is told. */
    d->verdict = p->count == 0 || !p->same_data ? COMPARE_NO_ANSWER
                 : open                         ? COMPARE_NOT_YET
                 : d->n == 0                    ? COMPARE_NO_ANSWER
                 : d->n < COMPARE_MIN_SEEDS     ? COMPARE_TOO_FEW
                                                : COMPARE_SAME;
    return 0;
}

struct compare_noise compare_noise_floor(const struct compare_group *groups, size_t count)
{
    struct compare_noise noise = {NAN, 0, 0};
    double squares = 0;
    for (size_t i = 0; i < count; i++) {
        const struct compare_stat *s = &groups[i].val;
        if (s->n < 2)
            continue;
        noise.groups++;
        noise.freedom += s->n - 1;
        squares += (double)(s->n - 1) * s->sd * s->sd;
    }
    if (noise.freedom)
        noise.sd = sqrt(squares / (double)noise.freedom);
    return noise;
}

static bool would_settle(double effect, double level, int64_t n)
{
    double freedom = (double)(n - 1); /* the second one is one-sided: the chance of a miss */
    return effect * sqrt((double)n) >=
           student_critical(level, freedom) + student_critical(2 * (1 - COMPARE_POWER), freedom);
}

/* The smallest number that would; it grows with n, so it is found by halving. */
static int64_t seeds_needed(double difference, double sd, double level)
{
    if (!isfinite(sd) || !isfinite(difference) || difference == 0)
        return 0;
    double effect = sd > 0 ? fabs(difference) / sd : INFINITY;
    int64_t low = COMPARE_MIN_SEEDS - 1, high = COMPARE_MAX_SEEDS_NEEDED + 1;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (would_settle(effect, level, middle))
            high = middle;
        else
            low = middle;
    }
    return high;
}

struct ranked {
    struct compare_decision *decision;
    double p;
};

static int by_p(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    return x->p != y->p ? (x->p > y->p ? 1 : -1) : (x->decision > y->decision) - (x->decision < y->decision);
}

/* Holm: the k-th smallest p of m is held against level / (m - k), and after the first that fails none passes; what
 * fails gets the level of that first one, so that an interval holds zero exactly where nothing is decided. */
static int correct(struct compare_decision *decisions, size_t count, struct err *err)
{
    struct ranked *order = malloc((count + 1) * sizeof *order);
    if (!order)
        return err_set(err, ERR_NO_MEMORY, "no memory for %zu decisions", count);
    size_t m = 0;
    for (size_t i = 0; i < count; i++)
        if (decisions[i].verdict == COMPARE_SAME)
            order[m++] = (struct ranked){&decisions[i], decisions[i].p};
    qsort(order, m, sizeof *order, by_p);
    bool failed = false;
    double level = COMPARE_LEVEL, highest = 0;
    for (size_t k = 0; k < m; k++) {
        struct compare_decision *d = order[k].decision;
        if (!failed)
            level = COMPARE_LEVEL / (double)(m - k);
        failed = failed || d->p > level;
        highest = fmax(highest, fmin(1, d->p * (double)(m - k)));
        d->p_holm = highest;
        d->level = level;
        d->verdict = failed ? COMPARE_SAME : COMPARE_LOWER;
        double half = d->sd / sqrt((double)d->n) * student_critical(level, (double)d->n - 1);
        d->low = d->difference - half;
        d->high = d->difference + half;
    }
    free(order);
    return 0;
}

/* So that the first one is the lower one. */
static void put_lower_first(struct compare_decision *d)
{
    if (!(d->difference > 0))
        return;
    struct compare_decision was = *d;
    d->a = was.b;
    d->b = was.a;
    d->epoch_a = was.epoch_b;
    d->epoch_b = was.epoch_a;
    d->mean_a = was.mean_b;
    d->mean_b = was.mean_a;
    d->difference = -was.difference;
    d->low = -was.high;
    d->high = -was.low;
    d->crossing.a_below = was.crossing.crossed - was.crossing.a_below;
}

static int decide_all(const struct roster *roster, size_t group_count, int64_t at_tokens, double *room,
                      struct pair *pairs, struct compare_decision *out, size_t *made, struct err *err)
{
    struct pairing p = {.pairs = pairs};
    *made = 0;
    for (size_t a = 0; a < group_count; a++)
        for (size_t b = a + 1; b < group_count; b++) {
            struct compare_decision d = {.a = a,
                                         .b = b,
                                         .epoch_a = NAN,
                                         .epoch_b = NAN,
                                         .mean_a = NAN,
                                         .mean_b = NAN,
                                         .difference = NAN,
                                         .sd = NAN,
                                         .level = COMPARE_LEVEL,
                                         .low = NAN,
                                         .high = NAN,
                                         .p = NAN,
                                         .p_holm = NAN};
            find_pairs(roster, a, b, &p);
            if (group_count > COMPARE_ALL_PAIRS && p.count < 2)
                continue;
            int rc = examine(&p, at_tokens, room, &d, err);
            if (rc)
                return rc;
            out[(*made)++] = d;
        }
    return correct(out, *made, err);
}

int compare_decide(const struct compare_run *runs, const size_t *group_of, size_t count, size_t group_count,
                   int64_t at_tokens, const struct compare_noise *noise, struct compare_decision **out,
                   size_t *out_count, struct err *err)
{
    struct compare_decision *decisions = malloc((group_count * group_count / 2 + 1) * sizeof *decisions);
    double *room = malloc((count + 1) * sizeof *room);
    struct pair *pairs = malloc((count + 1) * sizeof *pairs);
    struct roster roster = {0};
    size_t made = 0;
    int rc = decisions && room && pairs ? 0 : err_set(err, ERR_NO_MEMORY, "no memory to compare %zu runs", count);
    if (rc == 0)
        rc = roster_init(&roster, runs, group_of, count, group_count, err);
    if (rc == 0)
        rc = decide_all(&roster, group_count, at_tokens, room, pairs, decisions, &made, err);
    roster_finish(&roster);
    free(room);
    free(pairs);
    if (rc) {
        free(decisions);
        return rc;
    }
    for (size_t i = 0; i < made; i++) {
        struct compare_decision *d = &decisions[i];
        /* One pair says nothing of the noise: others' is taken, as of two runs that share nothing. */
        double sd = d->n >= 2 ? d->sd : noise->sd * sqrt(2);
        if (d->verdict == COMPARE_SAME || d->verdict == COMPARE_TOO_FEW)
            d->seeds_needed = seeds_needed(d->difference, sd, d->level);
        put_lower_first(d);
    }
    *out = decisions;
    *out_count = made;
    return 0;
}
