#include "cli/study.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/file.h"
#include "base/path.h"
#include "cli/comparison_decisions.h"
#include "cli/comparison_summary.h"
#include "cli/document.h"
#include "cli/output.h"
#include "cli/run_view.h"
#include "cli/study_again.h"
#include "cli/svg.h"

enum { PICTURE_RUNS = 24, PICTURE_ARROWS = 3, PICTURE_TRAIN = 3 };

/* What one of the printers for terminals writes, a list item a line; nothing where it writes nothing. */
static void write_lines(struct document *d, const struct comparison *c,
                        void (*print)(const struct comparison *c, FILE *out))
{
    char *text;
    size_t size;
    FILE *memory = open_memstream(&text, &size);
    if (!memory)
        abort();
    print(c, memory);
    if (fclose(memory) != 0)
        abort();
    if (*text)
        document_list_begin(d);
    for (char *line = text, *end; *line; line = end) {
        end = strchrnul(line, '\n');
        if (*end)
            *end++ = '\0';
        document_list_item(d, line + strspn(line, " "));
    }
    if (size)
        document_list_end(d);
    free(text);
}

static void write_question(struct document *d, const struct comparison *c, const struct study *s)
{
    const cJSON *field;
    char text[512];
    size_t used = 0;
    document_heading(d, 2, "Question");
    if (s->question) {
        document_paragraph(d, s->question);
        return;
    }
    used = (size_t)snprintf(text, sizeof text, "Which of these has the lower %s loss?",
                            c->on_validation ? "validation" : "training");
    bool any = false;
    cJSON_ArrayForEach(field, cJSON_GetObjectItemCaseSensitive(c->json, "differs")) {
        const char *path = run_text(field, "path");
        if (strcmp(path, "train.seed") == 0 || used + strlen(path) + 32 > sizeof text)
            continue;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s %s", any ? "," : " They differ in", path);
        any = true;
    }
    if (any)
        snprintf(text + used, sizeof text - used, ".");
    document_paragraph(d, text);
}

static void write_design(struct document *d, const struct comparison *c)
{
    char text[256];
    int groups = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(c->json, "groups"));
    document_heading(d, 2, "Design");
    snprintf(text, sizeof text, "%zu run%s in %d group%s; the runs of a group differ in nothing but their seed.",
             c->count, c->count == 1 ? "" : "s", groups, groups == 1 ? "" : "s");
    document_paragraph(d, text);
    write_lines(d, c, comparison_print_differs);
    document_paragraph(d,
                       "Decided is at one point, an equal number of tokens, by the differences of runs of equal seed: "
                       "a paired t test, two-sided at 5 %, with Holm's correction over all pairs of groups. Fewer than "
                       "three seeds decide nothing.");
}

static void write_caveats(struct document *d, const struct comparison *c)
{
    const cJSON *note, *notes = cJSON_GetObjectItemCaseSensitive(c->json, "notes");
    document_heading(d, 2, "Caveats");
    document_list_begin(d);
    cJSON_ArrayForEach(note, notes)
        if (cJSON_IsString(note))
            document_list_item(d, note->valuestring);
    document_list_item(d, "A decision is about this data, this size and this budget; it says nothing of others.");
    document_list_item(d, "Where runs were added after a look at the result, its p values are too small.");
    document_list_end(d);
}

static void write_crosses(struct document *d, const struct comparison *c)
{
    const cJSON *cross;
    if (c->count > 4 || cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(c->json, "crosses")) == 0)
        return;
    document_list_begin(d);
    cJSON_ArrayForEach(cross, cJSON_GetObjectItemCaseSensitive(c->json, "crosses")) {
        char *text = comparison_cross_text(c, cross);
        document_list_item(d, text);
        free(text);
    }
    document_list_end(d);
}

void study_write(const struct comparison *c, const struct study *s, struct document *d)
{
    struct comparison_plot plot;
    const struct comparison_choice choice = {PICTURE_RUNS, PICTURE_ARROWS, PICTURE_TRAIN, s->x_scale, s->y_scale, true};
    comparison_plot_init(c, &choice, &plot);
    document_begin(d, s->title ? s->title : plot.plot.title);
    if (s->details) {
        write_question(d, c, s);
        write_design(d, c);
    }
    document_heading(d, 2, "What is decided");
    write_lines(d, c, comparison_print_decisions);
    if (cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(c->json, "decisions")) == 0)
        document_paragraph(d, "Nothing: there are no two groups with seeds in common.");
    document_heading(d, 2, "Curves");
    document_picture(d, &plot.plot);
    document_heading(d, 2, "Who passed whom");
    write_lines(d, c, comparison_print_sentences);
    write_crosses(d, c);
    document_heading(d, 2, "Table");
    comparison_document_table(c, s->at, s->budget, d);
    comparison_document_groups(c, d);
    if (!s->details) {
        document_heading(d, 2, "What differs");
        write_lines(d, c, comparison_print_differs);
    }
    write_caveats(d, c);
    if (s->details)
        study_again_write(c, s->details, d);
    document_end(d);
    comparison_plot_finish(&plot);
}

static int save_picture(const struct comparison *c, const struct study *s, const char *path, struct err *err)
{
    struct comparison_plot plot;
    const struct comparison_choice choice = {PICTURE_RUNS, PICTURE_ARROWS, PICTURE_TRAIN, s->x_scale, s->y_scale, true};
    char *text;
    size_t size;
    FILE *memory = open_memstream(&text, &size);
    if (!memory)
        abort();
    comparison_plot_init(c, &choice, &plot);
    svg_print(memory, &plot.plot);
    comparison_plot_finish(&plot);
    if (fclose(memory) != 0)
        abort();
    int rc = file_write_atomic(path, text, size, 0644, err);
    free(text);
    return rc;
}

int study_save(const struct comparison *c, const struct study *s, const char *path, bool html, struct err *err)
{
    char picture[PATH_SIZE], *text;
    size_t size;
    bool to_stdout = strcmp(path, "-") == 0, with_picture = !to_stdout && !html;
    const char *dot = strrchr(path, '.'), *slash = strrchr(path, '/');
    int stem = dot && (!slash || dot > slash + 1) ? (int)(dot - path) : (int)strlen(path);
    int rc = with_picture ? path_format(picture, err, "%.*s.svg", stem, path) : 0;
    if (rc == 0 && with_picture)
        rc = save_picture(c, s, picture, err);
    if (rc)
        return rc;
    FILE *memory = open_memstream(&text, &size);
    if (!memory)
        abort();
    const char *name = with_picture && strrchr(picture, '/') ? strrchr(picture, '/') + 1 : picture;
    struct document d = {
        .out = memory, .format = html ? DOCUMENT_HTML : DOCUMENT_MARKDOWN, .picture = with_picture ? name : NULL};
    study_write(c, s, &d);
    if (fclose(memory) != 0)
        abort();
    if (to_stdout)
        fwrite(text, 1, size, stdout);
    else
        rc = file_write_atomic(path, text, size, 0644, err);
    free(text);
    return rc;
}
