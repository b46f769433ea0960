/* signals.h: what the trainer is asked to do from outside. SIGTERM and SIGINT: finish the step, checkpoint, leave; a
 * second one from the same sender: leave at once. SIGUSR1: checkpoint now. SIGQUIT: the main thread's stack to standard
 * error, and go on. One instance a process. */
#ifndef BAKA_WORKER_SIGNALS_H
#define BAKA_WORKER_SIGNALS_H

#include <stdbool.h>

/* Blocks those signals, so that none is lost before the trainer has its handlers. */
void signals_block(void);
/* Sets the handlers and unblocks; `keeper_pid` forwards signals that may also reach the whole process group directly.
 * Ignores SIGPIPE, SIGHUP and SIGXFSZ (a full disk is an error code, not a death). Call on the main thread. */
void signals_install(int keeper_pid);
bool signals_stop_requested(void);
/* True once for each SIGUSR1 (or several at a time). */
bool signals_take_checkpoint_request(void);

#endif
