/* verb_compare.c: bakactl compare: the table, the curves, the arrows. The daemon decides; this shows. */
#include "cli/verb.h"

#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/table.h"
#include "cli/chart.h"
#include "cli/client.h"
#include "cli/comparison.h"
#include "cli/output.h"
#include "cli/run_view.h"
#include "cli/svg.h"

enum { CHART_RUNS = 9, CHART_ARROWS = 1, CHART_HEIGHT = 15, SVG_RUNS = 24, SVG_ARROWS = 2, SENTENCES = 12 };

static int fetch(struct cli *cli, cJSON **out, struct err *err)
{
    struct client *client;
    int rc = cli_client(cli, &client, err);
    if (rc)
        return rc;
    struct client_url url;
    client_url_start(&url, "/v1/compare");
    for (int i = 0; i < cli->args.positional_count; i++)
        client_url_param(&url, "ref", "%s", cli->args.positional[i]);
    rc = client_get(client, client_url_text(&url), out, err);
    client_url_finish(&url);
    return rc;
}

static void add_row(struct table *table, const struct comparison_run *r)
{
    char text[RUN_VIEW_SIZE];
    table_cell(table, "%s", r->label);
    table_cell(table, "%s", run_format_count(run_number(r->json, "params"), text));
    table_cell(table, "%s", run_format_count(run_number(r->json, "tokens"), text));
    table_cell(table, "%s", run_format_epoch(run_number(r->json, "epochs"), text));
    table_cell(table, "%s", run_format_loss(run_number(r->json, "train_loss"), text));
    table_cell(table, "%s", run_format_loss(run_number(r->json, "val_loss"), text));
    table_cell(table, "%s", run_format_loss(run_number(r->json, "best_val_loss"), text));
    table_cell(table, "%s", run_format_loss(run_number(r->json, "perplexity"), text));
    table_cell(table, "%s", run_format_loss(run_number(r->json, "bits_per_byte"), text));
    table_cell(table, "%s", run_format_count(run_number(r->json, "tok_s"), text));
    table_cell(table, "%s", run_format_seconds(run_number(r->json, "seconds"), text));
    table_cell(table, "%s", run_format_bytes(run_number(r->json, "peak_memory_bytes"), text));
}

/* The table is laid out as plain text first; the winner's row, the (winner + 1)th line after the header, is then bold. */
static void print_table(const struct comparison *c)
{
    static const char *const titles[] = {"run",      "params",     "tokens", "epochs", "train", "val",
                                         "best val", "perplexity", "bits/B", "tok/s",  "time",  "memory"};
    struct table *table = table_create();
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
        table_column(table, titles[i], i ? TABLE_RIGHT : TABLE_LEFT);
    for (size_t i = 0; i < c->count; i++)
        add_row(table, &c->runs[i]);
    char *text;
    size_t size;
    FILE *memory = open_memstream(&text, &size);
    if (!memory)
        abort();
    table_print(table, memory, false);
    if (fclose(memory) != 0)
        abort();
    table_destroy(table);
    ptrdiff_t row = -1;
    for (const char *line = text; *line; row++) {
        const char *end = strchrnul(line, '\n');
        bool bold = row >= 0 && row == c->winner && c->count > 1;
        printf("%s%.*s%s\n", output_style(stdout, bold ? STYLE_BOLD : row < 0 ? STYLE_DIM : STYLE_PLAIN),
               (int)(end - line), line, output_style(stdout, STYLE_PLAIN));
        line = *end ? end + 1 : end;
    }
    free(text);
}

static void print_chart(const struct comparison *c)
{
    struct comparison_plot plot;
    size_t left_out;
    comparison_plot_init(c, CHART_RUNS, CHART_ARROWS, false, &plot, &left_out);
    int width = output_width();
    chart_print(stdout, &plot.plot, &(struct chart_options){width > 140 ? 140 : width, CHART_HEIGHT,
                                                            output_has_colour(stdout)});
    if (left_out)
        printf("%sthe %d lowest are drawn, %zu more are in the table%s\n", output_style(stdout, STYLE_DIM), CHART_RUNS,
               left_out, output_style(stdout, STYLE_PLAIN));
    comparison_plot_finish(&plot);
}

