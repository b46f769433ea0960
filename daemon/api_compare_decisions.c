#include "daemon/api_compare_decisions.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "daemon/api_compare_groups.h"
#include "daemon/compare_decide.h"
#include "daemon/jsonw.h"
#include "schema/spec.h"

static const char *const verdict_words[] = {
    [COMPARE_LOWER] = "lower",     [COMPARE_SAME] = "not_distinguishable", [COMPARE_TOO_FEW] = "too_few_seeds",
    [COMPARE_NOT_YET] = "not_yet", [COMPARE_NO_ANSWER] = "no_answer",
};

static void write_crossing(struct jsonw *w, const struct compare_decision *d, const struct api_grouping *g)
{
    const struct compare_crossing *c = &d->crossing;
    bool agree = c->a_below == 0 || c->a_below == c->crossed;
    jsonw_begin_object(w, "crossing");
    jsonw_int(w, "pairs", (int64_t)c->pairs);
    jsonw_int(w, "crossed", (int64_t)c->crossed);
    jsonw_known(w, "epoch", c->epoch);
    jsonw_known(w, "low", c->low);
    jsonw_known(w, "high", c->high);
    jsonw_string(w, "below", c->crossed && agree ? g->labels[c->a_below ? d->a : d->b] : NULL);
    jsonw_end_object(w);
}

static void write_decision(struct jsonw *w, const struct compare_decision *d, const struct api_grouping *g,
                           const struct compare_noise *noise)
{
    char text[COMPARE_TEXT_SIZE];
    compare_decision_text(d, g->labels[d->a], g->labels[d->b], noise, text);
    jsonw_begin_object(w, NULL);
    jsonw_string(w, "a", g->labels[d->a]);
    jsonw_string(w, "b", g->labels[d->b]);
    jsonw_string(w, "verdict", verdict_words[d->verdict]);
    jsonw_string(w, "metric", d->on_validation ? "val_loss" : "train_loss");
    if (d->tokens > 0)
        jsonw_int(w, "tokens", d->tokens);
    else
        jsonw_null(w, "tokens");
    jsonw_known(w, "epoch", d->epoch_b);
    jsonw_int(w, "seeds", (int64_t)d->seeds);
    jsonw_int(w, "n", (int64_t)d->n);
    jsonw_known(w, "mean_a", d->mean_a);
    jsonw_known(w, "mean_b", d->mean_b);
    jsonw_known(w, "difference", d->difference);
    jsonw_known(w, "seed_noise", d->sd);
    jsonw_real(w, "level", d->level);
    jsonw_known(w, "low", d->low);
    jsonw_known(w, "high", d->high);
    jsonw_known(w, "p", d->p);
    jsonw_known(w, "p_holm", d->p_holm);
    jsonw_bool(w, "equal_order", d->equal_order);
    if (d->seeds_needed)
        jsonw_int(w, "seeds_needed", d->seeds_needed);
    else
        jsonw_null(w, "seeds_needed");
    write_crossing(w, d, g);
    jsonw_string(w, "text", text);
    jsonw_end_object(w);
}

int api_compare_decisions(struct jsonw *w, const struct api_grouping *g, const struct compare_run *runs, size_t count,
                          int64_t at_tokens, struct err *err)
{
    struct compare_noise noise = compare_noise_floor(g->groups, g->count);
    struct compare_decision *decisions;
    size_t made;
    int rc = compare_decide(runs, g->group_of, count, g->count, at_tokens, &noise, &decisions, &made, err);
    if (rc)
        return rc;
    jsonw_begin_array(w, "decisions");
    for (size_t i = 0; i < made; i++)
        write_decision(w, &decisions[i], g, &noise);
    jsonw_end_array(w);
    free(decisions);
    jsonw_begin_object(w, "noise");
    jsonw_known(w, "sd", noise.sd);
    jsonw_int(w, "groups", (int64_t)noise.groups);
    jsonw_int(w, "freedom", (int64_t)noise.freedom);
    jsonw_end_object(w);
    return 0;
}

enum { PATHS_MAX = 128, VALUE_SIZE = 128 };

/* The paths in which any two specs differ, each once. Strings are the field table's. */
struct paths {
    const char *path[PATHS_MAX];
    size_t count;
};

static void on_difference(void *arg, const char *path, const char *a_text, const char *b_text)
{
    (void)a_text;
    (void)b_text;
    struct paths *p = arg;
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->path[i], path) == 0)
            return;
    if (p->count < PATHS_MAX && strcmp(path, "name") != 0)
        p->path[p->count++] = path;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void api_compare_differs(struct jsonw *w, const struct spec *const *specs, size_t count)
{
    struct paths paths = {0};
    const struct spec *first = NULL;
    for (size_t i = 0; i < count; i++) {
        if (first && specs[i]) /* who differs from another differs from the first, or that one does */
            spec_diff(first, specs[i], on_difference, &paths);
        first = first ? first : specs[i];
    }
    qsort(paths.path, paths.count, sizeof *paths.path, by_path);
    jsonw_begin_array(w, "differs");
    for (size_t p = 0; p < paths.count; p++) {
        jsonw_begin_object(w, NULL);
        jsonw_string(w, "path", paths.path[p]);
        jsonw_begin_array(w, "values");
        for (size_t i = 0; i < count; i++) {
            char value[VALUE_SIZE];
            struct err ignored;
            bool known = specs[i] && spec_get_text(specs[i], paths.path[p], value, sizeof value, &ignored) == 0;
            jsonw_string(w, NULL, known ? value : NULL);
        }
        jsonw_end_array(w);
        jsonw_end_object(w);
    }
    jsonw_end_array(w);
}
