/* adalomo.c: AdaLomo, one tensor after the other: its gradient's squares by row and column, the size of its update,
 * then the update. A block is a range of rows (of elements, in a vector) that depends on the shape alone; what blocks
 * sum is added in their order. */
#include "kernels/cpu/optimizer.h"

#include <string.h>
#include "kernels/cpu/vmath.h"

enum { BLOCKS = 16 };
static const double least_square = 1e-30, least_scale = 1e-3;

struct tensor {
    int64_t rows, cols, block; /* a vector is cols elements in a row of its own; block: rows, or elements */
    bool matrix, decay;
    real *p, *m, *v;
    const real *grad;
    real clip, beta2, rest2;
    double *updates, *squares; /* [BLOCKS] sums of squares of updates and parameters */
    double *columns;           /* [BLOCKS, cols] */
};

static int64_t block_end(const struct tensor *t, int64_t block)
{
    return least((block + 1) * t->block, t->matrix ? t->rows : t->cols);
}

static void square_rows(const struct tensor *t, int64_t block)
{
    double *columns = t->columns + block * t->cols;
    memset(columns, 0, (size_t)t->cols * sizeof *columns);
    for (int64_t i = block * t->block; i < block_end(t, block); i++) {
        const real *grad = t->grad + i * t->cols;
        double sum = 0;
        for (int64_t j = 0; j < t->cols; j++) {
            double g = (double)(grad[j] * t->clip), q = g * g + least_square;
            sum += q;
            columns[j] += q;
        }
        t->m[i] = t->beta2 * t->m[i] + t->rest2 * (real)(sum / (double)t->cols);
    }
}

static void square_vector(const struct tensor *t, int64_t block)
{
    for (int64_t j = block * t->block; j < block_end(t, block); j++) {
        real g = t->grad[j] * t->clip;
        t->v[j] = t->beta2 * t->v[j] + t->rest2 * (g * g + (real)least_square);
    }
}

/* v from the blocks' columns; the mean of m. */
static double finish_squares(const struct tensor *t)
{
    for (int64_t j = 0; j < t->cols; j++) {
        double sum = 0;
        for (int64_t block = 0; block < BLOCKS; block++)
            sum += t->columns[block * t->cols + j];
        t->v[j] = t->beta2 * t->v[j] + t->rest2 * (real)(sum / (double)t->rows);
    }
    double sum = 0;
    for (int64_t i = 0; i < t->rows; i++)
        sum += (double)t->m[i];
    return sum / (double)t->rows;
}

static inline real row_factor(const struct tensor *t, int64_t i, double mean)
{
    return t->matrix ? t->clip * (real)sqrt(mean / (double)t->m[i]) : t->clip;
}

/* Visits the block's rows, a vector's being a part of its one: first the sums, then, with apply, the update. */
static void pass_over(const struct tensor *t, int64_t block, double mean, bool apply, real keep, real rate)
{
    int64_t from = block * t->block, to = block_end(t, block);
    int64_t first_row = t->matrix ? from : 0, rows_end = t->matrix ? to : 1;
    int64_t first = t->matrix ? 0 : from, last = t->matrix ? t->cols : to;
    double updates = 0, squares = 0;
    for (int64_t i = first_row; i < rows_end; i++) {
        const real *grad = t->grad + i * t->cols;
        real *p = t->p + i * t->cols, factor = row_factor(t, i, mean);
        for (int64_t j = first; j < last; j++) {
            real u = grad[j] * factor / sqrt_real(t->v[j]);
            if (apply) {
                p[j] = p[j] * keep - rate * u;
                continue;
            }
            updates += (double)u * (double)u;
            squares += (double)p[j] * (double)p[j];
        }
    }
    if (!apply) {
        t->updates[block] = updates;
        t->squares[block] = squares;
    }
}

static void update_tensor(struct cpu_backend *c, const struct tensor *t, const struct adalomo_args *a)
{
    double mean = 0, n = (double)t->rows * (double)t->cols, updates = 0, squares = 0;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t block = 0; block < BLOCKS; block++) {
        if (t->matrix)
            square_rows(t, block);
        else
            square_vector(t, block);
    }
    if (t->matrix)
        mean = finish_squares(t);
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t block = 0; block < BLOCKS; block++)
        pass_over(t, block, mean, false, 1, 0);
    for (int64_t block = 0; block < BLOCKS; block++) {
        updates += t->updates[block];
        squares += t->squares[block];
    }
    double size = sqrt(updates / n), scale = sqrt(squares / n);
    double rate = c->values.lr * (scale > least_scale ? scale : least_scale);
    real keep = (real)(t->decay ? 1 - rate * a->weight_decay : 1), step = (real)(rate / (size > 1 ? size : 1));
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t block = 0; block < BLOCKS; block++)
        pass_over(t, block, mean, true, keep, step);
}

void SYM(adalomo)(struct backend *b, const struct adalomo_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "adalomo");
    if (!c || !norm_allows(a->norm))
        return;
    double beta2 = 1 - pow((double)(*a->updates + 1), -0.8);
    for (int i = 0; i < a->count; i++) {
        const struct optimizer_tensor *from = &a->tensors[i];
        bool matrix = from->m != NULL;
        struct tensor t = {
            .rows = matrix ? from->rows : 1,
            .cols = matrix ? from->cols : from->n,
            .matrix = matrix,
            .decay = from->decay,
            .p = from->param,
            .m = from->m,
            .v = from->v,
            .grad = from->grad,
            .clip = clip_factor(a->norm, a->clip),
            .beta2 = (real)beta2,
            .rest2 = (real)(1 - beta2),
        };
        t.block = ((matrix ? t.rows : t.cols) + BLOCKS - 1) / BLOCKS;
        t.updates = cpu_scratch(c, (size_t)(2 * BLOCKS + (matrix ? BLOCKS * t.cols : 0)) * sizeof(double));
        if (!t.updates)
            return;
        t.squares = t.updates + BLOCKS;
        t.columns = t.squares + BLOCKS;
        update_tensor(c, &t, a);
    }
    if (a->counts)
        ++*a->updates;
}
