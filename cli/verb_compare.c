/* verb_compare.c: bakactl compare: the table, the curves, the arrows. The daemon decides; this shows. */
#include "cli/verb.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/table.h"
#include "cli/chart.h"
#include "cli/client.h"
#include "cli/comparison.h"
#include "cli/comparison_decisions.h"
#include "cli/comparison_summary.h"
#include "cli/job_view.h"
#include "cli/output.h"
#include "cli/reference.h"
#include "cli/run_view.h"
#include "cli/svg.h"

enum { CHART_RUNS = 9, CHART_ARROWS = 1, CHART_HEIGHT = 15, SVG_RUNS = 24, SVG_ARROWS = 3, SVG_TRAIN = 3 };

static int fetch(struct cli *cli, cJSON **out, struct err *err)
{
    struct client *client;
    int64_t at_tokens = 0;
    int rc = args_int64(&cli->args, "--decide-at", 1, INT64_MAX, &at_tokens, err);
    if (rc == 0)
        rc = cli_client(cli, &client, err);
    if (rc)
        return rc;
    struct client_url url;
    client_url_start(&url, "/v1/compare");
    for (int i = 0; i < cli->args.positional_count; i++)
        client_url_param(&url, "ref", "%s", cli->args.positional[i]);
    if (at_tokens)
        client_url_param(&url, "at_tokens", "%lld", (long long)at_tokens);
    rc = client_get(client, client_url_text(&url), out, err);
    client_url_finish(&url);
    for (int i = 0; i < cli->args.positional_count && rc == 0; i++)
        reference_note(client, cli->args.positional[i], cJSON_GetObjectItemCaseSensitive(*out, "runs"));
    return rc;
}

enum column {
    RUN,
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

static bool is_shown(const struct comparison *c, enum column column)
{
    bool known = !columns[column].where_known;
    for (size_t r = 0; r < c->count && !known; r++)
        known = !isnan(run_number(c->runs[r].json, columns[column].key));
    return known;
}

/* The run and these columns, as plain text; the caller frees it. */
static char *table_text(const struct comparison *c, const enum column *chosen, size_t count)
{
    struct table *table = table_create();
    table_column(table, columns[RUN].title, TABLE_LEFT);
    for (size_t i = 0; i < count; i++)
        if (is_shown(c, chosen[i]))
            table_column(table, columns[chosen[i]].title, TABLE_RIGHT);
    for (size_t r = 0; r < c->count; r++) {
        table_cell(table, "%s", c->runs[r].label);
        for (size_t i = 0; i < count; i++) {
            char text[RUN_VIEW_SIZE];
            if (!is_shown(c, chosen[i]))
                continue;
            double value = run_number(c->runs[r].json, columns[chosen[i]].key);
            table_cell(table, "%s", columns[chosen[i]].format(value, text));
        }
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
static void print_styled(const struct comparison *c, const char *text)
{
    ptrdiff_t row = -1;
    for (const char *line = text; *line; row++) {
        const char *end = strchrnul(line, '\n');
        bool bold = row >= 0 && row == c->winner && c->count > 1;
        printf("%s%.*s%s\n",
               output_style(stdout, bold      ? STYLE_BOLD
                                    : row < 0 ? STYLE_DIM
                                              : STYLE_PLAIN),
               (int)(end - line), line, output_style(stdout, STYLE_PLAIN));
        line = *end ? end + 1 : end;
    }
}

/* Two tables, what was learnt and what it cost, where one does not fit the terminal. */
static void print_table(const struct comparison *c)
{
    static const enum column all[] = {PARAMS, TOKENS,          EPOCHS, TRAIN, VAL,  BEST_VAL, PERPLEXITY,
                                      BITS,   WORD_PERPLEXITY, TOK_S,  MFU,   TIME, ENERGY,   MEMORY};
    static const enum column learnt[] = {TRAIN, VAL, BEST_VAL, PERPLEXITY, BITS, WORD_PERPLEXITY};
    static const enum column cost[] = {PARAMS, TOKENS, EPOCHS, TOK_S, MFU, TIME, ENERGY, MEMORY};
    char *text = table_text(c, all, sizeof all / sizeof *all);
    if (output_is_terminal(stdout) && strcspn(text, "\n") > (size_t)output_width()) {
        free(text);
        text = table_text(c, learnt, sizeof learnt / sizeof *learnt);
        print_styled(c, text);
        putchar('\n');
        free(text);
        text = table_text(c, cost, sizeof cost / sizeof *cost);
    }
    print_styled(c, text);
    free(text);
}

static void print_chart(const struct comparison *c)
{
    struct comparison_plot plot;
    comparison_plot_init(c, &(struct comparison_choice){.max_runs = CHART_RUNS, .max_arrows = CHART_ARROWS}, &plot);
    int width = output_width();
    chart_print(stdout, &plot.plot,
                &(struct chart_options){width > 140 ? 140 : width, CHART_HEIGHT, output_has_colour(stdout)});
    if (plot.left_out)
        printf("%sthe %d lowest are drawn, %zu more are in the table%s\n", output_style(stdout, STYLE_DIM), CHART_RUNS,
               plot.left_out, output_style(stdout, STYLE_PLAIN));
    comparison_plot_finish(&plot);
}

static const char *label_of(const struct comparison *c, const char *id)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->runs[i].id, id) == 0)
            return c->runs[i].label;
    return id;
}

