/* verb_leaderboard.c: bakactl leaderboard: groups of seeds, the lowest mean first, and what is decided against the
 * first of them. The daemon groups and decides (GET /v1/compare). */
#include "cli/verb.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "base/table.h"
#include "cli/client.h"
#include "cli/output.h"
#include "cli/reference.h"
#include "cli/run_view.h"

static const struct {
    const char *word, *key, *title;
} orders[] = {
    {"best", "best_val_loss", "best val"},
    {"end", "val_loss", "val"},
    {"train", "train_loss", "train"},
    {"speed", "tok_s", "tok/s"},
};

enum { BY_BEST, BY_END, BY_TRAIN, BY_SPEED, ORDERS };

struct row {
    const cJSON *group, *decision; /* decision: between this one and the first; NULL: none */
    double mean, sd;
    size_t index; /* in the daemon's answer */
    int rank;     /* 0: no value */
};

struct board {
    struct row *rows;
    size_t count;
    int by;
};

static int fetch(struct cli *cli, cJSON **out, struct err *err)
{
    struct client *client;
    int rc = cli_client(cli, &client, err);
    return rc ? rc : reference_compare(client, cli->args.positional, cli->args.positional_count, out, err);
}

/* Larger is better of a speed alone; what has no value comes last, and equal ones in the order of their runs. */
static int compare_rows(const struct row *x, const struct row *y, bool falling)
{
    if (isnan(x->mean) || isnan(y->mean))
        return isnan(x->mean) - isnan(y->mean);
    if (x->mean == y->mean)
        return 0;
    return (x->mean > y->mean) != falling ? 1 : -1;
}

static int in_order(const void *a, const void *b, bool falling)
{
    const struct row *x = a, *y = b;
    int order = compare_rows(x, y, falling);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

static int lower_first(const void *a, const void *b)
{
    return in_order(a, b, false);
}

static int higher_first(const void *a, const void *b)
{
    return in_order(a, b, true);
}

static const cJSON *find_decision(const cJSON *answer, const char *a, const char *b)
{
    const cJSON *d;
    cJSON_ArrayForEach(d, cJSON_GetObjectItemCaseSensitive(answer, "decisions")) {
        const char *first = run_text(d, "a"), *second = run_text(d, "b");
        if ((strcmp(first, a) == 0 && strcmp(second, b) == 0) || (strcmp(first, b) == 0 && strcmp(second, a) == 0))
            return d;
    }
    return NULL;
}

static bool has_any(const cJSON *groups, const char *key)
{
    const cJSON *group;
    cJSON_ArrayForEach(group, groups)
        if (!isnan(run_number(cJSON_GetObjectItemCaseSensitive(group, key), "mean")))
            return true;
    return false;
}

static void board_init(struct board *b, const cJSON *answer, int by)
{
    const cJSON *groups = cJSON_GetObjectItemCaseSensitive(answer, "groups"), *group;
    /* runs without validation have a training loss all the same */
    if (by < 0)
        by = has_any(groups, orders[BY_BEST].key) ? BY_BEST : BY_TRAIN;
    *b = (struct board){.rows = calloc((size_t)cJSON_GetArraySize(groups) + 1, sizeof *b->rows), .by = by};
    if (!b->rows)
        abort();
    cJSON_ArrayForEach(group, groups) {
        const cJSON *stat = cJSON_GetObjectItemCaseSensitive(group, orders[by].key);
        b->rows[b->count] = (struct row){group, NULL, run_number(stat, "mean"), run_number(stat, "sd"), b->count, 0};
        b->count++;
    }
    qsort(b->rows, b->count, sizeof *b->rows, by == BY_SPEED ? higher_first : lower_first);
    for (size_t i = 0; i < b->count; i++) {
        struct row *r = &b->rows[i];
        bool tied = i > 0 && r->mean == r[-1].mean;
        r->rank = isnan(r->mean) ? 0 : tied ? r[-1].rank : (int)i + 1;
        if (i > 0 && by != BY_SPEED)
            r->decision = find_decision(answer, run_text(b->rows[0].group, "name"), run_text(r->group, "name"));
    }
}

/* What may be said of this row against the first. */
static const char *standing(const struct row *r, const struct row *first, char out[RUN_VIEW_SIZE])
{
    const char *verdict = run_text(r->decision, "verdict");
    double p = run_number(r->decision, "p_holm");
    if (strcmp(verdict, "lower") == 0) {
        bool first_is = strcmp(run_text(r->decision, "a"), run_text(first->group, "name")) == 0;
        snprintf(out, RUN_VIEW_SIZE, p < 0.0005 ? "%s (p < 0.001)" : "%s (p = %.3f)",
                 first_is ? "higher" : "lower at the end", p);
    } else if (strcmp(verdict, "not_distinguishable") == 0) {
        double needed = run_number(r->decision, "seeds_needed");
        if (needed > 0 && needed <= 1000)
            snprintf(out, RUN_VIEW_SIZE, "not distinguishable (%.0f seeds may)", needed);
        else
            snprintf(out, RUN_VIEW_SIZE, "not distinguishable");
    } else {
        snprintf(out, RUN_VIEW_SIZE, "%s",
                 strcmp(verdict, "too_few_seeds") == 0 ? "too few seeds"
                 : strcmp(verdict, "not_yet") == 0     ? "not yet"
                                                       : "-");
    }
    return out;
}

static void print_board(const struct board *b)
{
    struct table *table = table_create();
    bool losses = b->by != BY_SPEED;
    table_column(table, "#", TABLE_RIGHT);
    table_column(table, "group", TABLE_LEFT);
    table_column(table, "seeds", TABLE_RIGHT);
    table_column(table, orders[b->by].title, TABLE_RIGHT);
    if (losses) {
        table_column(table, "behind", TABLE_RIGHT);
        table_column(table, "against the first", TABLE_LEFT);
    }
    for (size_t i = 0; i < b->count; i++) {
        const struct row *r = &b->rows[i];
        char mean[RUN_VIEW_SIZE], sd[RUN_VIEW_SIZE], text[RUN_VIEW_SIZE];
        const char *(*format)(double, char *) = losses ? run_format_loss : run_format_count;
        if (r->rank)
            table_cell(table, "%d", r->rank);
        else
            table_cell(table, "-");
        table_cell(table, "%s", run_text(r->group, "name"));
        table_cell(table, "%.0f", run_number(r->group, "seeds"));
        format(r->mean, mean);
        if (isnan(r->sd))
            table_cell(table, "%s", mean);
        else
            table_cell(table, "%s \u00b1 %s", mean, format(r->sd, sd));
        if (losses) {
            table_cell(table, "%s", i ? run_format_loss(r->mean - b->rows[0].mean, text) : "");
            table_cell(table, "%s", i ? standing(r, &b->rows[0], text) : "");
        }
    }
    table_print(table, stdout, output_has_colour(stdout));
    table_destroy(table);
}

static void print_remarks(const cJSON *answer)
{
    const cJSON *noise = cJSON_GetObjectItemCaseSensitive(answer, "noise"), *note;
    double sd = run_number(noise, "sd");
    char text[160];
    fputs(output_style(stdout, STYLE_DIM), stdout);
    if (isnan(sd))
        output_line(stdout, "no group has several seeds: these ranks may be luck");
    else {
        snprintf(text, sizeof text,
                 "a run's final loss varies by %.2g (standard deviation) between seeds, pooled over %.0f groups", sd,
                 run_number(noise, "groups"));
        output_line(stdout, text);
    }
    cJSON_ArrayForEach(note, cJSON_GetObjectItemCaseSensitive(answer, "notes"))
        if (cJSON_IsString(note) && strncmp(note->valuestring, "unequal", 7) == 0)
            output_line(stdout, note->valuestring);
    fputs(output_style(stdout, STYLE_PLAIN), stdout);
}

static void print_json(const struct board *b, const cJSON *answer)
{
    cJSON *out = cJSON_CreateObject(), *rows = cJSON_AddArrayToObject(out, "rows");
    if (!out || !rows || !cJSON_AddStringToObject(out, "metric", orders[b->by].key))
        abort();
    for (size_t i = 0; i < b->count; i++) {
        const struct row *r = &b->rows[i];
        cJSON *row = cJSON_CreateObject();
        if (!row || !cJSON_AddItemToArray(rows, row))
            abort();
        if (r->rank)
            json_add_double(row, "rank", r->rank);
        else
            cJSON_AddNullToObject(row, "rank");
        cJSON_AddItemToObject(row, "group", cJSON_Duplicate(r->group, true));
        cJSON_AddItemToObject(row, "against_first",
                              r->decision ? cJSON_Duplicate(r->decision, true) : cJSON_CreateNull());
    }
    cJSON_AddItemToObject(out, "noise", cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(answer, "noise"), true));
    output_json(stdout, out);
    cJSON_Delete(out);
}

