/* verb_resume.c: bakactl resume RUN... | --all */
#include "cli/verb.h"

#include "cli/change.h"

static int run(struct cli *cli)
{
    return change_runs_or_queue(cli, "resume");
}

static const struct args_option options[] = {
    {"--all", 0, NULL, "the whole queue", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_resume = {
    .name = "resume",
    .path = "resume",
    .arguments = "RUN...|--all [--json]",
    .summary = "let paused runs, or the whole queue, go on",
    .help = "RUN is an id or a name (the newest run of that name) that was paused. It is\n"
            "queued again and goes on from its checkpoint, in its old place in the queue. With\n"
            "--all the queue goes on, and so does every run that was paused, also by name.\n"
            "--json as for `bakactl cancel`; with --all: {\"paused\":false,\"resumed\":N}.\n"
            "\n"
            "Examples:\n"
            "  bakactl resume b00012\n"
            "  bakactl resume --all\n",
    .options = options,
    .max_positional = -1,
    .positional_is = "run's id or name",
    .run = run,
};