static void print_crosses(const struct comparison *c)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(c->json, "crosses")) {
        char epoch[RUN_VIEW_SIZE], *text;
        const char *below = run_text(item, "below"), *a = run_text(item, "a");
        if (asprintf(&text, "the curves of %s and %s cross last at epoch %s; %s is below from there", label_of(c, a),
                     label_of(c, run_text(item, "b")), run_format_epoch(run_number(item, "epoch"), epoch),
                     label_of(c, below)) < 0)
            abort();
        output_line(stdout, text);
        free(text);
    }
}

static void print_asides(const struct comparison *c)
{
    const cJSON *item;
    fputs(output_style(stdout, STYLE_DIM), stdout);
    if (c->count <= 4)
        print_crosses(c);
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(c->json, "notes")) {
        char *text;
        if (!cJSON_IsString(item))
            continue;
        if (asprintf(&text, "note: %s", item->valuestring) < 0)
            abort();
        output_line(stdout, text);
        free(text);
    }
    fputs(output_style(stdout, STYLE_PLAIN), stdout);
}

static int write_svg(const struct comparison *c, const char *path, struct err *err)
{
    struct comparison_plot plot;
    size_t size;
    char *text;
    FILE *memory = open_memstream(&text, &size);
    if (!memory)
        abort();
    comparison_plot_init(c, &(struct comparison_choice){SVG_RUNS, SVG_ARROWS, SVG_TRAIN, true}, &plot);
    svg_print(memory, &plot.plot);
    comparison_plot_finish(&plot);
    if (fclose(memory) != 0)
        abort();
    int rc = 0;
    if (strcmp(path, "-") == 0)
        fwrite(text, 1, size, stdout);
    else
        rc = file_write_atomic(path, text, size, 0644, err);
    free(text);
    return rc;
}

/* By jobs, on data sets and windows of their own: never part of an arrow. */
static void print_evaluations(const struct comparison *c)
{
    const cJSON **runs = calloc(c->count + 1, sizeof *runs);
    if (!runs)
        abort();
    for (size_t i = 0; i < c->count; i++)
        runs[i] = c->runs[i].json;
    job_view_print_evaluations(runs, (int)c->count);
    free(runs);
}

static void print_all(const struct comparison *c)
{
    print_table(c);
    comparison_print_groups(c, stdout);
    print_evaluations(c);
    putchar('\n');
    print_chart(c);
    putchar('\n');
    comparison_print_sentences(c, stdout);
    comparison_print_decisions(c, stdout);
    print_asides(c);
    comparison_print_differs(c, stdout);
}

