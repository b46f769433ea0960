/* compare_text.c: the sentences of a comparison. Numbers here are rounded for reading; exact ones stand beside them in
 * the answer. */
#include "daemon/compare_text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "daemon/compare.h"

const char *compare_epoch_text(double epoch, char out[32])
{
    if (fabs(epoch - round(epoch)) < 0.005 && epoch >= 0.995)
        snprintf(out, 32, "%.0f", epoch);
    else if (epoch >= 0.1)
        snprintf(out, 32, "%.2f", epoch);
    else
        snprintf(out, 32, "%.2g", epoch);
    return out;
}

static void arrow_text(const struct compare_run *winner, const struct compare_run *loser,
                       const struct compare_pair *pair, char out[COMPARE_TEXT_SIZE])
{
    const struct compare_arrow *arrow = &pair->arrow;
    char at[32], of[32], best[32], saved[96];
    double ratio = arrow->tokens_ratio;
    if (isnan(ratio))
        snprintf(saved, sizeof saved, "tokens not known");
    else if (ratio >= 1.005)
        snprintf(saved, sizeof saved, "%.2f\u00d7 fewer tokens", ratio);
    else if (ratio > 0.995)
        snprintf(saved, sizeof saved, "with as many tokens");
    else
        snprintf(saved, sizeof saved, "%.2f\u00d7 more tokens (that best stood at epoch %s)", 1 / ratio,
                 compare_epoch_text(arrow->loser_best.epoch, best));
    compare_epoch_text(loser->epoch, of);
    snprintf(out, COMPARE_TEXT_SIZE, "%s at epoch %s passes %s's best of %s epoch%s%s: %s", winner->label,
             compare_epoch_text(arrow->at.epoch, at), loser->label, of, strcmp(of, "1") == 0 ? "" : "s",
             pair->on_validation ? "" : " in training loss", saved);
}

void compare_pair_text(const struct compare_run *a, const struct compare_run *b, const struct compare_pair *pair,
                       char out[COMPARE_TEXT_SIZE])
{
    const struct compare_curve *ca = pair->on_validation ? &a->val : &a->train.means;
    const struct compare_curve *cb = pair->on_validation ? &b->val : &b->train.means;
    ptrdiff_t best_a = compare_curve_best(ca), best_b = compare_curve_best(cb);
    switch (pair->relation) {
    case COMPARE_A_BEATS_B:
        arrow_text(a, b, pair, out);
        return;
    case COMPARE_B_BEATS_A:
        arrow_text(b, a, pair, out);
        return;
    case COMPARE_TIE:
        snprintf(out, COMPARE_TEXT_SIZE, "%s and %s never pass each other: their bests are equal, %.4g", a->label,
                 b->label, ca->points[best_a].loss);
        return;
    case COMPARE_NEITHER: {
        bool a_lower = ca->points[best_a].loss < cb->points[best_b].loss;
        const struct compare_run *low = a_lower ? a : b, *high = a_lower ? b : a;
        char at[32];
        compare_epoch_text(a_lower ? ca->points[best_a].epoch : cb->points[best_b].epoch, at);
        snprintf(out, COMPARE_TEXT_SIZE,
                 "%s and %s: neither passes the other's best for good (%s was below at epoch %s "
                 "but did not stay there; %s never reaches %s's best)",
                 a->label, b->label, low->label, at, high->label, low->label);
        return;
    }
    case COMPARE_UNKNOWN:
        break;
    }
    const struct compare_run *empty = best_a < 0 ? a : b;
    bool none = best_a < 0 && best_b < 0;
    snprintf(out, COMPARE_TEXT_SIZE, "%s and %s: no answer, %s%s no finite %s loss", a->label, b->label,
             none ? "both have" : empty->label, none ? "" : " has", pair->on_validation ? "validation" : "training");
}

#define UNEQUAL 1.05 /* a budget that is larger by more than that is another one */

struct notes {
    void (*visit)(void *arg, const char *text);
    void *arg;
};

