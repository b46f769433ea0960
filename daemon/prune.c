#include "daemon/prune.h"

#include <math.h>

static void keep_newest(int count, const struct prune_checkpoint *all, size_t n, bool *keep)
{
    if (count < PRUNE_LEAST)
        count = PRUNE_LEAST;
    for (size_t i = 0; i < n && count > 0; i++)
        if (all[i].good) {
            keep[i] = true;
            count--;
        }
}

/* Equal losses: the older one, which was there first and stays so. */
static void keep_best(int count, const struct prune_checkpoint *all, size_t n, bool *keep)
{
    double above = -INFINITY; /* taken already: losses up to this, and of its equals those before `taken` */
    size_t taken = n;
    for (; count > 0; count--) {
        size_t best = n;
        for (size_t i = n; i-- > 0;) {
            bool later = all[i].val_loss > above || (all[i].val_loss == above && i < taken);
            if (all[i].good && isfinite(all[i].val_loss) && later &&
                (best == n || all[i].val_loss < all[best].val_loss))
                best = i;
        }
        if (best == n)
            return;
        keep[best] = true;
        above = all[best].val_loss;
        taken = best;
    }
}

/* Checkpoints come by time as a rule, hardly ever at a multiple: the first one in each stretch of `every` steps. */
static void keep_every(int64_t every, const struct prune_checkpoint *all, size_t n, bool *keep)
{
    int64_t stretch = 0;
    for (size_t i = n; i-- > 0;)
        if (all[i].good && all[i].step / every > stretch) {
            keep[i] = true;
            stretch = all[i].step / every;
        }
}

void prune_choose(const struct prune_policy *policy, const struct prune_checkpoint *all, size_t n, bool *keep)
{
    for (size_t i = 0; i < n; i++)
        keep[i] = !all[i].good;
    keep_newest(policy->newest, all, n, keep);
    keep_best(policy->best, all, n, keep);
    if (policy->every > 0)
        keep_every(policy->every, all, n, keep);
}
