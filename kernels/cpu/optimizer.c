/* optimizer.c: what every optimizer asks for: the gradient's norm, by way of each tensor's squares, and the rounded
 * copies. */
#include "kernels/cpu/optimizer.h"

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

void SYM(grad_squares)(struct backend *b, const struct grad_squares_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "grad_squares");
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
    for (int i = 0; i < a->count; i++) {
        a->squares[i] = 0;
        for (int64_t piece = 0; piece < pieces_of(a->tensors[i].n); piece++)
            a->squares[i] += *sums++;
    }
}

void SYM(norm_of_squares)(struct backend *b, const struct norm_of_squares_args *a)
{
    if (!cpu_begin(b, "norm_of_squares"))
        return;
    double sum = 0;
    for (int i = 0; i < a->count; i++)
        sum += a->squares[i];
    *a->norm = sqrt(sum);
}

/* Storage is never BF16 here: operators read the parameters themselves. */
void SYM(copy_parameters)(struct backend *b, const struct copy_parameters_args *a)
{
    cpu_begin(b, "copy_parameters");
    (void)a;
}
