#include "cli/comparison.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "cli/comparison_axis.h"
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

static void read_seconds(const cJSON *json, struct comparison_curve *c)
{
    const cJSON *seconds = cJSON_GetObjectItemCaseSensitive(json, "seconds");
    if (seconds)
        c->seconds = numbers(seconds, c->count);
}

static struct comparison_curve read_curve(const cJSON *json)
{
    struct comparison_curve c = {.count = (size_t)cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "loss"))};
    c.step = numbers(cJSON_GetObjectItemCaseSensitive(json, "step"), c.count);
    c.epoch = numbers(cJSON_GetObjectItemCaseSensitive(json, "epoch"), c.count);
    c.tokens = numbers(cJSON_GetObjectItemCaseSensitive(json, "tokens"), c.count);
    c.loss = numbers(cJSON_GetObjectItemCaseSensitive(json, "loss"), c.count);
    read_seconds(json, &c);
    return c;
}

static void read_raw(const cJSON *json, struct comparison_run *r)
{
    struct comparison_curve c = {.count = (size_t)cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "min"))};
    c.step = numbers(cJSON_GetObjectItemCaseSensitive(json, "step"), c.count);
    c.epoch = numbers(cJSON_GetObjectItemCaseSensitive(json, "epoch"), c.count);
    c.tokens = numbers(cJSON_GetObjectItemCaseSensitive(json, "tokens"), c.count);
    c.loss = numbers(cJSON_GetObjectItemCaseSensitive(json, "smooth"), c.count);
    read_seconds(json, &c);
    r->raw = c;
    r->low = numbers(cJSON_GetObjectItemCaseSensitive(json, "min"), c.count);
    r->high = numbers(cJSON_GetObjectItemCaseSensitive(json, "max"), c.count);
}

static void read_energy(const cJSON *json, struct comparison_curve *out)
{
    const cJSON *joules = cJSON_GetObjectItemCaseSensitive(json, "joules");
    out->count = (size_t)cJSON_GetArraySize(joules);
    out->step = numbers(cJSON_GetObjectItemCaseSensitive(json, "step"), out->count);
    out->loss = numbers(joules, out->count);
}

static void curve_finish(struct comparison_curve *c)
{
    free(c->step);
    free(c->epoch);
    free(c->tokens);
    free(c->loss);
    free(c->seconds);
    free(c->x);
}

static const char *group_of(const cJSON *answer, const char *id)
{
    const cJSON *group, *run;
    cJSON_ArrayForEach(group, cJSON_GetObjectItemCaseSensitive(answer, "groups"))
        cJSON_ArrayForEach(run, cJSON_GetObjectItemCaseSensitive(group, "runs"))
            if (cJSON_IsString(run) && strcmp(run->valuestring, id) == 0)
                return run_text(group, "name");
    return "";
}

static double lowest(const struct comparison_curve *c)
{
    double best = NAN;
    for (size_t i = 0; i < c->count; i++)
        if (isfinite(c->loss[i]) && !(c->loss[i] >= best))
            best = c->loss[i];
    return best;
}

const struct comparison_curve *comparison_deciding(const struct comparison *c, const struct comparison_run *r)
{
    return c->on_validation ? &r->val : &r->train;
}

