/* signals.h: what the trainer is asked to do from outside. SIGTERM and SIGINT: finish the step, checkpoint, leave; a
 * second one from the same sender: leave at once. SIGUSR1: checkpoint now. SIGQUIT: the main thread's stack to standard
 * error, and go on. One instance a process. */
#ifndef BAKA_WORKER_SIGNALS_H
#define BAKA_WORKER_SIGNALS_H

#include <stdbool.h>

struct err;

/* Blocks those signals, so that none is lost before the trainer takes them. */
void signals_block(void);
/* Starts the thread that takes them; every thread started later inherits them blocked. `keeper_pid` forwards signals
 * that may also reach the whole process group directly. Ignores SIGPIPE, SIGHUP and SIGXFSZ (a full disk is an error
 * code, not a death). Call on the main thread, after signals_block and before any other thread exists.
 * Errors: ERR_NO_MEMORY, ERR_IO when the thread cannot be made. */
int signals_start(int keeper_pid, struct err *err);
bool signals_stop_requested(void);
/* SIGUSR1 came since the request was cleared, which is done before the checkpoint is written. */
bool signals_checkpoint_requested(void);
void signals_clear_checkpoint_request(void);

#endif
