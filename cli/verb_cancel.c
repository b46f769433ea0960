/* verb_cancel.c: bakactl cancel RUN... A run that is at work is told to stop; its checkpoint and curve stay. */
#include "cli/verb.h"

#include "cli/change.h"

static int run(struct cli *cli)
{
    return change_runs(cli, "cancel");
}

const struct verb verb_cancel = {
    .name = "cancel",
    .path = "cancel",
    .arguments = "RUN... [--json]",
    .summary = "stop runs, or take them from the queue",
    .help = "RUN is an id or a name (the newest run of that name). A queued run is\n"
            "cancelled at once; a running one finishes its step, writes a checkpoint and\n"
            "ends (see it with `bakactl show`). What was recorded stays; `bakactl retry`\n"
            "goes on from there. The other runs are still tried when one cannot be\n"
            "cancelled; the exit status is 1 then. With --json: {\"runs\":[...]}, and after\n"
            "failures \"errors\", each with its \"ref\", and \"error\", the first of them.\n"
            "\n"
            "Examples:\n"
            "  bakactl cancel b00012\n"
            "  bakactl cancel gelu swiglu\n",
    .min_positional = 1,
    .max_positional = -1,
    .positional_is = "run's id or name",
    .run = run,
};
