/* job_view.c: see job_view.h. */
#include "cli/job_view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/table.h"
#include "cli/output.h"
#include "cli/run_view.h"

bool job_view_is_job(const cJSON *run)
{
    const char *kind = run_text(run, "kind");
    return strcmp(kind, "eval") == 0 || strcmp(kind, "sample") == 0;
}

static void print_eval(const cJSON *job, const cJSON *result)
{
    char text[RUN_VIEW_SIZE], more[RUN_VIEW_SIZE];
    printf("asked     loss on %s of %s, %s windows", run_text(job, "split"), run_text(job, "data"),
           run_text(job, "windowing"));
    if (run_number(job, "memory") > 0)
        printf(", a memory of %.0f", run_number(job, "memory"));
    printf("%s, by %s\n", cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(job, "cpu")) ? ", on the CPU" : "",
           run_text(job, "source"));
    if (!cJSON_IsObject(result))
        return;
    printf("found     loss %s, perplexity %s", run_format_loss(run_number(result, "loss"), text),
           run_format_loss(run_number(result, "perplexity"), more));
    if (!isnan(run_number(result, "word_perplexity")))
        printf(", word perplexity %s", run_format_loss(run_number(result, "word_perplexity"), text));
    if (!isnan(run_number(result, "bits_per_byte")))
        printf(", %s bits a byte", run_format_loss(run_number(result, "bits_per_byte"), text));
    printf(", %.0f predictions, step %.0f\n", run_number(result, "predictions"), run_number(result, "step"));
}

static void print_sample(const char *id, const cJSON *job, const cJSON *result)
{
    const char *prompt = run_text(job, "prompt");
    printf("asked     %.0f tokens behind \"", run_number(job, "tokens"));
    output_text(stdout, prompt, strlen(prompt) < 60 ? strlen(prompt) : 60);
    printf("%s\", seed %.0f, temperature %g, by %s\n", strlen(prompt) > 60 ? "…" : "", run_number(job, "seed"),
           run_number(job, "temperature"), run_text(job, "source"));
    if (cJSON_IsObject(result))
        printf("found     by step %.0f; `bakactl sample %s` prints it\n", run_number(result, "step"), id);
}

void job_view_print(const cJSON *run)
{
    const cJSON *job = cJSON_GetObjectItemCaseSensitive(run, "job");
    const cJSON *result = cJSON_GetObjectItemCaseSensitive(run, "result");
    if (strcmp(run_text(run, "kind"), "eval") == 0)
        print_eval(job, result);
    else
        print_sample(run_text(run, "id"), job, result);
}

void job_view_print_evaluations(const cJSON *const *runs, int count)
{
    static const struct {
        const char *title;
        enum table_align align;
    } columns[] = {{"EVALUATED", TABLE_LEFT},  {"JOB", TABLE_LEFT},      {"DATA", TABLE_LEFT},
                   {"SPLIT", TABLE_LEFT},      {"WINDOWS", TABLE_LEFT},  {"MEMORY", TABLE_RIGHT},
                   {"STEP", TABLE_RIGHT},      {"LOSS", TABLE_RIGHT},    {"PERPLEXITY", TABLE_RIGHT},
                   {"BITS/BYTE", TABLE_RIGHT}, {"PPL/WORD", TABLE_RIGHT}};
    struct table *table = table_create();
    int rows = 0;
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        table_column(table, columns[i].title, columns[i].align);
    for (int i = 0; i < count; i++) {
        const cJSON *e, *label = cJSON_GetObjectItemCaseSensitive(runs[i], "label");
        cJSON_ArrayForEach(e, cJSON_GetObjectItemCaseSensitive(runs[i], "evaluations")) {
            char loss[RUN_VIEW_SIZE], perplexity[RUN_VIEW_SIZE], bits[RUN_VIEW_SIZE], words[RUN_VIEW_SIZE],
                memory[RUN_VIEW_SIZE] = "-";
            if (run_number(e, "memory") > 0)
                snprintf(memory, sizeof memory, "%.0f", run_number(e, "memory"));
            table_cell(table, "%s", label ? label->valuestring : run_text(runs[i], "name"));
            table_cell(table, "%s", run_text(e, "id"));
            table_cell(table, "%s", run_text(e, "data"));
            table_cell(table, "%s", run_text(e, "split"));
            table_cell(table, "%s %.0f", run_text(e, "windowing"), run_number(e, "seq_len"));
            table_cell(table, "%s", memory);
            table_cell(table, "%.0f", run_number(e, "step"));
            table_cell(table, "%s", run_format_loss(run_number(e, "loss"), loss));
            table_cell(table, "%s", run_format_loss(run_number(e, "perplexity"), perplexity));
            table_cell(table, "%s", run_format_loss(run_number(e, "bits_per_byte"), bits));
            table_cell(table, "%s", run_format_loss(run_number(e, "word_perplexity"), words));
            rows++;
        }
    }
    if (rows > 0) {
        putchar('\n');
        table_print(table, stdout, false);
    }
    table_destroy(table);
}
