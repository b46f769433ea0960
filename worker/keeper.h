/* keeper.h: the process that outlives the trainer by a moment, to say how it ended.
 *
 * The keeper has no threads and computes nothing. It holds the lock on attempts/N/lock for as long as it lives (the
 * trainer gives its copy up), forwards SIGTERM, SIGUSR1 and SIGQUIT, and writes attempts/N/exit.json when the trainer
 * is gone. The trainer dies with the keeper (PR_SET_PDEATHSIG), so a free lock without exit.json means that both are
 * gone.
 */
#ifndef BAKA_WORKER_KEEPER_H
#define BAKA_WORKER_KEEPER_H

struct arguments;

/* Forks; the child runs `trainer(a, keeper's pid)` and returns its exit status from here, the parent returns the
 * trainer's exit status, 128 + signal when a signal ended it, or, when the attempt could not be started (said on
 * standard error), JOURNAL_EXIT_NO_SPACE for want of room and 1 otherwise. */
int keeper_run(const struct arguments *a, int (*trainer)(const struct arguments *a, int keeper_pid));

#endif
