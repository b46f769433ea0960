/* verb_pause.c: bakactl pause RUN... | --all */
#include "cli/verb.h"

#include "cli/change.h"

static int run(struct cli *cli)
{
    return change_runs_or_queue(cli, "pause");
}

static const struct args_option options[] = {
    {"--all", 0, NULL, "the whole queue", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_pause = {
    .name = "pause",
    .path = "pause",
    .arguments = "RUN...|--all [--json]",
    .summary = "let runs, or the whole queue, step aside and wait",
    .help = "RUN is an id or a name (the newest run of that name). A queued run is paused\n"
            "at once; a running one finishes its step, writes a checkpoint and gives its\n"
            "slots back. It waits, also over a restart of bakad, until `bakactl resume`, and\n"
            "goes on without a lost step. With --all nothing is started any more and all that\n"
            "is at work steps aside, back into the queue; `bakactl status` says so. An\n"
            "evaluation or a sample has no checkpoint: it begins anew. --json as for\n"
            "`bakactl cancel`; with --all: {\"paused\":true,\"stepping_aside\":N}.\n"
            "\n"
            "Examples:\n"
            "  bakactl pause b00012\n"
            "  bakactl pause --all && sleep 3600 && bakactl resume --all\n",
    .options = options,
    .max_positional = -1,
    .positional_is = "run's id or name",
    .run = run,
};
