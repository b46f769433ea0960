/* verb_compare.c: bakactl compare: the table, the curves, the arrows. The daemon decides; this shows. */
#include "cli/verb.h"

#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "cli/chart.h"
#include "cli/client.h"
#include "cli/comparison.h"
#include "cli/comparison_axis.h"
#include "cli/comparison_decisions.h"
#include "cli/comparison_summary.h"
#include "cli/comparison_table.h"
#include "cli/job_view.h"
#include "cli/output.h"
#include "cli/reference.h"
#include "cli/run_view.h"
#include "cli/study.h"
#include "cli/svg.h"

enum { CHART_RUNS = 9, CHART_ARROWS = 1, CHART_HEIGHT = 15, SVG_RUNS = 24, SVG_ARROWS = 3, SVG_TRAIN = 3 };

/* What the command line asks for. */
struct wanted {
    enum comparison_axis x, budget;
    enum comparison_at at;
    enum comparison_metric metric;
    enum plot_scale x_scale, y_scale;
    const char *smooth; /* NULL: not */
};

static int fetch(struct cli *cli, const struct wanted *wanted, cJSON **out, struct err *err)
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
    if (wanted->smooth)
        client_url_param(&url, "smooth", "%s", wanted->smooth);
    if (comparison_axis_needs_time(wanted->x) ||
        (wanted->at == COMPARISON_AT_BUDGET && comparison_axis_needs_time(wanted->budget)))
        client_url_param(&url, "time", "1");
    if (at_tokens)
        client_url_param(&url, "at_tokens", "%lld", (long long)at_tokens);
    rc = client_get(client, client_url_text(&url), out, err);
    client_url_finish(&url);
    for (int i = 0; i < cli->args.positional_count && rc == 0; i++)
        reference_note(client, cli->args.positional[i], cJSON_GetObjectItemCaseSensitive(*out, "runs"));
    return rc;
}

/* One line names the first few; a run that is drawn over nothing would be missed. */
static void print_undrawn(const struct comparison *c)
{
    const char *first = NULL;
    size_t count = 0;
    for (size_t i = 0; i < c->count; i++)
        if (!comparison_has_axis(c, &c->runs[i])) {
            first = first ? first : c->runs[i].label;
            count++;
        }
    if (count == 1)
        printf("%s does not know its %s and is not drawn\n", first, comparison_axis_word(c->axis));
    else if (count)
        printf("%s and %zu more do not know their %s and are not drawn\n", first, count - 1,
               comparison_axis_word(c->axis));
}

static void print_chart(const struct comparison *c, const struct wanted *wanted)
{
    struct comparison_plot plot;
    const struct comparison_choice choice = {
        .max_runs = CHART_RUNS, .max_arrows = CHART_ARROWS, .x_scale = wanted->x_scale, .y_scale = wanted->y_scale};
    comparison_plot_init(c, &choice, &plot);
    int width = output_width();
    chart_print(stdout, &plot.plot,
                &(struct chart_options){width > 140 ? 140 : width, CHART_HEIGHT, output_has_colour(stdout)});
    if (plot.left_out)
        printf("%sthe %d lowest are drawn, %zu more are in the table%s\n", output_style(stdout, STYLE_DIM), CHART_RUNS,
               plot.left_out, output_style(stdout, STYLE_PLAIN));
    comparison_plot_finish(&plot);
    print_undrawn(c);
}

