#include "cli/comparison_axis.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli/output.h"
#include "cli/run_view.h"

struct unit {
    double size;
    const char *label;
};

/* Units ascend; the largest one of which the longest run has at least two is taken. */
static const struct {
    const char *word;
    struct unit units[5];
} axes[COMPARISON_AXIS_COUNT] = {
    [COMPARISON_STEP] = {"step", {{1, "step"}, {1e3, "steps (k)"}, {1e6, "steps (M)"}}},
    [COMPARISON_EPOCH] = {"epoch", {{1, "epoch"}}},
    [COMPARISON_TOKENS] = {"tokens", {{1, "tokens"}, {1e3, "tokens (k)"}, {1e6, "tokens (M)"}, {1e9, "tokens (G)"}}},
    [COMPARISON_TIME] = {"time", {{1, "time (s)"}, {60, "time (min)"}, {3600, "time (h)"}, {86400, "time (d)"}}},
    [COMPARISON_GPU_TIME] = {"gpu-time", {{1, "GPU s"}, {60, "GPU min"}, {3600, "GPU h"}}},
    [COMPARISON_FLOPS] = {"flops",
                          {{1e6, "MFLOPs"}, {1e9, "GFLOPs"}, {1e12, "TFLOPs"}, {1e15, "PFLOPs"}, {1e18, "EFLOPs"}}},
    [COMPARISON_ENERGY] = {"energy", {{1, "energy (J)"}, {3600, "energy (Wh)"}, {3.6e6, "energy (kWh)"}}},
};

bool comparison_axis_parse(const char *word, enum comparison_axis *out)
{
    for (int i = 0; i < COMPARISON_AXIS_COUNT; i++)
        if (strcmp(axes[i].word, word) == 0) {
            *out = (enum comparison_axis)i;
            return true;
        }
    return false;
}

const char *comparison_axis_word(enum comparison_axis axis)
{
    return axes[axis].word;
}

bool comparison_axis_needs_time(enum comparison_axis axis)
{
    return axis == COMPARISON_TIME || axis == COMPARISON_GPU_TIME || axis == COMPARISON_ENERGY;
}

/* Joules at a step, on straight lines between the looks at the GPU; NaN outside of them. */
static double energy_at(const struct comparison_run *r, double step)
{
    const struct comparison_curve *e = &r->energy;
    for (size_t i = 0; i < e->count; i++) {
        if (e->step[i] < step)
            continue;
        if (e->step[i] == step)
            return e->loss[i];
        if (i == 0)
            return NAN;
        double t = (step - e->step[i - 1]) / (e->step[i] - e->step[i - 1]);
        return e->loss[i - 1] + t * (e->loss[i] - e->loss[i - 1]);
    }
    return NAN;
}

static double value_of(const struct comparison_run *r, const struct comparison_curve *c, size_t i,
                       enum comparison_axis axis)
{
    double gpus = run_number(r->json, "gpus");
    switch (axis) {
    case COMPARISON_STEP:
        return c->step[i];
    case COMPARISON_EPOCH:
        return c->epoch[i];
    case COMPARISON_TOKENS:
        return c->tokens[i] > 0 ? c->tokens[i] : NAN;
    case COMPARISON_TIME:
        return c->seconds ? c->seconds[i] : NAN;
    case COMPARISON_GPU_TIME:
        return c->seconds && gpus > 0 ? c->seconds[i] * gpus : NAN;
    case COMPARISON_FLOPS:
        return c->tokens[i] > 0 ? c->tokens[i] * run_number(r->json, "flops_per_token") : NAN;
    case COMPARISON_ENERGY:
        return energy_at(r, c->step[i]);
    case COMPARISON_AXIS_COUNT:
        break;
    }
    return NAN;
}

static double *values_of(const struct comparison_run *r, const struct comparison_curve *c, enum comparison_axis axis)
{
    double *x = malloc((c->count + 1) * sizeof *x);
    if (!x)
        abort();
    for (size_t i = 0; i < c->count; i++)
        x[i] = value_of(r, c, i, axis);
    return x;
}

static double largest(const double *x, size_t count)
{
    double most = NAN;
    for (size_t i = 0; i < count; i++)
        if (isfinite(x[i]) && !(x[i] <= most))
            most = x[i];
    return most;
}

