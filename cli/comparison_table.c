#include "cli/comparison_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/table.h"
#include "cli/document.h"
#include "cli/output.h"
#include "cli/run_view.h"

enum column {
    RUN,
    AT_BUDGET,
    PARAMS,
    TOKENS,
    EPOCHS,
    TRAIN,
    VAL,
    BEST_VAL,
    PERPLEXITY,
    BITS,
    WORD_PERPLEXITY,
    TOK_S,
    MFU,
    TIME,
    ENERGY,
    MEMORY,
    COLUMNS
};

static const struct {
    const char *title, *key;
    const char *(*format)(double value, char out[RUN_VIEW_SIZE]);
    bool where_known; /* left out where no run has it */
} columns[COLUMNS] = {
    [RUN] = {"run", NULL, NULL},
    [AT_BUDGET] = {NULL, NULL, run_format_loss},
    [PARAMS] = {"params", "params", run_format_count},
    [TOKENS] = {"tokens", "tokens", run_format_count},
    [EPOCHS] = {"epochs", "epochs", run_format_epoch},
    [TRAIN] = {"train", "train_loss", run_format_loss},
    [VAL] = {"val", "val_loss", run_format_loss},
    [BEST_VAL] = {"best val", "best_val_loss", run_format_loss},
    [PERPLEXITY] = {"perplexity", "perplexity", run_format_loss},
    [BITS] = {"bits/byte", "bits_per_byte", run_format_loss},
    [WORD_PERPLEXITY] = {"word perplexity", "word_perplexity", run_format_loss, true},
    [TOK_S] = {"tok/s", "tok_s", run_format_count},
    [MFU] = {"MFU", "mfu", run_format_percent, true},
    [TIME] = {"time", "seconds", run_format_seconds},
    [ENERGY] = {"energy", "energy_j", run_format_energy, true},
    [MEMORY] = {"peak memory", "peak_memory_bytes", run_format_bytes},
};

/* What is shown, and of which run a line is. */
struct view {
    const struct comparison *c;
    const struct comparison_budget *budget;
    const size_t *order; /* [c->count] */
};

static bool is_shown(const struct view *v, enum column column)
{
    if (column == AT_BUDGET)
        return v->budget;
    bool known = !columns[column].where_known;
    for (size_t r = 0; r < v->c->count && !known; r++)
        known = !isnan(run_number(v->c->runs[r].json, columns[column].key));
    return known;
}

static const char *title_of(const struct view *v, enum column column, char out[96])
{
    if (column == AT_BUDGET)
        snprintf(out, 96, "%s %s", v->c->on_validation ? "val" : "train", v->budget->text);
    else
        snprintf(out, 96, "%s", columns[column].title);
    return out;
}

static const char *cell_of(const struct view *v, enum column column, size_t run, char out[RUN_VIEW_SIZE])
{
    double value = column == AT_BUDGET ? v->budget->loss[run] : run_number(v->c->runs[run].json, columns[column].key);
    return columns[column].format(value, out);
}

/* The run and these columns, as plain text; the caller frees it. */
static char *table_text(const struct view *v, const enum column *chosen, size_t count)
{
    struct table *table = table_create();
    char title[96], cell[RUN_VIEW_SIZE];
    table_column(table, columns[RUN].title, TABLE_LEFT);
    for (size_t i = 0; i < count; i++)
        if (is_shown(v, chosen[i]))
            table_column(table, title_of(v, chosen[i], title), TABLE_RIGHT);
    for (size_t r = 0; r < v->c->count; r++) {
        table_cell(table, "%s", v->c->runs[v->order[r]].label);
        for (size_t i = 0; i < count; i++)
            if (is_shown(v, chosen[i]))
                table_cell(table, "%s", cell_of(v, chosen[i], v->order[r], cell));
    }
    char *text;
    size_t size;
    FILE *memory = open_memstream(&text, &size);
    if (!memory)
        abort();
    table_print(table, memory, false);
    if (fclose(memory) != 0)
        abort();
    table_destroy(table);
    return text;
}