static void note(const struct notes *n, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void note(const struct notes *n, const char *format, ...)
{
    char text[COMPARE_TEXT_SIZE];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    n->visit(n->arg, text);
}

/* The first two runs that know a value and disagree are named; one such sentence says enough. */
static void note_disagreement(const struct notes *n, const struct compare_run *runs, size_t count,
                              const char *(*value)(const struct compare_run *), const char *what, const char *so)
{
    const struct compare_run *first = NULL;
    for (size_t i = 0; i < count; i++) {
        if (!*value(&runs[i]))
            continue;
        if (!first)
            first = &runs[i];
        else if (strcmp(value(first), value(&runs[i])) != 0) {
            note(n, "unequal %s: %s has %s, %s has %s; %s", what, first->label, value(first), runs[i].label,
                 value(&runs[i]), so);
            return;
        }
    }
}

static const char *data_of(const struct compare_run *r)
{
    return r->data;
}

static const char *order_of(const struct compare_run *r)
{
    return r->order;
}

enum budget { BUDGET_PARAMETERS, BUDGET_TOKENS, BUDGET_FLOPS };

static double budget_of(const struct compare_run *r, enum budget budget)
{
    switch (budget) {
    case BUDGET_PARAMETERS:
        return r->params > 0 ? (double)r->params : NAN;
    case BUDGET_TOKENS:
        return r->tokens > 0 ? (double)r->tokens : NAN;
    case BUDGET_FLOPS:
        break;
    }
    return r->tokens > 0 ? (double)r->tokens * r->flops_per_token : NAN;
}

/* Between the least and the most of what ran: who has more of it has an advantage that the table does not show. */
static void note_budget(const struct notes *n, const struct compare_run *runs, size_t count, enum budget budget)
{
    static const char *const names[] = {"parameters", "tokens", "FLOPs"};
    static const char *const remedies[] = {"model.ffn.match makes sizes equal", "--at tokens compares at as many",
                                           "--at flops compares at as many"};
    const struct compare_run *least = NULL, *most = NULL;
    for (size_t i = 0; i < count; i++) {
        double value = budget_of(&runs[i], budget);
        if (isnan(value))
            continue;
        if (!least || value < budget_of(least, budget))
            least = &runs[i];
        if (!most || value > budget_of(most, budget))
            most = &runs[i];
    }
    if (least && budget_of(most, budget) > UNEQUAL * budget_of(least, budget))
        note(n, "unequal %s: %s has %.4g, %s has %.4g; %s", names[budget], least->label, budget_of(least, budget),
             most->label, budget_of(most, budget), remedies[budget]);
}

static void note_state(const struct notes *n, const struct compare_run *r)
{
    char epoch[32];
    compare_epoch_text(r->epoch, epoch);
    if (strcmp(r->state, "finished") != 0) {
        if (r->step == 0)
            note(n, "%s is %s and has no steps yet", r->label, r->state);
        else if (strcmp(r->state, "running") == 0 || strcmp(r->state, "starting") == 0)
            note(n, "%s is still running (epoch %s): its best may yet fall", r->label, epoch);
        else
            note(n, "%s is %s at step %lld (epoch %s)%s%s", r->label, r->state, (long long)r->step, epoch,
                 *r->reason ? ": " : "", r->reason);
    }
    if (r->train.not_finite > 0)
        note(n, "%s has %lld step%s whose loss is not finite: %s in its curve", r->label,
             (long long)r->train.not_finite, r->train.not_finite == 1 ? "" : "s",
             r->train.not_finite == 1 ? "a gap" : "gaps");
    if (r->step > 0 && r->val.count == 0)
        note(n, "%s has no validation loss: it is compared by training loss", r->label);
}

void compare_notes(const struct compare_run *runs, size_t count, void (*visit)(void *arg, const char *text), void *arg)
{
    struct notes n = {visit, arg};
    for (size_t i = 0; i < count; i++)
        note_state(&n, &runs[i]);
    note_disagreement(&n, runs, count, data_of, "data", "their losses are not on one scale");
    note_disagreement(&n, runs, count, order_of, "data.order", "they saw the text in other sequence");
    for (int budget = BUDGET_PARAMETERS; budget <= BUDGET_FLOPS; budget++)
        note_budget(&n, runs, count, (enum budget)budget);
    bool repeated = count < 2;
    for (size_t i = 0; i < count && !repeated; i++)
        for (size_t j = i + 1; j < count && !repeated; j++)
            repeated = *runs[i].experiment && strcmp(runs[i].experiment, runs[j].experiment) == 0;
    if (!repeated)
        note(&n, "one run each: without other seeds a small difference decides nothing");
}
