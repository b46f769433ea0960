#include "daemon/compare_group.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"

/* The mean first: the sum of squares of losses that agree in three digits would keep nothing of their differences. */
static struct compare_stat make_stat(const double *values, size_t count)
{
    struct compare_stat s = {0, NAN, NAN};
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++)
        if (isfinite(values[i])) {
            sum += values[i];
            s.n++;
        }
    if (s.n > 0)
        s.mean = sum / (double)s.n;
    for (size_t i = 0; i < count; i++)
        if (isfinite(values[i]))
            squares += (values[i] - s.mean) * (values[i] - s.mean);
    if (s.n > 1)
        s.sd = sqrt(squares / (double)(s.n - 1));
    return s;
}

/* Length of the name before "-s" and the seed, 0 when it does not end so. */
static size_t stem_length(const struct compare_member *m)
{
    char suffix[32];
    snprintf(suffix, sizeof suffix, "-s%" PRId64, m->seed);
    size_t length = strlen(m->name), cut = strlen(suffix);
    return length > cut && strcmp(m->name + length - cut, suffix) == 0 ? length - cut : 0;
}

static void name_group(const struct compare_member *const *runs, size_t count, struct compare_group *g)
{
    size_t stem = count > 1 ? stem_length(runs[0]) : 0;
    for (size_t i = 1; i < count && stem; i++)
        if (stem_length(runs[i]) != stem || memcmp(runs[i]->name, runs[0]->name, stem) != 0)
            stem = 0;
    if (stem)
        snprintf(g->name, sizeof g->name, "%.*s", (int)stem, runs[0]->name);
    else
        snprintf(g->name, sizeof g->name, "%s", runs[0]->label);
}

/* Leaves one run a seed in `runs`, and returns how many. */
static size_t keep_seeds(const struct compare_member **runs, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        size_t k = 0;
        while (k < kept && runs[k]->seed != runs[i]->seed)
            k++;
        if (k == kept)
            runs[kept++] = runs[i];
        else if (runs[i]->step >= runs[k]->step)
            runs[k] = runs[i];
    }
    return kept;
}

/* `values` is room for a number a run. */
static void fill_group(const struct compare_member **runs, size_t count, double *values, struct compare_group *g)
{
    name_group(runs, count, g);
    g->runs = count;
    g->seeds = keep_seeds(runs, count);
    for (size_t i = 0; i < g->seeds; i++)
        values[i] = runs[i]->best_val;
    g->best_val = make_stat(values, g->seeds);
    for (size_t i = 0; i < g->seeds; i++)
        values[i] = runs[i]->val;
    g->val = make_stat(values, g->seeds);
    for (size_t i = 0; i < g->seeds; i++)
        values[i] = runs[i]->tok_s;
    g->tok_s = make_stat(values, g->seeds);
    for (size_t i = 0; i < g->seeds; i++)
        values[i] = runs[i]->train;
    g->train = make_stat(values, g->seeds);
}

static bool same_group(const struct compare_member *a, const struct compare_member *b)
{
    return *a->experiment && strcmp(a->experiment, b->experiment) == 0;
}

int compare_groups(const struct compare_member *members, size_t count, size_t *group_of, struct compare_group *groups,
                   size_t *group_count, struct err *err)
{
    const struct compare_member **runs = malloc((count + 1) * sizeof *runs);
    double *values = malloc((count + 1) * sizeof *values);
    size_t made = 0;
    if (!runs || !values) {
        free(runs);
        free(values);
        return err_set(err, ERR_NO_MEMORY, "no memory to group %zu runs", count);
    }
    for (size_t i = 0; i < count; i++) {
        size_t first = 0, n = 1;
        while (first < i && !same_group(&members[first], &members[i]))
            first++;
        if (first < i) {
            group_of[i] = group_of[first];
            continue;
        }
        runs[0] = &members[i];
        for (size_t k = i + 1; k < count; k++)
            if (same_group(&members[i], &members[k]))
                runs[n++] = &members[k];
        group_of[i] = made;
        fill_group(runs, n, values, &groups[made++]);
    }
    free(runs);
    free(values);
    *group_count = made;
    return 0;
}
