/* plan_optimizer.h: what each optimizer keeps beside the parameters, for the plan, the rules and the worker. Constant
 * data; any thread. */
#ifndef BAKA_SCHEMA_PLAN_OPTIMIZER_H
#define BAKA_SCHEMA_PLAN_OPTIMIZER_H

#include <stdbool.h>
#include "schema/plan.h"

enum plan_state {
    STATE_NONE,
    STATE_WHOLE,    /* a number for each of the parameter's */
    STATE_MOMENTUM, /* the same where train.optimizer.momentum is set, else none */
    STATE_ROWS,     /* a number a row, or a column */
    STATE_COLUMNS,
};

struct plan_optimizer {
    enum spec_optimizer type;
    /* Updates a matrix as soon as the backward pass has its whole gradient: matrices share one place for that, unless a
     * window has segments. */
    bool fused;
    bool orthogonal;                            /* needs room for the largest matrix's Newton-Schulz iteration */
    enum plan_state states[PARAMETER_KINDS][2]; /* first and second */
};

/* NULL for a type that there is none of. */
const struct plan_optimizer *plan_optimizer_find(enum spec_optimizer type);

#endif
