/* spec_schedule.h: what a spec makes due after which step; for the worker that does it and the daemon that waits for
 * it. Pure. */
#ifndef BAKA_SCHEMA_SPEC_SCHEDULE_H
#define BAKA_SCHEMA_SPEC_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

struct spec;

/* Whether the validation split is due after this step, counted from 1: at each epoch's end and as train.eval_every
 * says. */
bool schedule_evaluates(const struct spec *s, int64_t step, int64_t steps_per_epoch);

#endif
