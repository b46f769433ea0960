#include "cli/comparison.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "cli/run_view.h"

static double *numbers(const cJSON *array, size_t count)
{
    double *out = malloc((count + 1) * sizeof *out);
    if (!out)
        abort();
    const cJSON *item = array ? array->child : NULL;
    for (size_t i = 0; i < count; i++, item = item ? item->next : NULL) {
        out[i] = NAN;
        json_read_double(item, &out[i]);
    }
    return out;
}

static struct comparison_curve read_curve(const cJSON *json)
{
    struct comparison_curve c = {.count = (size_t)cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "loss"))};
    c.step = numbers(cJSON_GetObjectItemCaseSensitive(json, "step"), c.count);
    c.epoch = numbers(cJSON_GetObjectItemCaseSensitive(json, "epoch"), c.count);
    c.tokens = numbers(cJSON_GetObjectItemCaseSensitive(json, "tokens"), c.count);
    c.loss = numbers(cJSON_GetObjectItemCaseSensitive(json, "loss"), c.count);
    return c;
}

static void curve_finish(struct comparison_curve *c)
{
    free(c->step);
    free(c->epoch);
    free(c->tokens);
    free(c->loss);
}

static double lowest(const struct comparison_curve *c)
{
    double best = NAN;
    for (size_t i = 0; i < c->count; i++)
        if (isfinite(c->loss[i]) && !(c->loss[i] >= best))
            best = c->loss[i];
    return best;
}

void comparison_init(struct comparison *c, const cJSON *answer)
{
    const cJSON *runs = cJSON_GetObjectItemCaseSensitive(answer, "runs"), *json;
    *c = (struct comparison){.json = answer, .on_validation = true, .winner = -1};
    c->runs = calloc((size_t)cJSON_GetArraySize(runs) + 1, sizeof *c->runs);
    if (!c->runs)
        abort();
    cJSON_ArrayForEach(json, runs) {
        struct comparison_run *r = &c->runs[c->count++];
        const cJSON *curves = cJSON_GetObjectItemCaseSensitive(json, "curves");
        r->json = json;
        r->id = run_text(json, "id");
        r->label = *run_text(json, "label") ? run_text(json, "label") : run_text(json, "name");
        r->val = read_curve(cJSON_GetObjectItemCaseSensitive(curves, "val"));
        r->train = read_curve(cJSON_GetObjectItemCaseSensitive(curves, "train"));
        if (r->val.count == 0 && r->train.count > 0)
            c->on_validation = false;
    }
    double best = NAN;
    for (size_t i = 0; i < c->count; i++) {
        struct comparison_run *r = &c->runs[i];
        r->best = lowest(c->on_validation ? &r->val : &r->train);
        if (isnan(r->best))
            continue;
        if (r->best == best)
            c->winner = -1;
        else if (!(r->best > best)) {
            best = r->best;
            c->winner = (ptrdiff_t)i;
        }
    }
}

void comparison_finish(struct comparison *c)
{
    for (size_t i = 0; i < c->count; i++) {
        curve_finish(&c->runs[i].val);
        curve_finish(&c->runs[i].train);
    }
    free(c->runs);
    *c = (struct comparison){0};
}

struct ranked {
    size_t index;
    double best;
};

static int lower_first(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (isnan(x->best) || isnan(y->best))
        return isnan(x->best) != isnan(y->best) ? (isnan(x->best) ? 1 : -1)
                                                : (x->index > y->index) - (x->index < y->index);
    return x->best != y->best ? (x->best > y->best ? 1 : -1) : (x->index > y->index) - (x->index < y->index);
}

/* drawn[i] becomes true for the max_runs runs with the lowest bests. Returns how many are left out. */
static size_t choose(const struct comparison *c, size_t max_runs, bool *drawn)
{
    struct ranked *order = calloc(c->count + 1, sizeof *order);
    if (!order)
        abort();
    for (size_t i = 0; i < c->count; i++)
        order[i] = (struct ranked){i, c->runs[i].best};
    qsort(order, c->count, sizeof *order, lower_first);
    for (size_t i = 0; i < c->count && i < max_runs; i++)
        drawn[order[i].index] = true;
    free(order);
    return c->count > max_runs ? c->count - max_runs : 0;
}

static void add_series(struct comparison_plot *p, const char *label, const char *detail,
                       const struct comparison_curve *curve, size_t run, bool faint)
{
    p->series[p->plot.series_count++] = (struct plot_series){.label = label,
                                                             .detail = detail,
                                                             .x = curve->epoch,
                                                             .y = curve->loss,
                                                             .count = curve->count,
                                                             .colour = (int)run,
                                                             .faint = faint};
}

