/* sgd.c: stochastic gradient descent, with momentum or without; also what LOMO does to one tensor at a time. */
#include "kernels/cpu/optimizer.h"

struct update {
    real clip, momentum, decayed_keep, rate;
};

static void update_span(const struct span *s, const struct update *u)
{
    real *p = (real *)s->tensor->param + s->from;
    const real *grad = (const real *)s->tensor->grad + s->from;
    real keep = s->tensor->decay ? u->decayed_keep : 1, clip = u->clip, rate = u->rate;
#pragma omp simd
    for (int64_t i = 0; i < s->n; i++)
        p[i] = p[i] * keep - rate * (grad[i] * clip);
}

static void update_span_with_momentum(const struct span *s, const struct update *u)
{
    real *p = (real *)s->tensor->param + s->from, *m = (real *)s->tensor->m + s->from;
    const real *grad = (const real *)s->tensor->grad + s->from;
    real keep = s->tensor->decay ? u->decayed_keep : 1, clip = u->clip, rate = u->rate, momentum = u->momentum;
#pragma omp simd
    for (int64_t i = 0; i < s->n; i++) {
        m[i] = momentum * m[i] + grad[i] * clip;
        p[i] = p[i] * keep - rate * m[i];
    }
}

void SYM(sgd)(struct backend *b, const struct sgd_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "sgd");
    if (!c || !norm_allows(a->norm))
        return;
    const struct update u = {
        .clip = clip_factor(a->norm, a->clip),
        .momentum = (real)a->momentum,
        .decayed_keep = (real)(1 - c->values.lr * a->weight_decay),
        .rate = (real)c->values.lr,
    };
    if (a->updates)
        ++*a->updates;
    int64_t pieces = pieces_of_all(a->tensors, a->count);
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t piece = 0; piece < pieces; piece++) {
        struct span s = span_at(a->tensors, piece);
        if (a->momentum > 0)
            update_span_with_momentum(&s, &u);
        else
            update_span(&s, &u);
    }
}