void comparison_init(struct comparison *c, const cJSON *answer, enum comparison_metric metric)
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
        r->group = group_of(answer, r->id);
        r->val = read_curve(cJSON_GetObjectItemCaseSensitive(curves, "val"));
        r->train = read_curve(cJSON_GetObjectItemCaseSensitive(curves, "train"));
        read_raw(cJSON_GetObjectItemCaseSensitive(curves, "raw"), r);
        read_energy(cJSON_GetObjectItemCaseSensitive(json, "energy"), &r->energy);
        c->smoothed |= cJSON_HasObjectItem(cJSON_GetObjectItemCaseSensitive(curves, "raw"), "smooth");
        if (r->val.count == 0 && r->train.count > 0)
            c->on_validation = false;
    }
    if (metric != COMPARISON_ANY)
        c->on_validation = metric == COMPARISON_VAL;
    comparison_use_axis(c, COMPARISON_EPOCH);
    double best = NAN;
    for (size_t i = 0; i < c->count; i++) {
        struct comparison_run *r = &c->runs[i];
        r->best = lowest(comparison_deciding(c, r));
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
        curve_finish(&c->runs[i].raw);
        curve_finish(&c->runs[i].energy);
        free(c->runs[i].low);
        free(c->runs[i].high);
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

/* All runs, the lowest best first. Caller frees. */
static struct ranked *rank(const struct comparison *c)
{
    struct ranked *order = calloc(c->count + 1, sizeof *order);
    if (!order)
        abort();
    for (size_t i = 0; i < c->count; i++)
        order[i] = (struct ranked){i, c->runs[i].best};
    qsort(order, c->count, sizeof *order, lower_first);
    return order;
}

__attribute__((format(printf, 2, 3))) static char *add_text(struct comparison_plot *p, const char *format, ...)
{
    char *text;
    va_list ap;
    va_start(ap, format);
    int n = vasprintf(&text, format, ap);
    va_end(ap);
    p->texts = n < 0 ? NULL : realloc(p->texts, (p->text_count + 1) * sizeof *p->texts);
    if (!p->texts)
        abort();
    return p->texts[p->text_count++] = text;
}

/* The numbers of the table. */
static const char *detail_of(const struct comparison *c, const struct comparison_run *r, struct comparison_plot *p)
{
    char last_text[RUN_VIEW_SIZE], best_text[RUN_VIEW_SIZE];
    double last = run_number(r->json, c->on_validation ? "val_loss" : "train_loss");
    run_format_loss(last, last_text);
    run_format_loss(r->best, best_text);
    if (isnan(r->best))
        return add_text(p, "no loss yet");
    if (isnan(last))
        return add_text(p, "last nan, best %s", best_text);
    if (strcmp(last_text, best_text) == 0)
        return add_text(p, "%s", last_text);
    return add_text(p, "%s, best %s", last_text, best_text);
}

static void add_series(struct comparison_plot *p, const struct comparison_run *r, const struct comparison_curve *curve,
                       int colour, bool faint)
{
    p->series[p->plot.series_count++] = (struct plot_series){
        .label = r->label, .x = curve->x, .y = curve->loss, .count = curve->count, .colour = colour, .faint = faint};
}

/* Runs of a group share a colour, the first of them in order giving it. */
static int colour_of(const struct comparison *c, const struct ranked *order, size_t index)
{
    int colour = 0;
    for (size_t i = 0; i <= index; i++) {
        size_t first = 0;
        const char *group = c->runs[order[i].index].group;
        while (first < i && (!*group || strcmp(c->runs[order[first].index].group, group) != 0))
            first++;
        bool same = strcmp(group, c->runs[order[index].index].group) == 0;
        if (i == index || (first == i && *group && same))
            return colour;
        colour += first == i;
    }
    return colour;
}

/* From lowest to highest of neighbouring steps and back: a faint line that shows all that was recorded. */
static void add_band(struct comparison_plot *p, const struct comparison_run *r, size_t index, int colour)
{
    struct comparison_band *band = &p->bands[index];
    band->x = malloc((2 * r->raw.count + 1) * sizeof *band->x);
    band->y = malloc((2 * r->raw.count + 1) * sizeof *band->y);
    if (!band->x || !band->y)
        abort();
    for (size_t i = 0; i < r->raw.count; i++) {
        band->x[2 * i] = band->x[2 * i + 1] = r->raw.x[i];
        band->y[2 * i] = i % 2 ? r->high[i] : r->low[i];
        band->y[2 * i + 1] = i % 2 ? r->low[i] : r->high[i];
    }
    p->series[p->plot.series_count++] = (struct plot_series){
        .label = r->label, .x = band->x, .y = band->y, .count = 2 * r->raw.count, .colour = colour, .faint = true};
}

static const cJSON *find_arrow(const struct comparison *c, size_t winner, size_t loser)
{
    const cJSON *json;
    const char *metric = c->on_validation ? "val_loss" : "train_loss";
    cJSON_ArrayForEach(json, cJSON_GetObjectItemCaseSensitive(c->json, "arrows")) {
        if (strcmp(run_text(json, "winner"), c->runs[winner].id) == 0 &&
            strcmp(run_text(json, "loser"), c->runs[loser].id) == 0 && strcmp(run_text(json, "metric"), metric) == 0)
            return json;
    }
    return NULL;
}

static void add_arrow(const struct comparison *c, const cJSON *json, int colour, const struct comparison_run *by,
                      const struct comparison_run *over, struct comparison_plot *p)
{
    const char *winner = by->label, *loser = over->label;
    double ratio = run_number(json, "tokens_ratio");
    const char *text;
    if (ratio >= 1.005)
        text = add_text(p, "%s passes %s: %.2f\u00d7 fewer tokens", winner, loser, ratio);
    else if (ratio > 0 && ratio <= 0.995)
        text = add_text(p, "%s passes %s: %.2f\u00d7 more tokens", winner, loser, 1 / ratio);
    else
        text = add_text(p, "%s passes %s with as many tokens", winner, loser);
    p->arrows[p->plot.arrow_count++] =
        (struct plot_arrow){.winner_x = comparison_x_at(comparison_deciding(c, by), run_number(json, "step")),
                            .winner_y = run_number(json, "loss"),
                            .loser_x = comparison_x_at(comparison_deciding(c, over), run_number(json, "loser_step")),
                            .loser_y = run_number(json, "loser_best"),
                            .colour = colour,
                            .text = text};
}

static void add_arrows(const struct comparison *c, const struct ranked *order, size_t drawn, size_t max_arrows,
                       struct comparison_plot *p)
{
    for (size_t w = 0; w < drawn && p->plot.arrow_count == 0; w++)
        for (size_t l = 0; l < drawn && p->plot.arrow_count < max_arrows; l++) {
            const cJSON *json = find_arrow(c, order[w].index, order[l].index);
            const char *group = c->runs[order[w].index].group;
            if (json && (!*group || strcmp(group, c->runs[order[l].index].group) != 0))
                add_arrow(c, json, colour_of(c, order, w), &c->runs[order[w].index], &c->runs[order[l].index], p);
        }
}

/* What the picture leaves out, then what the daemon has to say of the runs. */
static void add_notes(const struct comparison *c, bool with_train, struct comparison_plot *p)
{
    const cJSON *item, *notes = cJSON_GetObjectItemCaseSensitive(c->json, "notes");
    size_t arrows = (size_t)cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(c->json, "arrows"));
    size_t first = p->text_count;
    if (with_train)
        add_text(p, "Thin lines: training loss, means over 1/20 epoch.");
    if (p->left_out)
        add_text(p, "Drawn are the %zu runs with the lowest bests; %zu more are not.", c->count - p->left_out,
                 p->left_out);
    if (arrows > p->plot.arrow_count)
        add_text(p,
                 "Of %zu pairs in which one run passes the other's best, the arrows show %zu: the lowest run's, over "
                 "those next to it.",
                 arrows, p->plot.arrow_count);
    cJSON_ArrayForEach(item, notes) {
        if (cJSON_IsString(item))
            add_text(p, "Note: %s.", item->valuestring);
    }
    for (size_t i = 0; i < c->count && c->axis != COMPARISON_EPOCH; i++)
        if (!comparison_has_axis(c, &c->runs[i]))
            add_text(p, "%s does not know its %s and is not drawn.", c->runs[i].label, comparison_axis_word(c->axis));
    p->plot.notes = (const char *const *)(p->texts ? p->texts + first : NULL);
    p->plot.note_count = p->text_count - first;
}

