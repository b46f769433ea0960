/* frame.c: from argv to a verb and back to an exit status; see verb.h. The global flags may stand before or after the
 * verb. A usage error is one line with the nearest name and exit status 2; a closed standard output ends the program by
 * SIGPIPE, quietly. */
#include "cli/verb.h"

#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cjson/cJSON.h>

#include "cli/client.h"
#include "cli/output.h"
#include "schema/submission.h"

enum { HELP_WIDTH = 80, OPTION_INDENT = 30 };

static const struct args_option global_options[] = {
    {"--home", 0, "DIR", "state directory, where the daemon serves", false},
    {"--json", 0, NULL, "print JSON", false},
    {"--help", 'h', NULL, "print this help", false},
    {"--version", 0, NULL, "print the version", false},
    {NULL, 0, NULL, NULL, false},
};

static const char last_help[] = "Without --home the state directory is $BAKA_HOME, else $XDG_STATE_HOME/baka,\n"
                                "else ~/.local/state/baka; a variable that is empty counts as not set.\n"
                                "\n"
                                "An error is one line on standard error; with --json also\n"
                                "{\"error\":{\"code\",\"message\",\"path\"}} on standard output.\n"
                                "\n"
                                "Exit status:\n"
                                "  0  done\n"
                                "  1  the request failed\n"
                                "  2  the command line is wrong\n"
                                "  3  no daemon is serving the state directory\n";

int cli_client(struct cli *cli, struct client **out, struct err *err)
{
    if (!cli->client) {
        int rc = client_create(cli->home, &cli->client, err);
        if (rc)
            return rc;
    }
    *out = cli->client;
    return 0;
}

/* What was typed may hold anything; an error is one line. */
static void print_line(const char *text)
{
    for (const char *c = text; *c; c++)
        output_text(stderr, *c == '\n' ? " " : c, 1);
}

int cli_complain(const struct err *err)
{
    /* A message that names its place already is not given it twice. */
    bool place = *err->path && !strstr(err->message, err->path);
    fprintf(stderr, "%sbakactl:%s ", output_style(stderr, STYLE_RED), output_style(stderr, STYLE_PLAIN));
    if (place) {
        output_text(stderr, err->path, strlen(err->path));
        fputs(": ", stderr);
    }
    print_line(err->message);
    putc('\n', stderr);
    return err->code == ERR_UNAVAILABLE ? CLI_NO_DAEMON : CLI_FAILED;
}

cJSON *cli_error_json(const struct err *err)
{
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "code", err_code_word(err->code));
    cJSON_AddStringToObject(object, "message", err->message);
    cJSON_AddStringToObject(object, "path", err->path);
    return object;
}

static void print_error_json(const struct err *err)
{
    cJSON *object = cJSON_CreateObject();
    cJSON_AddItemToObject(object, "error", cli_error_json(err));
    output_json(stdout, object);
    cJSON_Delete(object);
}

int cli_fail(const struct cli *cli, const struct err *err)
{
    if (cli->json)
        print_error_json(err);
    return cli_complain(err);
}

int cli_usage(const struct cli *cli, const char *format, ...)
{
    const char *path = cli->verb ? cli->verb->path : NULL;
    char *text;
    va_list ap;
    va_start(ap, format);
    if (vasprintf(&text, format, ap) < 0)
        abort();
    va_end(ap);
    fprintf(stderr, "%sbakactl%s%s:%s ", output_style(stderr, STYLE_RED), path ? " " : "", path ? path : "",
            output_style(stderr, STYLE_PLAIN));
    print_line(text);
    if (path)
        fprintf(stderr, " (see bakactl help %s)\n", path);
    else
        fputs(" (see bakactl --help)\n", stderr);
    struct err err;
    err_set(&err, ERR_INVALID, "%s", text);
    free(text);
    if (cli->json)
        print_error_json(&err);
    return CLI_USAGE;
}

int cli_usage_err(const struct cli *cli, const struct err *err)
{
    return cli_usage(cli, "%s", err->message);
}

int cli_check_name(const struct cli *cli, const char *flag)
{
    struct err err = {0};
    const char *given;
    for (int i = 0; (given = args_value_at(&cli->args, flag, i)); i++)
        if (submission_check_name(given, flag, &err))
            return cli_usage(cli, "%s \"%s\": %s", flag, given, err.message);
    return CLI_DONE;
}

