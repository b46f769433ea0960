/* elephant.c: the elephant function with a height and a width a feature.
 *
 * A piece is a block of columns, whose heights and widths are computed once, and in forward some rows; in backward all
 * rows, in order, so that a column's sums are one thread's.
 */
#include "kernels/cpu/cpu.h"

#include "kernels/cpu/power.h"
#include "kernels/cpu/vmath.h"

enum { COLUMNS = 64, ROWS = 64 }; /* COLUMNS: at most a block of power.h */

/* Of a block of columns. */
struct features {
    int n;
    real height[COLUMNS], inverse[COLUMNS]; /* exp(log_h), 1/sigma */
};

/* What the block's elements of one row give: E, its derivative by x, and by log sigma. */
struct values {
    real e[COLUMNS], slope[COLUMNS], widening[COLUMNS];
};

static void find_features(const struct elephant_args *a, int64_t j0, struct features *f)
{
    f->n = (int)least(COLUMNS, a->width - j0);
    for (int i = 0; i < f->n; i++) {
        f->height[i] = a->log_h ? exp_real(((const real *)a->log_h)[j0 + i]) : 1;
        f->inverse[i] = a->log_sigma ? exp_real(-((const real *)a->log_sigma)[j0 + i]) : (real)(1 / a->a);
    }
}

/* With t = min(u, 1/u), r = t^(p-1), q = r t nothing overflows: see activation.c; u^p/(1+u^p)^2 is q/(1+q)^2 on both
 * sides of u = 1. */
static void find_values(const struct features *f, double p, const real *x, struct values *v)
{
    real t[COLUMNS], r[COLUMNS], power = (real)p;
    for (int i = 0; i < f->n; i++) {
        real u = (x[i] < 0 ? -x[i] : x[i]) * f->inverse[i];
        t[i] = u > 1 ? 1 / u : u;
    }
    power_block(p - 1, f->n, t, r);
    for (int i = 0; i < f->n; i++) {
        bool large = (x[i] < 0 ? -x[i] : x[i]) * f->inverse[i] > 1;
        real q = r[i] * t[i], scaled = 1 / (1 + q), steep = power * (scaled * scaled);
        real sign = x[i] > 0 ? -f->inverse[i] : x[i] < 0 ? f->inverse[i] : 0;
        v->e[i] = (large ? q : 1) * scaled;
        v->slope[i] = sign * ((large ? q * t[i] : r[i]) * steep);
        v->widening[i] = q * steep;
    }
}

void SYM(elephant_forward)(struct backend *b, const struct elephant_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "elephant_forward");
    if (!c)
        return;
    int64_t columns = (a->width + COLUMNS - 1) / COLUMNS, pieces = columns * ((a->rows + ROWS - 1) / ROWS);
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t piece = 0; piece < pieces; piece++) {
        int64_t j0 = piece % columns * COLUMNS, row0 = piece / columns * ROWS;
        struct features f;
        struct values v;
        find_features(a, j0, &f);
        for (int64_t row = row0; row < least(row0 + ROWS, a->rows); row++) {
            int64_t at = row * a->width + j0;
            const real *u = a->u ? (const real *)a->u + at : NULL;
            real *h = (real *)a->h + at;
            find_values(&f, a->p, (const real *)a->x + at, &v);
            for (int i = 0; i < f.n; i++)
                h[i] = f.height[i] * v.e[i] * (u ? u[i] : 1);
        }
    }
}

/* One row of the block: x and u become their gradients; what it adds to the columns' sums. */
static void backward_row(const struct elephant_args *a, int64_t at, const struct features *f, real *d_height,
                         real *d_width)
{
    real *x = (real *)a->x + at, *u = a->u ? (real *)a->u + at : NULL;
    const real *dh = (const real *)a->dh + at;
    struct values v;
    find_values(f, a->p, x, &v);
    for (int i = 0; i < f->n; i++) {
        real scaled = dh[i] * f->height[i], through = scaled * (u ? u[i] : 1);
        d_height[i] += through * v.e[i];
        d_width[i] += through * v.widening[i];
        x[i] = through * v.slope[i];
        if (u)
            u[i] = scaled * v.e[i];
    }
}

void SYM(elephant_backward)(struct backend *b, const struct elephant_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "elephant_backward");
    if (!c)
        return;
    int64_t pieces = (a->width + COLUMNS - 1) / COLUMNS;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t piece = 0; piece < pieces; piece++) {
        int64_t j0 = piece * COLUMNS;
        struct features f;
        real height[COLUMNS] = {0}, width[COLUMNS] = {0};
        find_features(a, j0, &f);
        for (int64_t row0 = 0; row0 < a->rows; row0 += ROWS) { /* in blocks of rows: rounding errors stay small */
            real some_height[COLUMNS] = {0}, some_width[COLUMNS] = {0};
            for (int64_t row = row0; row < least(row0 + ROWS, a->rows); row++)
                backward_row(a, row * a->width + j0, &f, some_height, some_width);
            for (int i = 0; i < f.n; i++) {
                height[i] += some_height[i];
                width[i] += some_width[i];
            }
        }
        for (int i = 0; i < f.n; i++) {
            if (a->d_log_h)
                ((real *)a->d_log_h)[j0 + i] += height[i];
            if (a->d_log_sigma)
                ((real *)a->d_log_sigma)[j0 + i] += width[i];
        }
    }
}
