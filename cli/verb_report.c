/* verb_report.c: bakactl report: a study as a text to hand on. */
#include "cli/verb.h"

#include <stdlib.h>
#include <string.h>
#include "cli/client.h"
#include "cli/output.h"
#include "cli/reference.h"
#include "cli/run_view.h"
#include "cli/study.h"

static int fetch(struct cli *cli, cJSON **answer, cJSON *details, struct err *err)
{
    struct client *client;
    const cJSON *run;
    int rc = cli_client(cli, &client, err);
    if (rc == 0)
        rc = reference_compare(client, cli->args.positional, cli->args.positional_count, answer, err);
    if (rc)
        return rc;
    cJSON_ArrayForEach(run, cJSON_GetObjectItemCaseSensitive(*answer, "runs")) {
        cJSON *detail = NULL;
        run_warn_missing(run);
        rc = run_fetch(client, run_text(run, "id"), &detail, err);
        if (rc)
            return rc;
        if (!cJSON_AddItemToArray(details, detail))
            abort();
    }
    return 0;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), cut = strlen(end);
    return length >= cut && strcmp(text + length - cut, end) == 0;
}

static int run(struct cli *cli)
{
    const char *path = args_value(&cli->args, "--output");
    if (!path || !*path)
        return cli_usage(cli,
                         "-o FILE is needed: a name that ends in .md or .html, or - for Markdown to standard output");
    bool html = ends_with(path, ".html") || ends_with(path, ".htm");
    if (!html && !ends_with(path, ".md") && strcmp(path, "-") != 0)
        return cli_usage(cli, "-o %s: a name that ends in .md or .html is needed, or -", path);
    if (cli->json)
        return cli_usage(cli, "a report is no JSON: `bakactl compare --json` has its numbers");
    struct err err = {0};
    cJSON *answer = NULL, *details = cJSON_CreateArray();
    if (!details)
        abort();
    int rc = fetch(cli, &answer, details, &err);
    if (rc == 0) {
        struct comparison c;
        comparison_init(&c, answer, COMPARISON_ANY);
        const struct study study = {.title = args_value(&cli->args, "--title"),
                                    .question = args_value(&cli->args, "--question"),
                                    .at = COMPARISON_AT_BEST,
                                    .details = details};
        rc = study_save(&c, &study, path, html, &err);
        comparison_finish(&c);
    }
    if (rc == 0 && strcmp(path, "-") != 0)
        printf("report written to %s%s\n", path, html ? "" : ", its picture beside it");
    cJSON_Delete(answer);
    cJSON_Delete(details);
    return rc ? cli_fail(cli, &err) : CLI_DONE;
}

static const struct args_option options[] = {
    {"--output", 'o', "FILE", "where to: .md or .html, or - for Markdown on standard output (needed)", false},
    {"--title", 0, "TEXT", "its title", false},
    {"--question", 0, "TEXT", "what the study asks (default: made from what differs)", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_report = {
    .name = "report",
    .path = "report",
    .arguments = "RUN|TAG... -o FILE.md|FILE.html [--title TEXT] [--question TEXT]",
    .summary = "a study written down: result, curves, how to reproduce",
    .help = "Writes down what `bakactl compare` says of these runs: the question, the design,\n"
            "what is decided, the curves with their arrow, who passed whom, the table, what to\n"
            "doubt, and a spec with the commands that run it all again. HTML is one file that\n"
            "needs nothing else; Markdown has its picture beside it, with the ending .svg.\n"
            "\n" REFERENCE_HELP "\n"
            "Examples:\n"
            "  bakactl report study -o study.html\n"
            "  bakactl report study -o study.md --question 'Is elephant better than SwiGLU?'\n",
    .options = options,
    .min_positional = 1,
    .max_positional = -1,
    .positional_is = "run's id, name or tag",
    .run = run,
};
