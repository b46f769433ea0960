#include "kernels/cpu/rotary.h"

#include <math.h>

void SYM(rotary_row)(int64_t position, int64_t rotary_dims, double base, real *row)
{
    int64_t pairs = rotary_dims / 2;
    for (int64_t i = 0; i < pairs; i++) {
        double angle = (double)position * pow(base, -2.0 * (double)i / (double)rotary_dims);
        row[i] = (real)cos(angle);
        row[pairs + i] = (real)sin(angle);
    }
}

const real *SYM(rotary_table)(struct cpu_backend *c, int64_t seq, int64_t rotary_dims, double base)
{
    real *table = (real *)(void *)c->table;
    if (c->table_seq >= seq && c->table_dims == rotary_dims && c->table_base == base)
        return table;
    if ((size_t)(seq * rotary_dims) > c->table_bytes / sizeof(real)) {
        cpu_fail(c, ERR_TOO_LARGE, "rotary angles of %lld positions and %lld dims do not fit %zu bytes of workspace",
                 (long long)seq, (long long)rotary_dims, c->table_bytes);
        return NULL;
    }
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t t = 0; t < seq; t++)
        SYM(rotary_row)(t, rotary_dims, base, table + t * rotary_dims);
    c->table_seq = seq;
    c->table_dims = rotary_dims;
    c->table_base = base;
    return table;
}
