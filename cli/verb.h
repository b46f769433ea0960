/* verb.h: the frame of bakactl. One file a verb, ending in a const descriptor; verbs.c lists them. Adding a verb is
 * adding a file and a line there.
 *
 * The frame parses the command line by the descriptor's option table (cli/args.h), answers --help, opens the client and
 * turns a struct err into one line on standard error and an exit code. A verb's run returns that exit code.
 */
#ifndef BAKA_CLI_VERB_H
#define BAKA_CLI_VERB_H

#include <stdbool.h>
#include <cjson/cJSON.h>
#include "base/err.h"
#include "base/path.h"
#include "cli/args.h"

struct client;

enum cli_exit {
    CLI_DONE = 0,
    CLI_FAILED = 1,   /* the request failed */
    CLI_USAGE = 2,    /* the command line is wrong */
    CLI_NO_DAEMON = 3 /* no daemon is serving the state directory */
};

struct verb;

struct cli {
    char home[PATH_SIZE]; /* absolute; may not exist */
    bool json;            /* --json */
    const struct verb *verb;
    struct args args;
    struct client *client; /* opened by cli_client, closed by the frame */
};

struct verb {
    const char *name;      /* "prepare" */
    const char *path;      /* as typed after "bakactl": "data prepare" */
    const char *arguments; /* "TEXT... -o NAME [--val-fraction F]" */
    const char *summary;   /* one line for the list of verbs, no full stop */
    const char *help;      /* paragraphs and examples, ends in a newline; the options are printed from the table */
    const struct args_option *options; /* may be NULL; --home, --json and --help are the frame's */
    int min_positional, max_positional /* -1: any number */;
    const char *positional_is; /* "run's id or name": all must have the form of a name; NULL: any text but the empty */
    int (*run)(struct cli *cli);
    const struct verb *const *children; /* NULL-ended: "data" has prepare, list, dump; then run is NULL */
};

extern const struct verb *const verbs[]; /* NULL-ended, in the order of the help */

/* The client of this invocation; opened at the first call. Does not connect yet. */
int cli_client(struct cli *cli, struct client **out, struct err *err);
/* Prints the error as one line ("bakactl: ..."), with --json also as {"error":{...}} on standard output; returns
 * CLI_NO_DAEMON for ERR_UNAVAILABLE, else CLI_FAILED. */
int cli_fail(const struct cli *cli, const struct err *err);
/* cli_fail's line and exit status, without the JSON; and the object behind its "error", for the caller to delete. */
int cli_complain(const struct err *err);
cJSON *cli_error_json(const struct err *err);
/* "bakactl submit: ... (see bakactl help submit)", with --json as cli_fail does; returns CLI_USAGE. */
int cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* cli_usage with the text of an error, for what args_int64 and its like say. */
int cli_usage_err(const struct cli *cli, const struct err *err);

/* Each value of this option must be what a run or tag may be called; CLI_DONE, or cli_usage's CLI_USAGE. */
int cli_check_name(const struct cli *cli, const char *flag);
/* The same for --tag, and how often it stands. */
int cli_check_tags(const struct cli *cli);

/* The whole program; returns its exit status. */
int cli_main(int argc, char **argv);

#endif