/* The winner's line is bold; lines are counted from the header's, which is -1. */
static void print_styled(const struct view *v, const char *text)
{
    ptrdiff_t row = -1;
    for (const char *line = text; *line; row++) {
        const char *end = strchrnul(line, '\n');
        bool bold = row >= 0 && (ptrdiff_t)v->order[row] == v->c->winner && v->c->count > 1;
        printf("%s%.*s%s\n",
               output_style(stdout, bold      ? STYLE_BOLD
                                    : row < 0 ? STYLE_DIM
                                              : STYLE_PLAIN),
               (int)(end - line), line, output_style(stdout, STYLE_PLAIN));
        line = *end ? end + 1 : end;
    }
}

struct ranked {
    size_t index;
    double loss;
};

static int lower_first(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (isnan(x->loss) != isnan(y->loss))
        return isnan(x->loss) ? 1 : -1;
    if (x->loss != y->loss && !isnan(x->loss))
        return x->loss > y->loss ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

static double loss_of(const struct comparison *c, enum comparison_at at, const struct comparison_budget *budget,
                      size_t run)
{
    switch (at) {
    case COMPARISON_AT_BEST:
        return c->runs[run].best;
    case COMPARISON_AT_END:
        return run_number(c->runs[run].json, c->on_validation ? "val_loss" : "train_loss");
    case COMPARISON_AT_BUDGET:
        return budget->loss[run];
    case COMPARISON_AS_GIVEN:
        break;
    }
    return 0;
}

/* Caller frees. */
static size_t *find_order(const struct comparison *c, enum comparison_at at, const struct comparison_budget *budget)
{
    struct ranked *ranked = calloc(c->count + 1, sizeof *ranked);
    size_t *order = calloc(c->count + 1, sizeof *order);
    if (!ranked || !order)
        abort();
    for (size_t i = 0; i < c->count; i++)
        ranked[i] = (struct ranked){i, loss_of(c, at, budget, i)};
    qsort(ranked, c->count, sizeof *ranked, lower_first);
    for (size_t i = 0; i < c->count; i++)
        order[i] = ranked[i].index;
    free(ranked);
    return order;
}

static const enum column all[] = {AT_BUDGET, PARAMS,          TOKENS, EPOCHS, TRAIN, VAL,    BEST_VAL, PERPLEXITY,
                                  BITS,      WORD_PERPLEXITY, TOK_S,  MFU,    TIME,  ENERGY, MEMORY};
static const enum column learnt[] = {AT_BUDGET, TRAIN, VAL, BEST_VAL, PERPLEXITY, BITS, WORD_PERPLEXITY};
static const enum column narrow[] = {AT_BUDGET, BEST_VAL};
static const enum column cost[] = {PARAMS, TOKENS, EPOCHS, TOK_S, MFU, TIME, ENERGY, MEMORY};

static bool fits(const char *text)
{
    return !output_is_terminal(stdout) || strcspn(text, "\n") <= (size_t)output_width();
}

void comparison_print_table(const struct comparison *c, enum comparison_at at, const struct comparison_budget *budget)
{
    size_t *order = find_order(c, at, budget);
    struct view v = {c, budget, order};
    char *text = table_text(&v, all, sizeof all / sizeof *all);
    if (!fits(text)) {
        free(text);
        text = table_text(&v, learnt, sizeof learnt / sizeof *learnt);
        if (!fits(text) && output_width() < 60) {
            free(text);
            text = table_text(&v, narrow, sizeof narrow / sizeof *narrow);
        } else {
            print_styled(&v, text);
            putchar('\n');
            free(text);
            text = table_text(&v, cost, sizeof cost / sizeof *cost);
        }
    }
    print_styled(&v, text);
    free(text);
    free(order);
}

void comparison_document_table(const struct comparison *c, enum comparison_at at,
                               const struct comparison_budget *budget, struct document *d)
{
    size_t *order = find_order(c, at, budget), n = sizeof all / sizeof *all;
    struct view v = {c, budget, order};
    char title[96], cell[RUN_VIEW_SIZE];
    document_table_begin(d);
    document_table_column(d, columns[RUN].title);
    for (size_t i = 0; i < n; i++)
        if (is_shown(&v, all[i]))
            document_table_column(d, title_of(&v, all[i], title));
    for (size_t r = 0; r < c->count; r++) {
        document_table_row(d);
        document_table_cell(d, c->runs[order[r]].label);
        for (size_t i = 0; i < n; i++)
            if (is_shown(&v, all[i]))
                document_table_cell(d, cell_of(&v, all[i], order[r], cell));
    }
    document_table_end(d);
    free(order);
}
