/* change.h: one request a run, as cancel and retry make. */
#ifndef BAKA_CLI_CHANGE_H
#define BAKA_CLI_CHANGE_H

struct cli;

/* POST /v1/runs/REF/ACTION for each positional argument; a failure does not keep the others from being tried, except
 * that of a daemon that is not there. Prints "id name: state", or {"runs":[...]} with, after failures, "error", the
 * first, and "errors", all, each with its "ref". Returns the exit status. */
int change_runs(struct cli *cli, const char *action);
/* The same, or with --all POST /v1/queue/ACTION; one of both must be given. */
int change_runs_or_queue(struct cli *cli, const char *action);

#endif
