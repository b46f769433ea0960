/* rows.c: rows that come from elsewhere than the token table, put into sequences, and their gradients. */
#include "kernels/cpu/cpu.h"

#include <string.h>

static real *place_of(const struct rows_args *a, int64_t sequence, int64_t i)
{
    int64_t at = a->at ? a->at[sequence * a->count + i] : a->offset + i;
    return (real *)a->x + (sequence * a->seq + at) * a->dim;
}

void SYM(put_rows)(struct backend *b, const struct rows_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "put_rows");
    if (!c)
        return;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t sequence = 0; sequence < a->batch; sequence++)
        for (int64_t i = 0; i < a->count; i++) {
            const real *from = (const real *)a->table + (sequence * a->table_stride + i % a->table_rows) * a->dim;
            memcpy(place_of(a, sequence, i), from, (size_t)a->dim * sizeof(real));
        }
}

/* A piece is a strip of columns: each element of the table adds its rows in one order. */
void SYM(take_rows)(struct backend *b, const struct rows_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "take_rows");
    if (!c)
        return;
    enum { STRIP = 32 };
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t j0 = 0; j0 < a->dim; j0 += STRIP)
        for (int64_t i = 0; i < a->batch * a->count; i++) {
            int64_t sequence = i / a->count, row = i % a->count, n = least(STRIP, a->dim - j0);
            real *from = place_of(a, sequence, row) + j0;
            real *to = (real *)a->d_table + (sequence * a->table_stride + row % a->table_rows) * a->dim + j0;
            for (int64_t j = 0; j < n; j++) {
                if (a->d_table)
                    to[j] += from[j];
                from[j] = 0;
            }
        }
}
