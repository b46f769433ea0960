/* compare_decide_text.c: a decision in words. Numbers are rounded for reading; exact ones stand beside them in the
 * answer. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "daemon/compare_decide.h"
#include "daemon/compare_text.h"

struct text {
    char *out;
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(t->out + t->used, COMPARE_TEXT_SIZE - t->used, format, ap);
    va_end(ap);
    if (n > 0)
        t->used = t->used + (size_t)n < COMPARE_TEXT_SIZE ? t->used + (size_t)n : COMPARE_TEXT_SIZE - 1;
}

/* Differences of losses: "0.011", "0.00042". */
static const char *small_text(double value, char out[32])
{
    snprintf(out, 32, fabs(value) >= 0.001 || value == 0 ? "%.3f" : "%.2g", fabs(value));
    return out;
}

static const char *p_text(double p, char out[32])
{
    snprintf(out, 32, p < 0.0005 ? "p < 0.001" : p < 0.1 ? "p = %.3f" : "p = %.2f", p);
    return out;
}

static void add_noise(struct text *t, const struct compare_decision *d, const struct compare_noise *noise)
{
    char number[32];
    add(t, "(difference %s, ", small_text(d->difference, number));
    if (d->n >= 2)
        add(t, "seed noise %s, ", small_text(d->sd, number));
    else if (isfinite(noise->sd))
        add(t, "seed noise %s by other groups, ", small_text(noise->sd * sqrt(2), number));
    add(t, "n = %zu)", d->n);
}

static void add_needed(struct text *t, const struct compare_decision *d)
{
    if (d->difference == 0 && d->n >= COMPARE_MIN_SEEDS)
        add(t, "; no number of seeds settles a difference of 0");
    else if (d->seeds_needed > COMPARE_MAX_SEEDS_NEEDED)
        add(t, "; if it is as small as that, not even %d seeds would settle it", COMPARE_MAX_SEEDS_NEEDED);
    else if (d->seeds_needed > 0)
        add(t, "; about %lld seeds would settle it", (long long)d->seeds_needed);
}

/* Curves that are laid over each other from different epochs meet at tokens. */
static void add_where(struct text *t, const struct compare_decision *d)
{
    char epoch[32];
    if (fabs(d->epoch_a - d->epoch_b) < 0.005)
        add(t, " at epoch %s", compare_epoch_text(d->epoch_b, epoch));
    else if (d->tokens > 0)
        add(t, " at %.4g million tokens", (double)d->tokens / 1e6);
    if (!d->on_validation)
        add(t, " in training loss");
}

static void no_answer(struct text *t, const struct compare_decision *d)
{
    if (d->seeds == 0)
        add(t, "no seed in common, nothing decided");
    else if (!d->same_data)
        add(t, "other data, so their losses are not on one scale; nothing decided");
    else if (d->tokens <= 0)
        add(t, "no axis in common (tokens), nothing decided");
    else
        add(t, "no pair of seeds has a finite loss there, nothing decided");
}

void compare_decision_text(const struct compare_decision *d, const char *name_a, const char *name_b,
                           const struct compare_noise *noise, char out[COMPARE_TEXT_SIZE])
{
    struct text t = {out, 0};
    char number[32], low[32], high[32], p[32];
    *out = '\0';
    if (d->verdict == COMPARE_LOWER) {
        add(&t, "%s is lower than %s", name_a, name_b);
        add_where(&t, d);
        add(&t, ": by %s (%.3g %% interval %s to %s, %s, n = %zu)", small_text(d->difference, number),
            100 * (1 - d->level), small_text(d->high, low), small_text(d->low, high), p_text(d->p_holm, p), d->n);
    } else {
        add(&t, "%s and %s", name_a, name_b);
        add_where(&t, d);
        add(&t, ": ");
        switch (d->verdict) {
        case COMPARE_SAME:
            add(&t, "not distinguishable ");
            add_noise(&t, d, noise);
            add_needed(&t, d);
            break;
        case COMPARE_TOO_FEW:
            add(&t, d->n == 1 ? "one seed decides nothing " : "two seeds decide nothing ");
            add_noise(&t, d, noise);
            add_needed(&t, d);
            break;
        case COMPARE_NOT_YET:
            add(&t, "not decided before the runs reach their end");
            break;
        default:
            no_answer(&t, d);
        }
    }
    if (d->seeds > d->n && d->n > 0)
        add(&t, "; %zu of %zu seeds have no loss there", d->seeds - d->n, d->seeds);
    if (d->n > 0 && d->order_known && !d->equal_order && d->same_data)
        add(&t, "; the pairs did not see equal data in equal order");
}