void comparison_plot_init(const struct comparison *c, const struct comparison_choice *choice,
                          struct comparison_plot *out)
{
    bool smoothed = c->smoothed && !c->on_validation;
    struct comparison_plot p = {.plot = {.x_label = c->x_label,
                                         .x_scale = choice->x_scale,
                                         .y_scale = choice->y_scale,
                                         .y_label = c->on_validation ? "validation loss (nats a prediction)"
                                                    : smoothed
                                                        ? "training loss (nats a prediction, smoothed; raw behind it)"
                                                        : "training loss (nats a prediction, means over 1/20 epoch)"}};
    struct ranked *order = rank(c);
    size_t drawn = c->count < choice->max_runs ? c->count : choice->max_runs;
    bool with_train = c->on_validation && c->count <= choice->max_train;
    p.left_out = c->count - drawn;
    p.series = calloc(2 * drawn + 1, sizeof *p.series);
    p.bands = calloc(drawn + 1, sizeof *p.bands);
    p.band_count = smoothed ? drawn : 0;
    p.arrows = calloc(choice->max_arrows + 1, sizeof *p.arrows);
    if (!p.series || !p.arrows || !p.bands)
        abort();
    for (size_t i = drawn; i-- > 0 && smoothed;)
        add_band(&p, &c->runs[order[i].index], i, colour_of(c, order, i));
    for (size_t i = drawn; i-- > 0 && with_train;)
        add_series(&p, &c->runs[order[i].index], &c->runs[order[i].index].train, colour_of(c, order, i), true);
    for (size_t i = drawn; i-- > 0;) {
        const struct comparison_run *r = &c->runs[order[i].index];
        add_series(&p, r, smoothed ? &r->raw : comparison_deciding(c, r), colour_of(c, order, i), false);
        p.series[p.plot.series_count - 1].detail = detail_of(c, r, &p);
        p.series[p.plot.series_count - 1].strong = (ptrdiff_t)order[i].index == c->winner && c->count > 1;
    }
    add_arrows(c, order, drawn, choice->max_arrows, &p);
    const char *what = c->on_validation ? "Validation loss" : "Training loss";
    if (c->count == 2)
        p.plot.title = add_text(&p, "%s of %s and %s", what, c->runs[0].label, c->runs[1].label);
    else if (c->count == 1)
        p.plot.title = add_text(&p, "%s of %s", what, c->runs[0].label);
    else
        p.plot.title = add_text(&p, "%s of %zu runs", what, c->count);
    if (choice->notes)
        add_notes(c, with_train, &p);
    p.plot.series = p.series;
    p.plot.arrows = p.arrows;
    *out = p;
    free(order);
}

void comparison_plot_finish(struct comparison_plot *p)
{
    for (size_t i = 0; i < p->text_count; i++)
        free(p->texts[i]);
    for (size_t i = 0; i < p->band_count; i++) {
        free(p->bands[i].x);
        free(p->bands[i].y);
    }
    free(p->bands);
    free(p->texts);
    free(p->series);
    free(p->arrows);
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
