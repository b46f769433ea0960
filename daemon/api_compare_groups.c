#include "daemon/api_compare_groups.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "daemon/compare_group.h"
#include "daemon/jsonw.h"

static void write_known(struct jsonw *w, const char *key, double value)
{
    if (isnan(value))
        jsonw_null(w, key);
    else
        jsonw_real(w, key, value);
}

static void write_stat(struct jsonw *w, const char *key, const struct compare_stat *s)
{
    jsonw_begin_object(w, key);
    jsonw_int(w, "n", (int64_t)s->n);
    write_known(w, "mean", s->mean);
    write_known(w, "sd", s->sd);
    jsonw_end_object(w);
}

/* Two groups of one name are told apart by the id of their first run, as runs are. */
static void write_group(struct jsonw *w, const struct compare_group *groups, size_t group_count, size_t g,
                        const char *const *ids, const size_t *group_of, size_t count)
{
    char name[COMPARE_GROUP_NAME_SIZE + 32];
    size_t same = 0, first = 0;
    for (size_t k = 0; k < group_count; k++)
        same += strcmp(groups[k].name, groups[g].name) == 0;
    while (group_of[first] != g)
        first++;
    snprintf(name, sizeof name, same > 1 ? "%s (%s)" : "%s", groups[g].name, ids[first]);
    jsonw_begin_object(w, NULL);
    jsonw_string(w, "name", name);
    jsonw_begin_array(w, "runs");
    for (size_t i = first; i < count; i++)
        if (group_of[i] == g)
            jsonw_string(w, NULL, ids[i]);
    jsonw_end_array(w);
    jsonw_int(w, "seeds", (int64_t)groups[g].seeds);
    write_stat(w, "best_val_loss", &groups[g].best_val);
    write_stat(w, "val_loss", &groups[g].val);
    write_stat(w, "tok_s", &groups[g].tok_s);
    jsonw_end_object(w);
}

int api_compare_groups(struct jsonw *w, const struct compare_member *members, const char *const *ids, size_t count,
                       struct err *err)
{
    size_t group_count, *group_of = calloc(count + 1, sizeof *group_of);
    struct compare_group *groups = calloc(count + 1, sizeof *groups);
    int rc = group_of && groups ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
    if (rc == 0)
        rc = compare_groups(members, count, group_of, groups, &group_count, err);
    if (rc == 0) {
        jsonw_begin_array(w, "groups");
        for (size_t g = 0; g < group_count; g++)
            write_group(w, groups, group_count, g, ids, group_of, count);
        jsonw_end_array(w);
    }
    free(groups);
    free(group_of);
    return rc;
}