static int run(struct cli *cli)
{
    bool csv = args_flag(&cli->args, "--csv");
    const char *svg = args_value(&cli->args, "--svg");
    bool svg_to_stdout = svg && strcmp(svg, "-") == 0;
    if (svg && !*svg)
        return cli_usage(cli, "--svg is empty: the path of a file is needed, or -");
    if (csv + cli->json + svg_to_stdout > 1)
        return cli_usage(cli, "--csv, --json and --svg - all want standard output: one at a time");
    struct err err = {0};
    cJSON *answer = NULL;
    if (fetch(cli, &answer, &err))
        return cli_fail(cli, &err);
    const cJSON *compared;
    cJSON_ArrayForEach(compared, cJSON_GetObjectItemCaseSensitive(answer, "runs"))
        run_warn_missing(compared);
    struct comparison c;
    comparison_init(&c, answer);
    int rc = svg ? write_svg(&c, svg, &err) : 0;
    if (!rc && cli->json)
        output_json(stdout, answer);
    else if (!rc && csv)
        comparison_print_csv(&c, stdout);
    else if (!rc && !svg_to_stdout)
        print_all(&c);
    if (!rc && svg && !svg_to_stdout)
        fprintf(csv || cli->json ? stderr : stdout, "curves drawn to %s\n", svg);
    comparison_finish(&c);
    cJSON_Delete(answer);
    return rc ? cli_fail(cli, &err) : CLI_DONE;
}

static const struct args_option options[] = {
    {"--svg", 0, "FILE", "draw the curves into an SVG file (\"-\": standard output)", false},
    {"--csv", 0, NULL, "the curves: run,name,step,epoch,tokens,metric,value", false},
    {"--decide-at", 0, "TOKENS", "where to decide (default: the end of the shorter run)", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_compare = {
    .name = "compare",
    .path = "compare",
    .arguments = "RUN|TAG... [--svg FILE] [--csv|--json]",
    .summary = "runs side by side: who won, and when",
    .help = "A table, the curves, and for each pair the arrow: the first evaluation of the\n"
            "winner from which all its later ones are below the loser's best, and how many\n"
            "times fewer tokens that took than the loser took to its best. Curves are\n"
            "validation losses, or, where a run has none, training losses as means over\n"
            "1/20 epoch. The pictures show the arrows of the lowest run that passes another\n"
            "one, over those next to it: one in the terminal, at most three in the SVG,\n"
            "where up to three runs have their training curves too. A last crossing of the\n"
            "curves is told beside it; it is another thing.\n"
            "\n"
            "Runs that differ in nothing but their seed are a group: a line each under the\n"
            "table has the mean and the standard deviation (over n - 1) of their validation\n"
            "losses, and their mean speed. Each seed counts once. With groups and more than\n"
            "12 pairs, the pairs told are those of equal seeds.\n"
            "\n"
            "Whether one group is lower than another is decided by the differences of equal\n"
            "seeds at one point, the end of the shorter run or --decide-at: a paired t test\n"
            "at 5 %, two-sided, with Holm's correction over the pairs shown. Fewer than\n"
            "three seeds decide nothing, nor does a point that a run has yet to reach. Fix\n"
            "the point before you look. A mean that is lower by chance is called what it\n"
            "is: not distinguishable, with the number of seeds that would settle it.\n"
            "\n"
            "Perplexities are of the newest validation. `word perplexity` is exp(nats a word)\n"
            "and the same scale for all tokenizers; words are what white space separates, a\n"
            "line's end is none. Left out where no run's data set knows its words.\n"
            "\n"
            "`peak memory` is the machine's: the most that the worker's process had resident,\n"
            "program and libraries included, of all attempts; known when one has ended. What\n"
            "a run takes of a GPU is not in it; `baka-worker --plan` tells that.\n"
            "\n"
            "With --json: {\"runs\",\"arrows\",\"crosses\",\"undecided\",\"groups\",\"decisions\",\n"
            "\"noise\",\"differs\",\"notes\"}, see docs/architecture.md.\n"
            "\n" REFERENCE_HELP "\n"
            "Examples:\n"
            "  bakactl compare elephant swiglu\n"
            "  bakactl compare ffn --svg ffn.svg\n"
            "  bakactl compare b00001 b00002 --json | jq '.arrows[]'\n"
            "  bakactl compare study --decide-at 3000000\n"
            "  bakactl compare study --json | jq '.groups[] | {name, best_val_loss}'\n",
    .options = options,
    .min_positional = 1,
    .max_positional = -1,
    .positional_is = "run's id, name or tag",
    .run = run,
};
