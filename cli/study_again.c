#include "cli/study_again.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/path.h"
#include "cli/comparison.h"
#include "cli/document.h"
#include "cli/run_view.h"

enum { MAX_SEEDS = 1024 };

static const cJSON *detail_of(const struct comparison *c, const cJSON *details, size_t run)
{
    const cJSON *detail;
    cJSON_ArrayForEach(detail, details)
        if (strcmp(run_text(detail, "id"), c->runs[run].id) == 0)
            return detail;
    return NULL;
}

/* The first run that has a spec: the others are told by how they differ from it. -1: all are imports. */
static ptrdiff_t find_base(const struct comparison *c, const cJSON *details)
{
    for (size_t i = 0; i < c->count; i++)
        if (cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(detail_of(c, details, i), "spec")))
            return (ptrdiff_t)i;
    return -1;
}

/* As a shell takes it for one word. */
static void print_word(FILE *out, const char *text)
{
    bool plain = *text;
    for (const char *p = text; *p && plain; p++)
        plain = strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._,=/:+-", *p);
    if (plain) {
        fputs(text, out);
        return;
    }
    putc('\'', out);
    for (; *text; text++)
        fputs(*text == '\'' ? "'\\''" : (char[2]){*text, 0}, out);
    putc('\'', out);
}

static const char *value_at(const cJSON *field, size_t run)
{
    const cJSON *value = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(field, "values"), (int)run);
    return cJSON_IsString(value) ? value->valuestring : "";
}

static void print_settings(const struct comparison *c, size_t base, size_t run, FILE *out)
{
    const cJSON *field;
    cJSON_ArrayForEach(field, cJSON_GetObjectItemCaseSensitive(c->json, "differs")) {
        const char *path = run_text(field, "path");
        char setting[512];
        if (strcmp(path, "train.seed") == 0 || strcmp(value_at(field, base), value_at(field, run)) == 0)
            continue;
        snprintf(setting, sizeof setting, "%s=%s", path, value_at(field, run));
        fputs(" --set ", out);
        print_word(out, setting);
    }
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* A line for each stretch of seeds that follow each other. */
static void print_group(const struct comparison *c, const char *name, size_t base, FILE *out)
{
    int64_t seeds[MAX_SEEDS];
    size_t n = 0, first = SIZE_MAX;
    for (size_t i = 0; i < c->count; i++) {
        double seed = run_number(c->runs[i].json, "seed");
        if (strcmp(c->runs[i].group, name) != 0 || isnan(seed) || n == MAX_SEEDS)
            continue;
        first = first == SIZE_MAX ? i : first;
        seeds[n++] = (int64_t)seed;
    }
    qsort(seeds, n, sizeof *seeds, by_value);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && seeds[end] <= seeds[end - 1] + 1; end++)
            continue;
        fputs("bakactl submit spec.json", out);
        if (name_is_valid(name))
            fprintf(out, " --name %s", name);
        print_settings(c, base, first, out);
        fprintf(out, " --set train.seed=%" PRId64, seeds[i]);
        if (seeds[end - 1] > seeds[i])
            fprintf(out, " --seeds %" PRId64, seeds[end - 1] - seeds[i] + 1);
        putc('\n', out);
    }
}

static void print_commands(const struct comparison *c, size_t base, FILE *out)
{
    const cJSON *group;
    cJSON_ArrayForEach(group, cJSON_GetObjectItemCaseSensitive(c->json, "groups"))
        print_group(c, run_text(group, "name"), base, out);
}

static char *commands_text(const struct comparison *c, size_t base)
{
    char *text;
    size_t size;
    FILE *memory = open_memstream(&text, &size);
    if (!memory)
        abort();
    print_commands(c, base, memory);
    if (fclose(memory) != 0)
        abort();
    return text;
}

/* Each device and numerics id once, with the first run that had it. */
static void write_machines(const struct comparison *c, const cJSON *details, struct document *d)
{
    const cJSON *seen[16];
    size_t n = 0;
    document_list_begin(d);
    for (size_t i = 0; i < c->count; i++) {
        const cJSON *attempt;
        cJSON_ArrayForEach(attempt, cJSON_GetObjectItemCaseSensitive(detail_of(c, details, i), "attempt_list")) {
            const char *device = run_text(attempt, "device");
            bool known = !*device || n == sizeof seen / sizeof *seen;
            for (size_t k = 0; k < n && !known; k++)
                known = strcmp(run_text(seen[k], "device"), device) == 0;
            if (known)
                continue;
            char text[256];
            seen[n++] = attempt;
            snprintf(text, sizeof text, "device %s (%s first ran there, numerics id %.12s\u2026)", device,
                     c->runs[i].label, run_text(attempt, "numerics_id"));
            document_list_item(d, text);
        }
    }
    document_list_end(d);
}

/* Without its name, which the commands give; with spaces for cJSON's tabs. Caller frees. */
static char *spec_text(const cJSON *spec)
{
    cJSON *nameless = cJSON_Duplicate(spec, true);
    if (!nameless)
        abort();
    cJSON_DeleteItemFromObjectCaseSensitive(nameless, "name");
    char *printed = cJSON_Print(nameless), *text;
    size_t size;
    FILE *memory = open_memstream(&text, &size);
    if (!printed || !memory)
        abort();
    bool indent = true;
    for (const char *p = printed; *p; p++) {
        fputs(*p != '\t' ? (char[2]){*p, 0} : indent ? "  " : " ", memory);
        indent = *p == '\n' || (indent && *p == '\t');
    }
    if (fclose(memory) != 0)
        abort();
    cJSON_free(printed);
    cJSON_Delete(nameless);
    return text;
}

void study_again_write(const struct comparison *c, const cJSON *details, struct document *d)
{
    ptrdiff_t base = find_base(c, details);
    document_heading(d, 2, "How to reproduce");
    if (base < 0) {
        document_paragraph(d, "All of these curves were imported: how they were made is not known here.");
        return;
    }
    const cJSON *spec = cJSON_GetObjectItemCaseSensitive(detail_of(c, details, (size_t)base), "spec");
    char text[512], *json = spec_text(spec), *commands = commands_text(c, (size_t)base);
    snprintf(text, sizeof text, "spec.json, that of %s; its data set is %s:", c->runs[base].label,
             run_text(cJSON_GetObjectItemCaseSensitive(spec, "data"), "name"));
    document_paragraph(d, text);
    document_code(d, json);
    document_paragraph(d, "And the runs:");
    document_code(d, commands);
    document_paragraph(d,
                       "Equal specs on equal data give equal losses, bit for bit, where the numerics id is equal: the "
                       "same build, device, library versions and micro-batch. These ran on:");
    write_machines(c, details, d);
    free(json);
    free(commands);
}
