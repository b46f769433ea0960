/* optimizer.c: the gradient's norm and AdamW over all tensors of a model in one region each.
 *
 * A piece is up to 16,384 elements of one tensor; partial sums of the norm are added in the order of pieces.
 */
#include "kernels/cpu/cpu.h"

#include <math.h>
#include "kernels/cpu/vmath.h"

enum { PIECE = 16384 };

struct span {
    const struct optimizer_tensor *tensor;
    int64_t from, n;
};

static int64_t pieces_of(int64_t n)
{
    return (n + PIECE - 1) / PIECE;
}

static int64_t pieces_of_all(const struct optimizer_tensor *tensors, int count)
{
    int64_t pieces = 0;
    for (int i = 0; i < count; i++)
        pieces += pieces_of(tensors[i].n);
    return pieces;
}

static struct span span_at(const struct optimizer_tensor *tensors, int64_t piece)
{
    while (piece >= pieces_of(tensors->n))
        piece -= pieces_of((tensors++)->n);
    return (struct span){tensors, piece * PIECE, least(PIECE, tensors->n - piece * PIECE)};
}

static double square_sum(const real *x, int64_t n)
{
    enum { LANES = 16 };
    double lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
#pragma omp simd
        for (int l = 0; l < LANES; l++)
            lanes[l] += (double)x[i + l] * (double)x[i + l];
    double sum = 0;
    for (; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    for (int l = 0; l < LANES; l++)
        sum += lanes[l];
    return sum;
}

void SYM(grad_norm)(struct backend *b, const struct grad_norm_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "grad_norm");
    if (!c)
        return;
    int64_t pieces = pieces_of_all(a->tensors, a->count);
    double *sums = cpu_scratch(c, (size_t)pieces * sizeof *sums);
    if (!sums)
        return;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t piece = 0; piece < pieces; piece++) {
        struct span s = span_at(a->tensors, piece);
        sums[piece] = square_sum((const real *)s.tensor->grad + s.from, s.n);
    }
    double sum = 0;
    for (int64_t piece = 0; piece < pieces; piece++)
        sum += sums[piece];
    *a->norm = sqrt(sum);
}

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
    double clip = a->clip > 0 ? a->clip / (*a->norm + 1e-6) : 1, lr = c->values.lr, t = (double)++*a->updates;
    const struct update u = {
        .clip = (real)(clip < 1 ? clip : 1),
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

/* Storage is never BF16 here: operators read the parameters themselves. */
void SYM(copy_parameters)(struct backend *b, const struct copy_parameters_args *a)
{
    cpu_begin(b, "copy_parameters");
    (void)a;
}
