/* ingest_window.h: the steps of the last 1/20 epoch, for the numbers that a list shows of a run: mean loss and speed.
 * Thread: its owner's. Fails on memory only. */
#ifndef BAKA_DAEMON_INGEST_WINDOW_H
#define BAKA_DAEMON_INGEST_WINDOW_H

#include <stddef.h>
#include <stdint.h>
#include "daemon/store_run.h"

struct err;

enum { WINDOW_EPOCH_SHARE = 20, WINDOW_SPEED_STEPS = 256 };

struct window_step {
    int64_t tokens;
    double loss, ms, tok_s, mfu /* 0: not known */;
};

struct window_pace {
    struct store_real tok_s, step_ms, mfu;
};

struct ingest_window {
    struct window_step *steps; /* from `start`, `n` of them, oldest first */
    size_t start, n, capacity;
};

void window_finish(struct ingest_window *w);
void window_clear(struct ingest_window *w);
/* Adds the newest step and drops those that are 1/20 epoch older or more. tokens_per_epoch < 1: not known, the window
 * is the newest step alone for the loss. */
int window_add(struct ingest_window *w, const struct window_step *step, int64_t tokens_per_epoch, struct err *err);
/* Plain mean, unknown when empty. */
struct store_real window_loss(const struct ingest_window *w);
/* Tokens a second, milliseconds a step and MFU over the newest steps, at most WINDOW_SPEED_STEPS of them: means over
 * their time. MFU is unknown when it is for one of them. */
struct window_pace window_pace(const struct ingest_window *w);

#endif
