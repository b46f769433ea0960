/* verb_retry.c: bakactl retry RUN... */
#include "cli/verb.h"

#include "cli/change.h"

static int run(struct cli *cli)
{
    return change_runs(cli, "retry");
}

const struct verb verb_retry = {
    .name = "retry",
    .path = "retry",
    .arguments = "RUN... [--json]",
    .summary = "queue runs again that ended without finishing",
    .help = "RUN is an id or a name (the newest run of that name) in state failed,\n"
            "diverged, stopped or cancelled. It is queued again and goes on from its newest\n"
            "good checkpoint, or from the beginning when there is none. The other runs are\n"
            "still tried when one cannot be; --json as for `bakactl cancel`.\n"
            "\n"
            "Example:\n"
            "  bakactl retry b00012 && bakactl wait b00012\n",
    .min_positional = 1,
    .max_positional = -1,
    .positional_is = "run's id or name",
    .run = run,
};
