#include "daemon/api_compare_groups.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "daemon/jsonw.h"

static void write_stat(struct jsonw *w, const char *key, const struct compare_stat *s)
{
    jsonw_begin_object(w, key);
    jsonw_int(w, "n", (int64_t)s->n);
    jsonw_known(w, "mean", s->mean);
    jsonw_known(w, "sd", s->sd);
    jsonw_end_object(w);
}

int api_grouping_init(struct api_grouping *g, const struct compare_member *members, size_t count, struct err *err)
{
    struct api_grouping made = {.group_of = calloc(count + 1, sizeof *made.group_of),
                                .groups = calloc(count + 1, sizeof *made.groups),
                                .labels = calloc(count + 1, sizeof *made.labels)};
    int rc = made.group_of && made.groups && made.labels ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
    if (rc == 0)
        rc = compare_groups(members, count, made.group_of, made.groups, &made.count, err);
    if (rc) {
        api_grouping_finish(&made);
        return rc;
    }
    /* Two groups of one name are told apart by the id of their first run, as runs are. */
    for (size_t i = count; i-- > 0;) {
        size_t mine = made.group_of[i], same = 0;
        for (size_t k = 0; k < made.count; k++)
            same += strcmp(made.groups[k].name, made.groups[mine].name) == 0;
        snprintf(made.labels[mine], sizeof made.labels[mine], same > 1 ? "%s (%s)" : "%s", made.groups[mine].name,
                 members[i].id);
    }
    *g = made;
    return 0;
}

void api_grouping_finish(struct api_grouping *g)
{
    free(g->labels);
    free(g->groups);
    free(g->group_of);
    *g = (struct api_grouping){0};
}

/* By the mean of the best validation losses; equal means share a rank. 0: has none. */
static size_t rank_of(const struct api_grouping *g, size_t group)
{
    double mine = g->groups[group].best_val.mean;
    size_t rank = 1;
    if (isnan(mine))
        return 0;
    for (size_t k = 0; k < g->count; k++)
        rank += g->groups[k].best_val.mean < mine;
    return rank;
}

void api_grouping_write(struct jsonw *w, const struct api_grouping *g, const struct compare_member *members,
                        size_t count)
{
    jsonw_begin_array(w, "groups");
    for (size_t k = 0; k < g->count; k++) {
        size_t rank = rank_of(g, k);
        jsonw_begin_object(w, NULL);
        jsonw_string(w, "name", g->labels[k]);
        jsonw_begin_array(w, "runs");
        for (size_t i = 0; i < count; i++)
            if (g->group_of[i] == k)
                jsonw_string(w, NULL, members[i].id);
        jsonw_end_array(w);
        jsonw_int(w, "seeds", (int64_t)g->groups[k].seeds);
        if (rank)
            jsonw_int(w, "rank", (int64_t)rank);
        else
            jsonw_null(w, "rank");
        write_stat(w, "best_val_loss", &g->groups[k].best_val);
        write_stat(w, "val_loss", &g->groups[k].val);
        write_stat(w, "train_loss", &g->groups[k].train);
        write_stat(w, "tok_s", &g->groups[k].tok_s);
        jsonw_end_object(w);
    }
    jsonw_end_array(w);
}
