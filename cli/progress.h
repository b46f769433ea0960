/* progress.h: one line on standard error that is redrawn: label, bar, share, what the caller says, time left. Silent
 * when standard error is no terminal. Redrawn at most ten times a second. Thread: the main one. */
#ifndef BAKA_CLI_PROGRESS_H
#define BAKA_CLI_PROGRESS_H

struct progress;

/* Starts the clock. `label` is copied. Never fails (aborts when memory is exhausted). */
struct progress *progress_create(const char *label);
/* share in [0,1]; NaN: not known, then no bar and no estimate. The time left is estimated from the share. */
void progress_update(struct progress *p, double share, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same with an estimate of the caller's in seconds (NaN: not known). */
void progress_update_eta(struct progress *p, double share, double eta_s, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Removes the line for the moment, so that other lines can be printed; the next update draws it again. */
void progress_hide(struct progress *p);
/* Removes the line and frees p; NULL is fine. */
void progress_destroy(struct progress *p);

#endif