static void print_crosses(const struct comparison *c)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(c->json, "crosses")) {
        char *text = comparison_cross_text(c, item);
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

static int write_svg(const struct comparison *c, const struct wanted *wanted, const char *path, struct err *err)
{
    struct comparison_plot plot;
    size_t size;
    char *text;
    FILE *memory = open_memstream(&text, &size);
    if (!memory)
        abort();
    const struct comparison_choice choice = {SVG_RUNS, SVG_ARROWS, SVG_TRAIN, wanted->x_scale, wanted->y_scale, true};
    comparison_plot_init(c, &choice, &plot);
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

static void print_all(const struct comparison *c, const struct wanted *wanted, const struct comparison_budget *budget)
{
    comparison_print_table(c, wanted->at, budget);
    comparison_print_groups(c, stdout);
    print_evaluations(c);
    putchar('\n');
    print_chart(c, wanted);
    putchar('\n');
    comparison_print_sentences(c, stdout);
    comparison_print_decisions(c, stdout);
    print_asides(c);
    comparison_print_differs(c, stdout);
}

static int read_at(struct cli *cli, struct wanted *out)
{
    const char *at = args_value(&cli->args, "--at");
    if (!at)
        return CLI_DONE;
    if (strcmp(at, "best") == 0)
        out->at = COMPARISON_AT_BEST;
    else if (strcmp(at, "end") == 0)
        out->at = COMPARISON_AT_END;
    else if (comparison_axis_parse(at, &out->budget))
        out->at = COMPARISON_AT_BUDGET;
    else
        return cli_usage(cli, "--at %s: best, end, or an equal amount of " COMPARISON_AXES " is needed", at);
    return CLI_DONE;
}

static int read_wanted(struct cli *cli, struct wanted *out)
{
    static const struct {
        const char *word;
        enum plot_scale x, y;
    } scales[] = {{"x", PLOT_LOG, PLOT_AUTO},
                  {"y", PLOT_AUTO, PLOT_LOG},
                  {"xy", PLOT_LOG, PLOT_LOG},
                  {"none", PLOT_LINEAR, PLOT_LINEAR}};
    const char *x = args_value(&cli->args, "--x"), *metric = args_value(&cli->args, "--metric"),
               *log = args_value(&cli->args, "--log");
    *out = (struct wanted){.x = COMPARISON_EPOCH, .smooth = args_value(&cli->args, "--smooth")};
    if (x && !comparison_axis_parse(x, &out->x))
        return cli_usage(cli, "--x %s: one of " COMPARISON_AXES " is needed", x);
    if (metric && strcmp(metric, "train") != 0 && strcmp(metric, "val") != 0)
        return cli_usage(cli, "--metric %s: train or val is needed", metric);
    if (out->smooth && metric && strcmp(metric, "val") == 0)
        return cli_usage(cli, "--smooth is for training losses: --metric val does not go with it");
    if (metric || out->smooth)
        out->metric = metric && strcmp(metric, "val") == 0 ? COMPARISON_VAL : COMPARISON_TRAIN;
    size_t i = 0;
    while (log && i < sizeof scales / sizeof *scales && strcmp(log, scales[i].word) != 0)
        i++;
    if (log && i == sizeof scales / sizeof *scales)
        return cli_usage(cli, "--log %s: one of x, y, xy or none is needed", log);
    if (log) {
        out->x_scale = scales[i].x;
        out->y_scale = scales[i].y;
    }
    return read_at(cli, out);
}

static bool any_has_axis(const struct comparison *c)
{
    bool known = c->count == 0;
    for (size_t i = 0; i < c->count && !known; i++)
        known = comparison_has_axis(c, &c->runs[i]);
    return known;
}

/* Where the comparison goes besides the terminal; NULL: nowhere. */
struct files {
    const char *svg, *md, *html;
};

static int save(const struct comparison *c, const struct wanted *wanted, const struct comparison_budget *budget,
                const struct files *files, struct err *err)
{
    const struct study study = {
        .at = wanted->at, .budget = budget, .x_scale = wanted->x_scale, .y_scale = wanted->y_scale};
    int rc = files->svg ? write_svg(c, wanted, files->svg, err) : 0;
    if (rc == 0 && files->md)
        rc = study_save(c, &study, files->md, false, err);
    if (rc == 0 && files->html)
        rc = study_save(c, &study, files->html, true, err);
    return rc;
}

static void tell_files(const struct files *files, FILE *out)
{
    if (files->svg)
        fprintf(out, "curves drawn to %s\n", files->svg);
    if (files->md)
        fprintf(out, "written to %s, its picture beside it\n", files->md);
    if (files->html)
        fprintf(out, "written to %s\n", files->html);
}

static int show(const struct comparison *c, const struct wanted *wanted, bool print, const struct files *files,
                struct err *err)
{
    struct comparison_budget budget;
    bool with_budget = wanted->at == COMPARISON_AT_BUDGET;
    if (with_budget && !comparison_budget_init(&budget, c, wanted->budget)) {
        comparison_budget_finish(&budget);
        return err_set(err, ERR_INVALID, "--at %s: none of these runs knows its %s",
                       comparison_axis_word(wanted->budget), comparison_axis_word(wanted->budget));
    }
    int rc = save(c, wanted, with_budget ? &budget : NULL, files, err);
    if (rc == 0 && print)
        print_all(c, wanted, with_budget ? &budget : NULL);
    if (with_budget)
        comparison_budget_finish(&budget);
    return rc;
}

static bool is_stdout(const char *path)
{
    return path && strcmp(path, "-") == 0;
}

static int run(struct cli *cli)
{
    bool csv = args_flag(&cli->args, "--csv");
    const struct files files = {args_value(&cli->args, "--svg"), args_value(&cli->args, "--md"),
                                args_value(&cli->args, "--html")};
    bool file_to_stdout = is_stdout(files.svg) || is_stdout(files.md) || is_stdout(files.html);
    struct wanted wanted;
    for (int i = 0; i < 3; i++) {
        const char *path = (const char *const[]){files.svg, files.md, files.html}[i];
        if (path && !*path)
            return cli_usage(cli, "--%s is empty: the path of a file is needed, or -",
                             (const char *const[]){"svg", "md", "html"}[i]);
    }
    if (csv + cli->json + is_stdout(files.svg) + is_stdout(files.md) + is_stdout(files.html) > 1)
        return cli_usage(cli, "--csv, --json and --svg - (--md -, --html -) all want standard output: one at a time");
    if (read_wanted(cli, &wanted))
        return CLI_USAGE;
    struct err err = {0};
    cJSON *answer = NULL;
    if (fetch(cli, &wanted, &answer, &err))
        return cli_fail(cli, &err);
    const cJSON *compared;
    cJSON_ArrayForEach(compared, cJSON_GetObjectItemCaseSensitive(answer, "runs"))
        run_warn_missing(compared);
    struct comparison c;
    comparison_init(&c, answer, wanted.metric);
    comparison_use_axis(&c, wanted.x);
    int rc = 0;
    if (!any_has_axis(&c))
        rc = err_set(&err, ERR_INVALID, "--x %s: none of these runs knows its %s", comparison_axis_word(wanted.x),
                     comparison_axis_word(wanted.x));
    if (!rc)
        rc = show(&c, &wanted, !cli->json && !csv && !file_to_stdout, &files, &err);
    if (!rc && cli->json)
        output_json(stdout, answer);
    else if (!rc && csv)
        comparison_print_csv(&c, stdout);
    if (!rc && !file_to_stdout)
        tell_files(&files, csv || cli->json ? stderr : stdout);
    comparison_finish(&c);
    cJSON_Delete(answer);
    return rc ? cli_fail(cli, &err) : CLI_DONE;
}

static const struct args_option options[] = {
    {"--svg", 0, "FILE", "draw the curves into an SVG file (\"-\": standard output)", false},
    {"--md", 0, "FILE", "the comparison as Markdown, its picture beside it", false},
    {"--html", 0, "FILE", "the comparison as one HTML file that needs nothing else", false},
    {"--csv", 0, NULL, "the curves: run,name,step,epoch,tokens,metric,value", false},
    {"--x", 0, "AXIS", "draw over " COMPARISON_AXES " (default: epoch)", false},
    {"--metric", 0, "WHAT", "draw train or val (default: val where every run has it)", false},
    {"--smooth", 0, "HOW", "training losses smoothed by ema:B or window:N, raw ones behind them", false},
    {"--log", 0, "AXES", "logarithmic x, y, xy, or none (default: y where it spans a lot)", false},
    {"--at", 0, "WHERE", "order by the loss at best, end, or at an equal amount of an axis", false},
    {"--decide-at", 0, "TOKENS", "where to decide (default: the end of the shorter run)", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_compare = {
    .name = "compare",
    .path = "compare",
    .arguments = "RUN|TAG... [--x AXIS] [--at WHERE] [--smooth HOW] [--svg FILE] [--csv|--json]",
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
            "--at tokens, time, flops and so on adds a column: the loss at as much of it as\n"
            "the run with the least has. time is that of the steps alone, each counted once;\n"
            "it says as much of the machine and its other work as of the run. gpu-time is\n"
            "that times resources.gpus, flops is flops_per_token times tokens, energy is what\n"
            "the GPU's counter says. Unequal sizes, tokens and FLOPs are told in a note.\n"
            "\n"
            "--smooth ema:B is an exponential mean without its pull to zero at the start,\n"
            "window:N the mean of the last N steps; both over all steps that were recorded. It\n"
            "changes the picture only. A loss that is not finite is a gap.\n"
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
            "  bakactl compare ffn --svg ffn.svg --html ffn.html\n"
            "  bakactl compare b00001 b00002 --json | jq '.arrows[]'\n"
            "  bakactl compare study --x time --at flops\n"
            "  bakactl compare elephant swiglu --smooth ema:0.98 --log x\n"
            "  bakactl compare study --decide-at 3000000\n"
            "  bakactl compare study --json | jq '.groups[] | {name, best_val_loss}'\n",
    .options = options,
    .min_positional = 1,
    .max_positional = -1,
    .positional_is = "run's id, name or tag",
    .run = run,
};
