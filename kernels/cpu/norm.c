/* norm.c: residual sums with LayerNorm or RMSNorm, one or two outputs that share their statistics. */
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <string.h>
#include "kernels/cpu/reduce.h"

static const real *sum_row(const struct norm_forward_args *a, int64_t row)
{
    int64_t dim = a->dim;
    const real *x = (const real *)a->x + row * dim;
    const real *p = a->add[0] ? a->add[0] : a->add[1], *q = a->add[0] ? a->add[1] : NULL;
    real *s = (real *)a->sum + row * dim;
    if (!p)
        return s;
    p += row * dim;
    if (q) {
        q += row * dim;
#pragma omp simd
        for (int64_t j = 0; j < dim; j++)
            s[j] = x[j] + p[j] + q[j];
    } else {
#pragma omp simd
        for (int64_t j = 0; j < dim; j++)
            s[j] = x[j] + p[j];
    }
    return s;
}

static void forward_row(const struct norm_forward_args *a, int64_t row)
{
    int64_t dim = a->dim;
    const real *s = sum_row(a, row);
    real mean = a->kind == NORM_LAYERNORM ? row_sum(s, dim) / (real)dim : 0;
    real rstd = 1 / (real)sqrt((double)(row_square_sum(s, dim, mean) / (real)dim) + a->eps);
    if (a->kind == NORM_LAYERNORM)
        ((real *)a->mean)[row] = mean;
    ((real *)a->rstd)[row] = rstd;
    for (int k = 0; k < 2 && a->weight[k]; k++) {
        const real *weight = a->weight[k], *bias = a->bias[k];
        real *y = (real *)a->y[k] + row * dim;
        if (bias) {
#pragma omp simd
            for (int64_t j = 0; j < dim; j++)
                y[j] = (s[j] - mean) * rstd * weight[j] + bias[j];
        } else {
#pragma omp simd
            for (int64_t j = 0; j < dim; j++)
                y[j] = (s[j] - mean) * rstd * weight[j];
        }
    }
}

void SYM(norm_forward)(struct backend *b, const struct norm_forward_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "norm_forward");
    if (!c)
        return;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t row = 0; row < a->rows; row++)
        forward_row(a, row);
}

enum { SUMS = 5 }; /* kinds of column sums: d_weight[0], d_bias[0], d_weight[1], d_bias[1], dx */

/* parts: [SUMS][dim], the piece's.
 * With n = (s - mean) rstd and g = dy[0] weight[0] + dy[1] weight[1]:
 * ds = rstd (g - avg(g) - n avg(g n)); RMSNorm has no mean, so neither its term. */
