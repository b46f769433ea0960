/* adamw.c: AdamW over all tensors of a model in one region. */
#include "kernels/cpu/optimizer.h"

#include "kernels/cpu/vmath.h"

struct update {
    real clip, beta1, rest1, beta2, rest2, eps, decayed_keep, rate, root_correction;
};

static void update_span(const struct span *s, const struct update *u)
{
    real *p = (real *)s->tensor->param + s->from, *m = (real *)s->tensor->m + s->from;
    real *v = (real *)s->tensor->v + s->from;
    const real *grad = (const real *)s->tensor->grad + s->from;
    real keep = s->tensor->decay ? u->decayed_keep : 1;
    real clip = u->clip, beta1 = u->beta1, beta2 = u->beta2, eps = u->eps, rate = u->rate, root = u->root_correction;
    real rest1 = u->rest1, rest2 = u->rest2;
#pragma omp simd
    for (int64_t i = 0; i < s->n; i++) {
        real g = grad[i] * clip;
        m[i] = beta1 * m[i] + rest1 * g;
        v[i] = beta2 * v[i] + rest2 * (g * g);
        p[i] = p[i] * keep - rate * (m[i] / (sqrt_real(v[i]) * root + eps));
    }
}

void SYM(adamw)(struct backend *b, const struct adamw_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "adamw");
    if (!c || !isfinite(*a->norm))
        return;
    double lr = c->values.lr * a->lr_factor, t = (double)++*a->updates;
    const struct update u = {
        .clip = clip_factor(a->norm, a->clip),
        .beta1 = (real)a->beta1,
        .rest1 = (real)(1 - a->beta1),
        .beta2 = (real)a->beta2,
        .rest2 = (real)(1 - a->beta2),
        .eps = (real)a->eps,
        .decayed_keep = (real)(1 - lr * a->weight_decay),
        .rate = (real)(lr / (1 - pow(a->beta1, t))),
        .root_correction = (real)(1 / sqrt(1 - pow(a->beta2, t))),
    };
    int64_t pieces = pieces_of_all(a->tensors, a->count);
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t piece = 0; piece < pieces; piece++) {
        struct span s = span_at(a->tensors, piece);
        update_span(&s, &u);
    }
}
