/* interrupt.h: SIGINT, SIGTERM and SIGHUP while a verb has something to leave in order. The verb asks between its
 * steps, tidies up and ends by the signal. Thread: the main one. */
#ifndef BAKA_CLI_INTERRUPT_H
#define BAKA_CLI_INTERRUPT_H

/* From here on they are only noted, but for those that are ignored already; system calls end with EINTR. */
void interrupt_catch(void);
/* The number of the signal, 0 for none. */
int interrupt_caught(void);
/* Back to the default. */
void interrupt_release(void);
/* Ends the program by the signal that was caught; nothing where there was none. After interrupt_release. */
void interrupt_deliver(void);

#endif
