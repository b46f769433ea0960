/* lion.c: Lion over all tensors of a model in one region. */
#include "kernels/cpu/optimizer.h"

struct update {
    real clip, beta1, rest1, beta2, rest2, decayed_keep, rate;
};

static void update_span(const struct span *s, const struct update *u)
{
    real *p = (real *)s->tensor->param + s->from, *m = (real *)s->tensor->m + s->from;
    const real *grad = (const real *)s->tensor->grad + s->from;
    real keep = s->tensor->decay ? u->decayed_keep : 1, clip = u->clip, rate = u->rate;
    real beta1 = u->beta1, rest1 = u->rest1, beta2 = u->beta2, rest2 = u->rest2;
#pragma omp simd
    for (int64_t i = 0; i < s->n; i++) {
        real g = grad[i] * clip, towards = beta1 * m[i] + rest1 * g;
        real sign = (towards > 0 ? (real)1 : 0) - (towards < 0 ? (real)1 : 0);
        p[i] = p[i] * keep - rate * sign;
        m[i] = beta2 * m[i] + rest2 * g;
    }
}

void SYM(lion)(struct backend *b, const struct lion_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "lion");
    if (!c || !norm_allows(a->norm))
        return;
    const struct update u = {
        .clip = clip_factor(a->norm, a->clip),
        .beta1 = (real)a->beta1,
        .rest1 = (real)(1 - a->beta1),
        .beta2 = (real)a->beta2,
        .rest2 = (real)(1 - a->beta2),
        .decayed_keep = (real)(1 - c->values.lr * a->weight_decay),
        .rate = (real)c->values.lr,
    };
    ++*a->updates;
    int64_t pieces = pieces_of_all(a->tensors, a->count);
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t piece = 0; piece < pieces; piece++) {
        struct span s = span_at(a->tensors, piece);
        update_span(&s, &u);
    }
}