/* The arrows of the winner over drawn runs, the closest contender (lowest best) first. */
static void add_arrows(const struct comparison *c, const bool *drawn, size_t max_arrows, struct comparison_plot *p)
{
    const cJSON *json, *arrows = cJSON_GetObjectItemCaseSensitive(c->json, "arrows");
    if (c->winner < 0)
        return;
    const char *metric = c->on_validation ? "val_loss" : "train_loss";
    for (double above = -INFINITY; p->plot.arrow_count < max_arrows;) {
        const cJSON *next = NULL;
        cJSON_ArrayForEach(json, arrows) {
            double bar = run_number(json, "loser_best");
            bool is_drawn = false;
            for (size_t i = 0; i < c->count; i++)
                is_drawn |= drawn[i] && strcmp(c->runs[i].id, run_text(json, "loser")) == 0;
            if (is_drawn && bar > above && (!next || bar < run_number(next, "loser_best")) &&
                strcmp(run_text(json, "winner"), c->runs[c->winner].id) == 0 &&
                strcmp(run_text(json, "metric"), metric) == 0)
                next = json;
        }
        if (!next)
            return;
        above = run_number(next, "loser_best");
        double ratio = run_number(next, "tokens_ratio");
        char *text = p->texts[c->count + p->plot.arrow_count];
        if (ratio >= 1.005)
            snprintf(text, sizeof *p->texts, "%.2f\u00d7 fewer tokens", ratio);
        else if (ratio > 0 && ratio <= 0.995)
            snprintf(text, sizeof *p->texts, "%.2f\u00d7 more tokens", 1 / ratio);
        else
            snprintf(text, sizeof *p->texts, "passes here");
        p->arrows[p->plot.arrow_count++] = (struct plot_arrow){.winner_x = run_number(next, "epoch"),
                                                               .winner_y = run_number(next, "loss"),
                                                               .loser_x = run_number(next, "loser_epoch"),
                                                               .loser_y = above,
                                                               .colour = (int)c->winner,
                                                               .text = text};
    }
}

void comparison_plot_init(const struct comparison *c, size_t max_runs, size_t max_arrows, bool with_train,
                          struct comparison_plot *out, size_t *left_out)
{
    bool *drawn = calloc(c->count + 1, sizeof *drawn);
    struct comparison_plot p = {
        .plot = {.title = c->on_validation ? "validation loss" : "training loss (means over 1/20 epoch)",
                 .x_label = "epoch",
                 .y_label = "loss (nats a prediction)"}};
    p.series = calloc(2 * c->count + 1, sizeof *p.series);
    p.arrows = calloc(max_arrows + 1, sizeof *p.arrows);
    p.texts = calloc(c->count + max_arrows + 1, sizeof *p.texts);
    if (!drawn || !p.series || !p.arrows || !p.texts)
        abort();
    *left_out = choose(c, max_runs, drawn);
    for (size_t i = 0; i < c->count && with_train && c->on_validation; i++)
        if (drawn[i])
            add_series(&p, c->runs[i].label, NULL, &c->runs[i].train, i, true);
    for (size_t i = 0; i < c->count; i++) {
        if (!drawn[i])
            continue;
        char best[RUN_VIEW_SIZE];
        snprintf(p.texts[i], sizeof *p.texts, "best %s", run_format_loss(c->runs[i].best, best));
        add_series(&p, c->runs[i].label, p.texts[i], c->on_validation ? &c->runs[i].val : &c->runs[i].train, i, false);
    }
    add_arrows(c, drawn, max_arrows, &p);
    p.plot.series = p.series;
    p.plot.arrows = p.arrows;
    *out = p;
    free(drawn);
}

void comparison_plot_finish(struct comparison_plot *p)
{
    free(p->series);
    free(p->arrows);
    free(p->texts);
    *p = (struct comparison_plot){0};
}

static void print_curve(FILE *out, const struct comparison_run *r, const char *metric, const struct comparison_curve *c)
{
    for (size_t i = 0; i < c->count; i++) {
        char epoch[JSON_NUMBER_SIZE], loss[JSON_NUMBER_SIZE];
        json_number_text17(c->epoch[i], epoch);
        json_number_text17(c->loss[i], loss);
        fprintf(out, "%s,%s,%.0f,%s,%.0f,%s,%s\n", r->id, run_text(r->json, "name"), c->step[i], epoch, c->tokens[i],
                metric, loss);
    }
}

void comparison_print_csv(const struct comparison *c, FILE *out)
{
    fputs("run,name,step,epoch,tokens,metric,value\n", out);
    for (size_t i = 0; i < c->count; i++) {
        print_curve(out, &c->runs[i], "train_loss", &c->runs[i].train);
        print_curve(out, &c->runs[i], "val_loss", &c->runs[i].val);
    }
}
