/* sampler.c: see sampler.h. Shares are taken in falling order of logits, of equals the lower id first, so that a draw
 * depends on logits and random number alone. */
#include "worker/sampler.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include "base/err.h"

static int by_falling_logit(const void *a, const void *b, void *logits)
{
    const float *l = logits;
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    if (l[x] != l[y])
        return l[x] > l[y] ? -1 : 1;
    return x < y ? -1 : x > y;
}

static int32_t greatest(const float *logits, int64_t n)
{
    int32_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = (int32_t)i;
    return best;
}

/* Weight of a token relative to that of the first, which is 1. */
static double weight(const struct sampler *s, const float *logits, const int32_t *order, int64_t i)
{
    return exp(((double)logits[order[i]] - (double)logits[order[0]]) / s->temperature);
}

int sampler_pick(struct sampler *s, const float *logits, int64_t n, int32_t *order, int32_t *picked, struct err *err)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(logits[i]))
            return err_set(err, ERR_INVALID, "the model's logit of token %" PRId64 " is not finite", i);
    if (s->temperature == 0) {
        *picked = greatest(logits, n);
        return 0;
    }
    for (int64_t i = 0; i < n; i++)
        order[i] = (int32_t)i;
    qsort_r(order, (size_t)n, sizeof *order, by_falling_logit, (void *)(uintptr_t)logits);
    int64_t kept = s->top_k > 0 && s->top_k < n ? s->top_k : n, few = 0;
    double all = 0, sum = 0;
    for (int64_t i = 0; i < kept; i++)
        all += weight(s, logits, order, i);
    while (few < kept && (few == 0 || sum < s->top_p * all))
        sum += weight(s, logits, order, few++);
    double left = philox_uniform(&s->random) * sum;
    int64_t at = 0;
    while (at + 1 < few && (left -= weight(s, logits, order, at)) >= 0)
        at++;
    *picked = order[at];
    return 0;
}