static int run(struct cli *cli)
{
    const char *word = args_value(&cli->args, "--by");
    int by = -1;
    for (int i = 0; word && i < ORDERS; i++)
        if (strcmp(word, orders[i].word) == 0)
            by = i;
    if (word && by < 0)
        return cli_usage(cli, "--by %s: one of best, end, train or speed is needed", word);
    struct err err = {0};
    cJSON *answer = NULL;
    if (fetch(cli, &answer, &err))
        return cli_fail(cli, &err);
    struct board board;
    board_init(&board, answer, by);
    if (cli->json) {
        print_json(&board, answer);
    } else {
        print_board(&board);
        if (board.by != BY_SPEED)
            print_remarks(answer);
    }
    free(board.rows);
    cJSON_Delete(answer);
    return CLI_DONE;
}

static const struct args_option options[] = {
    {"--by", 0, "WHAT", "best (default), end, train or speed", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_leaderboard = {
    .name = "leaderboard",
    .path = "leaderboard",
    .arguments = "RUN|TAG... [--by WHAT] [--json]",
    .summary = "groups of seeds by rank, and which ranks are more than luck",
    .help = "Runs that differ in nothing but their seed are one line: the mean of their best\n"
            "validation losses (or, with --by, of their last ones, of the training losses over\n"
            "the last 1/20 epoch, of the speeds) and its standard deviation over the seeds.\n"
            "\n"
            "`against the first` is what `bakactl compare` decides between a group and the\n"
            "first one: higher, with its p value; not distinguishable, and how many seeds\n"
            "would settle it; too few seeds (below three) or not yet, while runs go on. It is\n"
            "about the losses at the end of the shorter run, whatever the order here is by.\n"
            "\n" REFERENCE_HELP "\n"
            "Examples:\n"
            "  bakactl leaderboard study\n"
            "  bakactl leaderboard study --by speed\n"
            "  bakactl leaderboard study --json | jq -r '.rows[0].group.name'\n",
    .options = options,
    .min_positional = 1,
    .max_positional = -1,
    .positional_is = "run's id, name or tag",
    .run = run,
};
