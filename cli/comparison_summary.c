#include "cli/comparison_summary.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>
#include "base/table.h"
#include "cli/comparison.h"
#include "cli/document.h"
#include "cli/output.h"
#include "cli/run_view.h"

enum { SENTENCES = 12 };

static const cJSON *groups_of(const struct comparison *c)
{
    return cJSON_GetObjectItemCaseSensitive(c->json, "groups");
}

static bool has_seeds(const struct comparison *c)
{
    const cJSON *group;
    cJSON_ArrayForEach(group, groups_of(c))
        if (run_number(group, "seeds") > 1)
            return true;
    return false;
}

/* "1.8229 ± 0.0083", and of how many where that is not all of the group's seeds. */
static const char *spread_text(const cJSON *group, const char *key, char out[128])
{
    char mean[RUN_VIEW_SIZE], sd[RUN_VIEW_SIZE], some[48] = "";
    const cJSON *stat = cJSON_GetObjectItemCaseSensitive(group, key);
    double n = run_number(stat, "n"), seeds = run_number(group, "seeds");
    if (n > 0 && n < seeds)
        snprintf(some, sizeof some, " (%.0f of %.0f)", n, seeds);
    run_format_loss(run_number(stat, "mean"), mean);
    if (n > 1)
        snprintf(out, 128, "%s \u00b1 %s%s", mean, run_format_loss(run_number(stat, "sd"), sd), some);
    else
        snprintf(out, 128, "%s%s", mean, some);
    return out;
}

enum { GROUP_COLUMNS = 5 };

static const char *const group_titles[GROUP_COLUMNS] = {"group", "seeds", "best val", "val", "tok/s"};

static const char *group_cell(const cJSON *group, int column, char out[128])
{
    char rate[RUN_VIEW_SIZE];
    switch (column) {
    case 0:
        return run_text(group, "name");
    case 1:
        snprintf(out, 128, "%.0f", run_number(group, "seeds"));
        return out;
    case 2:
        return spread_text(group, "best_val_loss", out);
    case 3:
        return spread_text(group, "val_loss", out);
    default:
        snprintf(out, 128, "%s",
                 run_format_count(run_number(cJSON_GetObjectItemCaseSensitive(group, "tok_s"), "mean"), rate));
        return out;
    }
}

static const char spread_remark[] = "mean \u00b1 standard deviation over the seeds of a group";

void comparison_print_groups(const struct comparison *c, FILE *out)
{
    const cJSON *group;
    char cell[128];
    if (!has_seeds(c))
        return;
    struct table *table = table_create();
    for (int i = 0; i < GROUP_COLUMNS; i++)
        table_column(table, group_titles[i], i ? TABLE_RIGHT : TABLE_LEFT);
    cJSON_ArrayForEach(group, groups_of(c))
        for (int i = 0; i < GROUP_COLUMNS; i++)
            table_cell(table, "%s", group_cell(group, i, cell));
    putc('\n', out);
    table_print(table, out, false);
    table_destroy(table);
    fprintf(out, "%s%s%s\n", output_style(out, STYLE_DIM), spread_remark, output_style(out, STYLE_PLAIN));
}

void comparison_document_groups(const struct comparison *c, struct document *d)
{
    const cJSON *group;
    char cell[128];
    if (!has_seeds(c))
        return;
    document_table_begin(d);
    for (int i = 0; i < GROUP_COLUMNS; i++)
        document_table_column(d, group_titles[i]);
    cJSON_ArrayForEach(group, groups_of(c)) {
        document_table_row(d);
        for (int i = 0; i < GROUP_COLUMNS; i++)
            document_table_cell(d, group_cell(group, i, cell));
    }
    document_table_end(d);
    document_paragraph(d, spread_remark);
}

static const cJSON *run_of(const struct comparison *c, const char *id)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->runs[i].id, id) == 0)
            return c->runs[i].json;
    return NULL;
}

static const cJSON *group_of(const struct comparison *c, const char *id)
{
    const cJSON *group, *run;
    cJSON_ArrayForEach(group, groups_of(c))
        cJSON_ArrayForEach(run, cJSON_GetObjectItemCaseSensitive(group, "runs"))
            if (cJSON_IsString(run) && strcmp(run->valuestring, id) == 0)
                return group;
    return NULL;
}

/* What has no seed, an import, meets every run. */
static bool is_fair(const struct comparison *c, const char *a, const char *b)
{
    double seed_a = run_number(run_of(c, a), "seed"), seed_b = run_number(run_of(c, b), "seed");
    return group_of(c, a) != group_of(c, b) && (isnan(seed_a) || isnan(seed_b) || seed_a == seed_b);
}

struct sentences {
    const struct comparison *c;
    FILE *out;
    bool only_fair;
    int shown;
};

static void tell(struct sentences *s, const cJSON *pair, const char *a, const char *b, enum output_style style)
{
    if (s->shown == SENTENCES || (s->only_fair && !is_fair(s->c, a, b)))
        return;
    s->shown++;
    fputs(output_style(s->out, style), s->out);
    output_line(s->out, run_text(pair, "text"));
    fputs(output_style(s->out, STYLE_PLAIN), s->out);
}

void comparison_print_sentences(const struct comparison *c, FILE *out)
{
    const cJSON *arrows = cJSON_GetObjectItemCaseSensitive(c->json, "arrows"),
                *undecided = cJSON_GetObjectItemCaseSensitive(c->json, "undecided"), *item;
    const char *winner = c->winner >= 0 ? c->runs[c->winner].id : "";
    int pairs = cJSON_GetArraySize(arrows) + cJSON_GetArraySize(undecided);
    struct sentences s = {c, out, pairs > SENTENCES && has_seeds(c), 0};
    for (int pass = 0; pass < 2; pass++)
        cJSON_ArrayForEach(item, arrows) {
            bool of_winner = strcmp(run_text(item, "winner"), winner) == 0;
            if (of_winner == (pass == 0))
                tell(&s, item, run_text(item, "winner"), run_text(item, "loser"), of_winner ? STYLE_BOLD : STYLE_PLAIN);
        }
    cJSON_ArrayForEach(item, undecided)
        tell(&s, item, run_text(item, "a"), run_text(item, "b"), STYLE_PLAIN);
    if (s.shown < pairs)
        fprintf(out, "%sand %d more pairs%s (--json has all)%s\n", output_style(out, STYLE_DIM), pairs - s.shown,
                s.only_fair ? "; above are those of equal seeds" : "", output_style(out, STYLE_PLAIN));
}