static void backward_row(const struct norm_backward_args *a, int64_t row, real *parts)
{
    int64_t dim = a->dim;
    const real *s = (const real *)a->sum + row * dim;
    const real *dy0 = (const real *)a->dy[0] + row * dim, *w0 = a->weight[0], *w1 = a->weight[1];
    const real *dy1 = a->dy[1] ? (const real *)a->dy[1] + row * dim : NULL;
    const real *residual = a->d_residual ? (const real *)a->d_residual + row * dim : NULL;
    real *dx = (real *)a->dx + row * dim, *sum_dx = parts + 4 * dim;
    real mean = a->kind == NORM_LAYERNORM ? ((const real *)a->mean)[row] : 0, rstd = ((const real *)a->rstd)[row];

    /* One sum for each lane, taken together in a fixed order. */
    enum { LANES = 64 / sizeof(real) };
    real sum_g[LANES] = {0}, sum_gn[LANES] = {0};
    for (int64_t j0 = 0; j0 < dim; j0 += LANES) {
        int lanes = (int)least(LANES, dim - j0);
        const real *x = s + j0, *d0 = dy0 + j0, *v0 = w0 + j0;
        real *pw0 = parts + j0, *pb0 = parts + dim + j0;
        if (dy1) {
            const real *d1 = dy1 + j0, *v1 = w1 + j0;
            real *pw1 = parts + 2 * dim + j0, *pb1 = parts + 3 * dim + j0;
#pragma omp simd
            for (int l = 0; l < lanes; l++) {
                real n = (x[l] - mean) * rstd, g = d0[l] * v0[l] + d1[l] * v1[l];
                sum_g[l] += g;
                sum_gn[l] += g * n;
                pw0[l] += d0[l] * n;
                pb0[l] += d0[l];
                pw1[l] += d1[l] * n;
                pb1[l] += d1[l];
            }
        } else {
#pragma omp simd
            for (int l = 0; l < lanes; l++) {
                real n = (x[l] - mean) * rstd, g = d0[l] * v0[l];
                sum_g[l] += g;
                sum_gn[l] += g * n;
                pw0[l] += d0[l] * n;
                pb0[l] += d0[l];
            }
        }
    }
    real average = row_sum(sum_g, LANES) / (real)dim, slope = row_sum(sum_gn, LANES) / (real)dim;
    if (a->kind == NORM_RMSNORM)
        average = 0;
#pragma omp simd
    for (int64_t j = 0; j < dim; j++) {
        real g = dy0[j] * w0[j] + (dy1 ? dy1[j] * w1[j] : 0);
        real d = rstd * (g - average - (s[j] - mean) * rstd * slope);
        dx[j] = residual ? residual[j] + d : d;
        sum_dx[j] += dx[j];
    }
}

/* Where the column sums of each kind go, at most two places each. */
static void sum_targets(const struct norm_backward_args *a, real *to[SUMS][2])
{
    for (int k = 0; k < 2; k++) {
        to[2 * k][0] = a->dy[k] ? a->d_weight[k] : NULL;
        to[2 * k + 1][0] = a->dy[k] ? a->d_bias[k] : NULL;
        to[2 * k][1] = to[2 * k + 1][1] = NULL;
        to[SUMS - 1][k] = a->d_add_bias[k];
    }
}

void SYM(norm_backward)(struct backend *b, const struct norm_backward_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "norm_backward");
    if (!c || a->rows == 0)
        return;
    enum { PIECES = 64, STRIP = 64 };
    int64_t dim = a->dim, piece_rows = (a->rows + PIECES - 1) / PIECES;
    piece_rows = piece_rows < 8 ? 8 : piece_rows;
    int64_t pieces = (a->rows + piece_rows - 1) / piece_rows;
    real *parts = cpu_scratch(c, (size_t)(pieces * SUMS * dim) * sizeof(real)), *targets[SUMS][2];
    if (!parts)
        return;
    sum_targets(a, targets);
#pragma omp parallel num_threads(c->threads)
    {
#pragma omp for schedule(static)
        for (int64_t piece = 0; piece < pieces; piece++) {
            real *mine = parts + piece * SUMS * dim;
            memset(mine, 0, (size_t)(SUMS * dim) * sizeof(real));
            for (int64_t row = piece * piece_rows; row < least((piece + 1) * piece_rows, a->rows); row++)
                backward_row(a, row, mine);
        }
        int64_t strips = (dim + STRIP - 1) / STRIP;
#pragma omp for schedule(static)
        for (int64_t task = 0; task < SUMS * strips; task++) {
            int64_t which = task / strips, j0 = task % strips * STRIP, n = least(STRIP, dim - j0);
            real *const *to = targets[which];
            if (!to[0] && !to[1])
                continue;
            real total[STRIP] = {0};
            for (int64_t piece = 0; piece < pieces; piece++) {
                const real *from = parts + piece * SUMS * dim + which * dim + j0;
#pragma omp simd
                for (int64_t j = 0; j < n; j++)
                    total[j] += from[j];
            }
            for (int k = 0; k < 2; k++)
                for (int64_t j = 0; to[k] && j < n; j++)
                    to[k][j0 + j] += total[j];
        }
    }
}