/* Those of the winner come first; with many runs the others are only counted. */
static void print_sentences(const struct comparison *c)
{
    const cJSON *arrows = cJSON_GetObjectItemCaseSensitive(c->json, "arrows"), *item;
    const char *winner = c->winner >= 0 ? c->runs[c->winner].id : "";
    int shown = 0, left_out = 0;
    for (int pass = 0; pass < 2; pass++)
        cJSON_ArrayForEach(item, arrows) {
            bool of_winner = strcmp(run_text(item, "winner"), winner) == 0;
            if (of_winner != (pass == 0))
                continue;
            if (shown++ < SENTENCES)
                printf("%s%s%s\n", output_style(stdout, of_winner ? STYLE_BOLD : STYLE_PLAIN), run_text(item, "text"),
                       output_style(stdout, STYLE_PLAIN));
            else
                left_out++;
        }
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(c->json, "undecided")) {
        if (shown++ < SENTENCES)
            printf("%s\n", run_text(item, "text"));
        else
            left_out++;
    }
    if (left_out)
        printf("and %d more pairs (--json has all)\n", left_out);
}

static const char *label_of(const struct comparison *c, const char *id)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->runs[i].id, id) == 0)
            return c->runs[i].label;
    return id;
}

static void print_asides(const struct comparison *c)
{
    const cJSON *item;
    fputs(output_style(stdout, STYLE_DIM), stdout);
    if (c->count <= 4)
        cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(c->json, "crosses")) {
            char epoch[RUN_VIEW_SIZE];
            const char *below = run_text(item, "below"), *a = run_text(item, "a");
            printf("the curves of %s and %s cross last at epoch %s; %s is below from there\n", label_of(c, a),
                   label_of(c, run_text(item, "b")), run_format_epoch(run_number(item, "epoch"), epoch),
                   label_of(c, below));
        }
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(c->json, "notes")) {
        fputs("note: ", stdout);
        if (cJSON_IsString(item))
            output_text(stdout, item->valuestring, strlen(item->valuestring));
        putchar('\n');
    }
    fputs(output_style(stdout, STYLE_PLAIN), stdout);
}

static void print_title(const struct comparison *c, FILE *out)
{
    for (size_t i = 0; i < c->count && i < 4; i++)
        fprintf(out, "%s%s", i ? ", " : "", c->runs[i].label);
    if (c->count > 4)
        fprintf(out, " and %zu more", c->count - 4);
    fprintf(out, ": %s", c->on_validation ? "validation loss" : "training loss, means over 1/20 epoch");
}

static int write_svg(const struct comparison *c, const char *path, struct err *err)
{
    struct comparison_plot plot;
    size_t left_out, size, title_size;
    char *text, *title;
    FILE *title_stream = open_memstream(&title, &title_size), *memory = open_memstream(&text, &size);
    if (!memory || !title_stream)
        abort();
    print_title(c, title_stream);
    if (fclose(title_stream) != 0)
        abort();
    comparison_plot_init(c, SVG_RUNS, SVG_ARROWS, true, &plot, &left_out);
    plot.plot.title = title;
    svg_print(memory, &plot.plot);
    comparison_plot_finish(&plot);
    if (fclose(memory) != 0)
        abort();
    int rc = 0;
    if (strcmp(path, "-") == 0)
        fwrite(text, 1, size, stdout);
    else
        rc = file_write_atomic(path, text, size, 0644, err);
    free(title);
    free(text);
    return rc;
}

static void print_all(const struct comparison *c)
{
    print_table(c);
    putchar('\n');
    print_chart(c);
    putchar('\n');
    print_sentences(c);
    print_asides(c);
}

static int run(struct cli *cli)
{
    bool csv = args_flag(&cli->args, "--csv");
    const char *svg = args_value(&cli->args, "--svg");
    bool svg_to_stdout = svg && strcmp(svg, "-") == 0;
    if (csv + cli->json + svg_to_stdout > 1)
        return cli_usage(cli, "--csv, --json and --svg - all want standard output: one at a time");
    struct err err = {0};
    cJSON *answer = NULL;
    if (fetch(cli, &answer, &err))
        return cli_fail(cli, &err);
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
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_compare = {
    .name = "compare",
    .path = "compare",
    .arguments = "RUN|TAG... [--svg FILE] [--csv|--json]",
    .summary = "runs side by side: who won, and when",
    .help = "A table, the curves, and for each pair the arrow: the first evaluation of the winner from which all its later ones\n"
            "are below the loser's best, and how many times fewer tokens that took than the loser took to its best. Curves are\n"
            "validation losses, or, where a run has none, training losses as means over 1/20 epoch. A last crossing of the\n"
            "curves is told beside it; it is another thing. A tag stands for all its runs.\n"
            "With --json: {\"runs\",\"arrows\",\"crosses\",\"undecided\",\"notes\"}, see docs/architecture.md.\n"
            "\n"
            "Examples:\n"
            "  bakactl compare elephant swiglu\n"
            "  bakactl compare ffn --svg ffn.svg\n"
            "  bakactl compare b00001 b00002 --json | jq '.arrows[]'\n",
    .options = options,
    .min_positional = 1,
    .max_positional = -1,
    .run = run,
};