int cli_check_tags(const struct cli *cli)
{
    if (args_count(&cli->args, "--tag") > SUBMISSION_MAX_TAGS)
        return cli_usage(cli, "--tag: at most %d are allowed", SUBMISSION_MAX_TAGS);
    return cli_check_name(cli, "--tag");
}

/* From `column` on, in lines of HELP_WIDTH; what stands in brackets is not parted. */
static void print_wrapped(size_t column, size_t indent, const char *text)
{
    for (bool first = true; *text; first = false) {
        size_t size = 0;
        for (int depth = 0; text[size] && (text[size] != ' ' || depth > 0); size++)
            depth += (text[size] == '[') - (text[size] == ']');
        if (!first && column + 1 + size > HELP_WIDTH) {
            printf("\n%*s", (int)indent, "");
            column = indent;
        } else if (!first) {
            putchar(' ');
            column++;
        }
        printf("%.*s", (int)size, text);
        column += size;
        text += size + (text[size] == ' ');
    }
    putchar('\n');
}

static void print_options(const struct args_option *options)
{
    for (const struct args_option *o = options; o && o->name; o++) {
        char left[96], letter[8] = "";
        if (o->letter)
            snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "%s%s%s%s%s", letter, o->name, o->value ? " " : "", o->value ? o->value : "",
                 o->repeat ? " ..." : "");
        if (strlen(left) <= 26)
            printf("  %-26s  ", left);
        else
            printf("  %s\n  %-26s  ", left, "");
        print_wrapped(OPTION_INDENT, OPTION_INDENT, o->help);
    }
}

static void print_verbs(const struct verb *const *list)
{
    for (; *list; list++)
        printf("  %-14s  %s\n", (*list)->name, (*list)->summary);
}

static void print_verb_help(const struct verb *v)
{
    printf("bakactl %s: %s\n\nUsage: bakactl %s ", v->path, v->summary, v->path);
    size_t column = strlen("Usage: bakactl  ") + strlen(v->path);
    print_wrapped(column, column, v->arguments);
    if (v->help && *v->help)
        printf("\n%s", v->help);
    if (v->children) {
        printf("\nVerbs:\n");
        print_verbs(v->children);
    }
    if (v->options) {
        printf("\nOptions:\n");
        print_options(v->options);
    }
    printf("\nGlobal options:\n");
    print_options(global_options);
    printf("\n%s", last_help);
}

static void print_help(void)
{
    printf("bakactl: queue language-model experiments, follow them, and read which idea won\n\n"
           "Usage: bakactl [--home DIR] VERB ARGUMENTS [--json]\n"
           "       bakactl help VERB\n\nVerbs:\n");
    print_verbs(verbs);
    printf("\nGlobal options, before or after the verb:\n");
    print_options(global_options);
    printf("\n%s", last_help);
}

static const struct verb *find_verb(const struct verb *const *list, const char *name)
{
    for (; *list; list++)
        if (strcmp((*list)->name, name) == 0)
            return *list;
    return NULL;
}

static int unknown_verb(const struct cli *cli, const struct verb *const *list, const char *word)
{
    enum { MAX = 63 };
    const char *names[MAX + 1];
    int n = 0;
    for (; *list && n < MAX; list++)
        names[n++] = (*list)->name;
    names[n] = NULL;
    const char *nearest = args_nearest(word, names);
    if (nearest)
        return cli_usage(cli, "unknown verb %s (did you mean %s?)", word, nearest);
    return cli_usage(cli, "unknown verb %s", word);
}

/* "bakactl help", "bakactl help data prepare". */
static int run_help(struct cli *cli, int argc, char **argv)
{
    const struct verb *const *list = verbs;
    for (int i = 0; i < argc; i++) {
        if (argv[i][0] == '-')
            continue;
        const struct verb *v = list ? find_verb(list, argv[i]) : NULL;
        if (!v)
            return list ? unknown_verb(cli, list, argv[i]) : cli_usage(cli, "%s has no verbs", cli->verb->path);
        cli->verb = v;
        list = v->children;
    }
    if (cli->verb)
        print_verb_help(cli->verb);
    else
        print_help();
    return CLI_DONE;
}

