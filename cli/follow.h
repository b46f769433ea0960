/* follow.h: waiting for runs to end, as wait and submit --wait do. */
#ifndef BAKA_CLI_FOLLOW_H
#define BAKA_CLI_FOLLOW_H

#include <cjson/cJSON.h>

struct cli;
struct client;

/* Follows the runs (an array of RUN objects with at least id, name and state; brought up to date in place) until each
 * has ended. Prints a line on standard output as each ends (with --json: {"runs":[RUN...],"timed_out":bool} at the
 * end), and on a terminal live lines on standard error. A daemon that goes away is waited for.
 *
 * timeout_s: 0 is a look without waiting; negative: none. Returns CLI_DONE when all finished, CLI_FAILED when one ended
 * otherwise, the time was over or the daemon answered with an error. */
int follow_runs(struct cli *cli, struct client *client, cJSON *runs, double timeout_s);

#endif
