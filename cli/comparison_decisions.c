#include "cli/comparison_decisions.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "cli/comparison.h"
#include "cli/output.h"
#include "cli/run_view.h"

enum { DECISIONS = 12, VALUES = 8, NAMES = 3 };

static void print_crossing(const cJSON *decision, FILE *out)
{
    const cJSON *crossing = cJSON_GetObjectItemCaseSensitive(decision, "crossing");
    double pairs = run_number(crossing, "pairs"), crossed = run_number(crossing, "crossed");
    char epoch[RUN_VIEW_SIZE], low[RUN_VIEW_SIZE], high[RUN_VIEW_SIZE], text[512], range[128] = "", some[64] = "";
    const char *below = run_text(crossing, "below");
    if (!(pairs > 1 && crossed > 0))
        return;
    if (crossed > 1)
        snprintf(range, sizeof range, " (%s to %s over the seeds)", run_format_epoch(run_number(crossing, "low"), low),
                 run_format_epoch(run_number(crossing, "high"), high));
    if (crossed < pairs)
        snprintf(some, sizeof some, ", in %.0f of %.0f seeds", crossed, pairs);
    snprintf(text, sizeof text, "  %s and %s cross last at epoch %s%s%s; %s%s", run_text(decision, "a"),
             run_text(decision, "b"), run_format_epoch(run_number(crossing, "epoch"), epoch), range, some,
             *below ? below : "which one is below from there depends on the seed",
             *below ? " is below from there" : "");
    output_line(out, text);
}

void comparison_print_decisions(const struct comparison *c, FILE *out)
{
    const cJSON *decisions = cJSON_GetObjectItemCaseSensitive(c->json, "decisions"), *d;
    int shown = 0, count = cJSON_GetArraySize(decisions);
    for (int pass = 0; pass < 2; pass++)
        cJSON_ArrayForEach(d, decisions) {
            bool lower = strcmp(run_text(d, "verdict"), "lower") == 0;
            if (lower != (pass == 0) || shown == DECISIONS)
                continue;
            shown++;
            fputs(output_style(out, lower ? STYLE_BOLD : STYLE_PLAIN), out);
            output_line(out, run_text(d, "text"));
            fputs(output_style(out, STYLE_PLAIN), out);
            fputs(output_style(out, STYLE_DIM), out);
            print_crossing(d, out);
            fputs(output_style(out, STYLE_PLAIN), out);
        }
    if (shown < count)
        fprintf(out, "%sand %d more pairs of groups (--json has all)%s\n", output_style(out, STYLE_DIM), count - shown,
                output_style(out, STYLE_PLAIN));
}

static const char *label_of(const struct comparison *c, const char *id)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->runs[i].id, id) == 0)
            return c->runs[i].label;
    return id;
}

char *comparison_cross_text(const struct comparison *c, const cJSON *cross)
{
    char epoch[RUN_VIEW_SIZE], *text;
    if (asprintf(&text, "the curves of %s and %s cross last at epoch %s; %s is below from there",
                 label_of(c, run_text(cross, "a")), label_of(c, run_text(cross, "b")),
                 run_format_epoch(run_number(cross, "epoch"), epoch), label_of(c, run_text(cross, "below"))) < 0)
        abort();
    return text;
}

/* A field's value in each run, "" where the run has no spec. */
struct field {
    const struct comparison *c;
    const char **values; /* [c->count] */
};

static bool is_first(const struct field *f, size_t run)
{
    for (size_t i = 0; i < run; i++)
        if (strcmp(f->values[i], f->values[run]) == 0)
            return false;
    return *f->values[run];
}

/* Values tell groups apart, unless one group has two of them, as with the seed. */
static bool tells_groups_apart(const struct field *f)
{
    for (size_t i = 0; i < f->c->count; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(f->values[i], f->values[k]) != 0 && strcmp(f->c->runs[i].group, f->c->runs[k].group) == 0)
                return false;
    return true;
}

static void print_names(const struct field *f, size_t run, FILE *out)
{
    int names = 0, more = 0;
    for (size_t i = run; i < f->c->count; i++) {
        const char *name = f->c->runs[i].group;
        bool seen = strcmp(f->values[i], f->values[run]) != 0;
        for (size_t k = run; k < i && !seen; k++)
            seen = strcmp(f->c->runs[k].group, name) == 0;
        if (seen)
            continue;
        if (names == NAMES)
            more++;
        else
            fprintf(out, "%s%s", names++ ? ", " : " (", name);
    }
    if (more)
        fprintf(out, " and %d more", more);
    putc(')', out);
}

static void write_field(const struct field *f, const char *path, FILE *out)
{
    bool apart = f->c->count <= 64 && tells_groups_apart(f);
    int values = 0, more = 0;
    fprintf(out, "differs in %s:", path);
    for (size_t i = 0; i < f->c->count; i++) {
        if (!is_first(f, i))
            continue;
        if (values == VALUES) {
            more++;
            continue;
        }
        fprintf(out, "%s %s", values++ ? "," : "", f->values[i]);
        if (apart)
            print_names(f, i, out);
    }
    if (more)
        fprintf(out, " and %d more", more);
}

static void print_field(const struct field *f, const char *path, FILE *out)
{
    char *text;
    size_t size;
    FILE *memory = open_memstream(&text, &size);
    if (!memory)
        abort();
    write_field(f, path, memory);
    if (fclose(memory) != 0)
        abort();
    output_line(out, text);
    free(text);
}

void comparison_print_differs(const struct comparison *c, FILE *out)
{
    const cJSON *field, *value;
    struct field f = {c, calloc(c->count + 1, sizeof *f.values)};
    if (!f.values)
        abort();
    fputs(output_style(out, STYLE_DIM), out);
    cJSON_ArrayForEach(field, cJSON_GetObjectItemCaseSensitive(c->json, "differs")) {
        size_t n = 0;
        cJSON_ArrayForEach(value, cJSON_GetObjectItemCaseSensitive(field, "values"))
            if (n < c->count)
                f.values[n++] = cJSON_IsString(value) ? value->valuestring : "";
        while (n < c->count)
            f.values[n++] = "";
        print_field(&f, run_text(field, "path"), out);
    }
    fputs(output_style(out, STYLE_PLAIN), out);
    free(f.values);
}
