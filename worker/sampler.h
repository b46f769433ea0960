/* sampler.h: the next token from its logits. Pure. */
#ifndef BAKA_WORKER_SAMPLER_H
#define BAKA_WORKER_SAMPLER_H

#include <stdint.h>
#include "base/philox.h"

struct err;

struct sampler {
    double temperature; /* logits are divided by it; 0: the greatest is taken, of equals the first */
    int64_t top_k;      /* only the k greatest; 0: all */
    double top_p;       /* only the fewest that have at least this share together (Holtzman et al. 2020); 1: all */
    struct philox random;
};

/* Of the first `n` logits; `order` has room for n. ERR_INVALID when one is not finite. */
int sampler_pick(struct sampler *s, const float *logits, int64_t n, int32_t *order, int32_t *picked, struct err *err);

#endif
