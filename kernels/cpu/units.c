/* units.c: sigmoid gates of feed-forward units: one number a unit, or one for each element of its output. */
#include "kernels/cpu/cpu.h"

#include "kernels/cpu/reduce.h"
#include "kernels/cpu/vmath.h"

static void scale_row(real *x, int64_t n, real factor)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        x[j] *= factor;
}

void SYM(unit_gate_forward)(struct backend *b, const struct unit_gate_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "unit_gate_forward");
    if (!c)
        return;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t i = 0; i < a->rows * a->units; i++)
        scale_row((real *)a->h + i * a->width, a->width, logistic_real(((const real *)a->z)[i]).s);
}

void SYM(unit_gate_backward)(struct backend *b, const struct unit_gate_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "unit_gate_backward");
    if (!c)
        return;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t i = 0; i < a->rows * a->units; i++) {
        real *z = (real *)a->z + i, *dh = (real *)a->dh + i * a->width;
        struct logistic gate = logistic_real(*z);
        *z = gate.complement * row_dot(dh, (const real *)a->h + i * a->width, a->width);
        scale_row(dh, a->width, gate.s);
    }
}

enum { PIECE = 1024 };

void SYM(unit_sum_forward)(struct backend *b, const struct unit_sum_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "unit_sum_forward");
    if (!c)
        return;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t from = 0; from < a->n; from += PIECE) {
        int64_t to = least(from + PIECE, a->n);
        real *y = a->y;
        for (int64_t unit = 0; unit < a->units; unit++) {
            const real *z = (const real *)a->z + unit * a->n, *o = (const real *)a->o + unit * a->n;
#pragma omp simd
            for (int64_t j = from; j < to; j++)
                y[j] = (unit ? y[j] : 0) + logistic_real(z[j]).s * o[j];
        }
    }
}

void SYM(unit_sum_backward)(struct backend *b, const struct unit_sum_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "unit_sum_backward");
    if (!c)
        return;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t from = 0; from < a->n; from += PIECE) {
        int64_t to = least(from + PIECE, a->n);
        const real *dy = a->dy;
        for (int64_t unit = 0; unit < a->units; unit++) {
            real *z = (real *)a->z + unit * a->n, *o = (real *)a->o + unit * a->n;
#pragma omp simd
            for (int64_t j = from; j < to; j++) {
                struct logistic gate = logistic_real(z[j]);
                z[j] = dy[j] * o[j] * (gate.s * gate.complement);
                o[j] = dy[j] * gate.s;
            }
        }
    }
}
