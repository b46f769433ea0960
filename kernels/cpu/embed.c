/* embed.c: rows of the table by token, and their gradient. A token outside the vocabulary is an error, not a read. */
#include "kernels/cpu/cpu.h"

#include <string.h>

static bool tokens_in_range(struct cpu_backend *c, const struct embed_args *a)
{
    for (int64_t i = 0; i < a->rows; i++)
        if (a->tokens[i] < 0 || a->tokens[i] >= a->vocab) {
            cpu_fail(c, ERR_INVALID, "token %d at position %lld is outside the vocabulary of %lld", (int)a->tokens[i],
                     (long long)i, (long long)a->vocab);
            return false;
        }
    return true;
}

void SYM(embed_forward)(struct backend *b, const struct embed_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "embed_forward");
    if (!c || !tokens_in_range(c, a))
        return;
    const real *table = a->table;
    real *out = a->out;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t i = 0; i < a->rows; i++)
        memcpy(out + i * a->dim, table + a->tokens[i] * a->dim, (size_t)a->dim * sizeof(real));
}

/* A piece is a strip of columns, so each element adds its rows in increasing order. */
void SYM(embed_backward)(struct backend *b, const struct embed_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "embed_backward");
    if (!c || !tokens_in_range(c, a))
        return;
    enum { STRIP = 32 };
    const real *d_out = a->d_out;
    real *d_table = a->d_table;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t j0 = 0; j0 < a->dim; j0 += STRIP) {
        int64_t n = least(STRIP, a->dim - j0);
        for (int64_t i = 0; i < a->rows; i++) {
            real *to = d_table + a->tokens[i] * a->dim + j0;
            const real *from = d_out + i * a->dim + j0;
#pragma omp simd
            for (int64_t j = 0; j < n; j++)
                to[j] += from[j];
        }
    }
}
