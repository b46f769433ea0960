#include "schema/spec_schedule.h"

#include <math.h>
#include "schema/spec.h"

/* The k-th evaluation of an epoch belongs at k * every steps of it. Rounding a step to the nearest k and back finds it,
 * whatever k * every loses in floating point; the last one falls on the epoch's end itself. */
bool schedule_evaluates(const struct spec *s, int64_t step, int64_t steps_per_epoch)
{
    double every = s->train.eval_every;
    int64_t in_epoch = step % steps_per_epoch;
    if (in_epoch == 0 || every == 0)
        return in_epoch == 0;
    if (every >= 1)
        return fmod((double)step, every) == 0;
    every *= (double)steps_per_epoch;
    double k = round((double)in_epoch / every);
    return k >= 1 && round(k * every) == (double)in_epoch;
}
