/* prune.h: which checkpoints of a run stay. Pure. */
#ifndef BAKA_DAEMON_PRUNE_H
#define BAKA_DAEMON_PRUNE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct prune_policy {
    int newest;    /* at least PRUNE_LEAST, whatever is asked: the one before is what a damaged newest falls back to */
    int best;      /* by validation loss; 0: none for that */
    int64_t every; /* the first of each so many steps; 0: none for that */
};

enum { PRUNE_LEAST = 2 };

struct prune_checkpoint {
    int64_t step;
    bool good;       /* neither damaged nor removed before: others are left as they are */
    double val_loss; /* at its step; NaN: not evaluated there */
};

/* all: newest first. keep[i] says whether all[i] stays; true for those that are not good. Deciding again over what
 * stays changes nothing. */
void prune_choose(const struct prune_policy *policy, const struct prune_checkpoint *all, size_t n, bool *keep);

#endif