void comparison_use_axis(struct comparison *c, enum comparison_axis axis)
{
    double most = 0;
    for (size_t i = 0; i < c->count; i++) {
        struct comparison_run *r = &c->runs[i];
        struct comparison_curve *curves[] = {&r->train, &r->val, &r->raw};
        for (int k = 0; k < 3; k++) {
            free(curves[k]->x);
            curves[k]->x = values_of(r, curves[k], axis);
            most = fmax(most, largest(curves[k]->x, curves[k]->count));
        }
    }
    const struct unit *unit = &axes[axis].units[0];
    for (int k = 1; k < 5 && axes[axis].units[k].label; k++)
        if (most >= 2 * axes[axis].units[k].size)
            unit = &axes[axis].units[k];
    c->axis = axis;
    c->x_label = unit->label;
    for (size_t i = 0; i < c->count; i++) {
        struct comparison_run *r = &c->runs[i];
        struct comparison_curve *curves[] = {&r->train, &r->val, &r->raw};
        for (int k = 0; k < 3; k++)
            for (size_t p = 0; p < curves[k]->count; p++)
                curves[k]->x[p] /= unit->size;
    }
}

bool comparison_has_axis(const struct comparison *c, const struct comparison_run *r)
{
    const struct comparison_curve *curve = comparison_deciding(c, r);
    bool known = curve->count == 0;
    for (size_t i = 0; i < curve->count && !known; i++)
        known = isfinite(curve->x[i]);
    return known;
}

double comparison_x_at(const struct comparison_curve *curve, double step)
{
    for (size_t i = 0; i < curve->count; i++)
        if (curve->step[i] == step)
            return curve->x[i];
    return NAN;
}

static const char *amount_text(enum comparison_axis axis, double amount, char out[64])
{
    char number[RUN_VIEW_SIZE];
    switch (axis) {
    case COMPARISON_EPOCH:
        snprintf(out, 64, "epoch %s", run_format_epoch(amount, number));
        break;
    case COMPARISON_STEP:
        snprintf(out, 64, "step %.0f", floor(amount));
        break;
    case COMPARISON_TIME:
        snprintf(out, 64, "%s", run_format_seconds(amount, number));
        break;
    case COMPARISON_GPU_TIME:
        snprintf(out, 64, "%s of GPU", run_format_seconds(amount, number));
        break;
    case COMPARISON_ENERGY:
        snprintf(out, 64, "%s", run_format_energy(amount, number));
        break;
    default:
        snprintf(out, 64, "%s %s", run_format_count(amount, number), axis == COMPARISON_FLOPS ? "FLOPs" : "tokens");
    }
    return out;
}

/* On straight lines between finite points; NaN outside of them. */
static double loss_at(const struct comparison_curve *c, const double *x, double where)
{
    ptrdiff_t left = -1;
    for (size_t i = 0; i < c->count; i++) {
        if (!isfinite(x[i]) || !isfinite(c->loss[i]))
            continue;
        if (x[i] == where)
            return c->loss[i];
        if (x[i] > where) {
            if (left < 0)
                return NAN;
            double t = (where - x[left]) / (x[i] - x[left]);
            return c->loss[left] + t * (c->loss[i] - c->loss[left]);
        }
        left = (ptrdiff_t)i;
    }
    return NAN;
}

bool comparison_budget_init(struct comparison_budget *b, const struct comparison *c, enum comparison_axis axis)
{
    double least = NAN, **x = calloc(c->count + 1, sizeof *x);
    *b = (struct comparison_budget){.loss = malloc((c->count + 1) * sizeof *b->loss)};
    if (!x || !b->loss)
        abort();
    for (size_t i = 0; i < c->count; i++) {
        const struct comparison_curve *curve = comparison_deciding(c, &c->runs[i]);
        x[i] = values_of(&c->runs[i], curve, axis);
        double most = largest(x[i], curve->count);
        if (!(most >= least) && !isnan(most))
            least = most;
    }
    for (size_t i = 0; i < c->count; i++) {
        b->loss[i] = isnan(least) ? NAN : loss_at(comparison_deciding(c, &c->runs[i]), x[i], least);
        b->unknown += isnan(b->loss[i]);
        free(x[i]);
    }
    free(x);
    char amount[64];
    snprintf(b->text, sizeof b->text, "at %.60s", amount_text(axis, least, amount));
    return !isnan(least);
}

void comparison_budget_finish(struct comparison_budget *b)
{
    free(b->loss);
    *b = (struct comparison_budget){0};
}