static int check_positionals(struct cli *cli)
{
    const struct verb *v = cli->verb;
    if (cli->args.positional_count < v->min_positional)
        return cli_usage(cli, "too few arguments: bakactl %s %s", v->path, v->arguments);
    if (v->max_positional >= 0 && cli->args.positional_count > v->max_positional)
        return cli_usage(cli, "too many arguments: %s", cli->args.positional[v->max_positional]);
    for (int i = 0; i < cli->args.positional_count; i++) {
        const char *given = cli->args.positional[i];
        if (v->positional_is && !name_is_valid(given))
            return cli_usage(cli,
                             "\"%s\" is no %s: letters, digits, '.', '_' and '-', beginning with a letter or digit, at "
                             "most 64",
                             given, v->positional_is);
        if (!*given)
            return cli_usage(cli, "an argument is empty: bakactl %s %s", v->path, v->arguments);
    }
    return CLI_DONE;
}

/* Walks from the program to the verb meant; *argc and *argv are left at the verb's own arguments. CLI_DONE with
 * cli->verb NULL or with children means that the line ended before a verb. */
static int find_target(struct cli *cli, int *argc, char ***argv, struct err *err)
{
    static const struct args_option *const tables[] = {global_options, NULL};
    const struct verb *const *list = verbs;
    while (list) {
        int consumed = 0;
        if (args_parse(*argc, *argv, tables, true, &cli->args, &consumed, err))
            return cli_usage_err(cli, err);
        *argc -= consumed;
        *argv += consumed;
        if (*argc == 0)
            return CLI_DONE;
        const char *word = **argv;
        const struct verb *v = find_verb(list, word);
        if (!v && list == verbs && strcmp(word, "help") == 0)
            return CLI_DONE;
        if (!v)
            return unknown_verb(cli, list, word);
        cli->verb = v;
        list = v->children;
        --*argc;
        ++*argv;
    }
    return CLI_DONE;
}

/* Known before the line is parsed, so that what is wrong with the line is told as JSON too. No option takes "--json"
 * for its value: cli/args.c wants that written "--name=--json". */
static bool asks_for_json(int argc, char *const *argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct err err = {0};
    cli->json = asks_for_json(argc, argv);
    int rc = find_target(cli, &argc, &argv, &err);
    if (rc)
        return rc;
    if (!cli->verb && argc > 0)
        return run_help(cli, argc - 1, argv + 1);
    bool runnable = cli->verb && cli->verb->run;
    if (runnable) {
        const struct args_option *const tables[] = {global_options, cli->verb->options, NULL};
        if (args_parse(argc, argv, tables, false, &cli->args, NULL, &err))
            return cli_usage_err(cli, &err);
    }
    if (args_flag(&cli->args, "--version")) {
        printf("bakactl %s\n", BAKA_VERSION);
        return CLI_DONE;
    }
    if (args_flag(&cli->args, "--help"))
        return run_help(cli, 0, NULL);
    if (!runnable && cli->verb)
        return cli_usage(cli, "a verb is needed: bakactl %s %s", cli->verb->path, cli->verb->arguments);
    if (!runnable)
        return cli_usage(cli, "a verb is needed");
    rc = check_positionals(cli);
    if (rc)
        return rc;
    if (path_home(args_value(&cli->args, "--home"), cli->home, &err))
        return strcmp(err.path, "--home") == 0 ? cli_usage_err(cli, &err) : cli_fail(cli, &err);
    return cli->verb->run(cli);
}

int cli_main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_IGN); /* a file over its limit is an error of write(2), not a death */
    /* Only the characters: numbers keep their point. Tables and charts need a UTF-8 locale to know widths. */
    if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        setlocale(LC_CTYPE, "C.UTF-8");
    struct cli *cli = calloc(1, sizeof *cli);
    if (!cli)
        abort();
    int rc = run(cli, argc - 1, argv + 1);
    client_destroy(cli->client);
    args_finish(&cli->args);
    free(cli);
    if (!output_flush() && rc == CLI_DONE)
        rc = CLI_FAILED;
    return rc;
}
