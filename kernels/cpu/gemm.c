/* gemm.c: products of matrices, cut into pieces that depend on the shape alone.
 *
 * In fp32 a piece is one single-threaded call of oneDNN's dnnl_sgemm: on several threads that function cuts the work by
 * their number, and its bits change with it. In double it is the plain loop, which is also what a single row or column
 * takes in fp32 (oneDNN's matrix-vector path is not reproducible). Tile sizes weigh oneDNN's packing of the shared
 * operand, about 1/tile of the arithmetic, against enough pieces for several threads.
 */
#include "kernels/cpu/cpu.h"

#include "kernels/cpu/reduce.h"

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

static int64_t even_tile(int64_t n, int64_t tile, int64_t multiple)
{
    int64_t count = (n + tile - 1) / tile;
    return count ? round_up((n + count - 1) / count, multiple) : multiple;
}

struct product_grid SYM(product_cut)(const struct product *p)
{
    int64_t tile_m = p->ta   ? clamp(p->m / 8, 32, 128)   /* both operands stream over k */
                     : p->tb ? clamp(p->m / 8, 64, 256)   /* b is packed and transposed for each piece */
                             : clamp(p->m / 16, 32, 128); /* b is used nearly as it lies */
    struct product_grid g = {.tile_m = even_tile(p->m, tile_m, 8), .tile_n = even_tile(p->n, 1024, 16)};
    g.rows = (p->m + g.tile_m - 1) / g.tile_m;
    g.columns = (p->n + g.tile_n - 1) / g.tile_n;
    return g;
}

static void product_plain(const struct product *p, const struct product_range *r)
{
    int64_t step = p->ta ? p->lda : 1;
    for (int64_t i = r->m0; i < r->m1; i++) {
        const real *a = p->ta ? p->a + i : p->a + i * p->lda;
        real *c = p->c + i * p->ldc;
        if (p->tb) {
            for (int64_t j = r->n0; j < r->n1; j++) {
                const real *b = p->b + j * p->ldb;
                real s = 0;
                if (step == 1)
                    s = row_dot(a, b, p->k);
                else
                    for (int64_t l = 0; l < p->k; l++)
                        s += a[l * step] * b[l];
                c[j] = p->accumulate ? c[j] + s : s;
            }
            continue;
        }
        if (!p->accumulate)
            for (int64_t j = r->n0; j < r->n1; j++)
                c[j] = 0;
        for (int64_t l = 0; l < p->k; l++) {
            const real *b = p->b + l * p->ldb;
            real factor = a[l * step];
#pragma omp simd
            for (int64_t j = r->n0; j < r->n1; j++)
                c[j] += factor * b[j];
        }
    }
}

bool SYM(product_run)(const struct cpu_backend *c, const struct product *p, const struct product_range *r)
{
#if !KERNEL_F64
    if (p->m > 1 && p->n > 1) {
        /* In a team of one oneDNN does not see that it is inside a parallel region and would start one of its own. */
        if (!omp_in_parallel())
            omp_set_num_threads(1);
        const float *a = p->ta ? p->a + r->m0 : p->a + r->m0 * p->lda;
        const float *b = p->tb ? p->b + r->n0 * p->ldb : p->b + r->n0;
        return c->sgemm(p->ta ? 'T' : 'N', p->tb ? 'T' : 'N', r->m1 - r->m0, r->n1 - r->n0, p->k, 1.0f, a, p->lda, b,
                        p->ldb, p->accumulate ? 1.0f : 0.0f, p->c + r->m0 * p->ldc + r->n0, p->ldc) == 0;
    }
#endif
    (void)c;
    product_plain(p, r);
    return true;
}

void SYM(product_check)(struct cpu_backend *c, bool refused)
{
    if (refused)
        cpu_fail(c, ERR_INTERNAL, "%s refused a matrix product: it may be out of memory", c->libraries);
}

void SYM(product_all)(struct cpu_backend *c, const struct product *p)
{
    struct product_grid g = SYM(product_cut)(p);
    bool refused = false;
#pragma omp parallel for num_threads(c->threads) schedule(dynamic, 1) reduction(|| : refused)
    for (int64_t piece = 0; piece < g.rows * g.columns; piece++) {
        struct product_range r = product_piece(p, &g, piece);
        refused = !SYM(product_run)(c, p, &r) || refused;
    }
    SYM(product_check)(c, refused);
}

/* sums[j] += column sums of dy [rows, ld] over `width` columns, in blocks of rows: rounding errors stay small. */
static void add_column_sums(int64_t rows, int64_t ld, const real *dy, int64_t width, real *sums)
{
    enum { COLUMNS = 64, BLOCK = 64 };
    for (int64_t j0 = 0; j0 < width; j0 += COLUMNS) {
        int64_t n = least(COLUMNS, width - j0);
        real total[COLUMNS] = {0};
        for (int64_t i0 = 0; i0 < rows; i0 += BLOCK) {
            real part[COLUMNS] = {0};
            for (int64_t i = i0; i < least(i0 + BLOCK, rows); i++) {
                const real *row = dy + i * ld + j0;
#pragma omp simd
                for (int64_t j = 0; j < n; j++)
                    part[j] += row[j];
            }
            for (int j = 0; j < COLUMNS; j++)
                total[j] += part[j];
        }
        for (int64_t j = 0; j < n; j++)
            sums[j0 + j] += total[j];
    }
}

void SYM(column_sums)(struct cpu_backend *c, int64_t rows, int64_t columns, const real *x, real *sums)
{
    enum { COLUMNS = 64 };
#pragma omp parallel for num_threads(c->threads) schedule(dynamic, 1)
    for (int64_t j = 0; j < columns; j += COLUMNS)
        add_column_sums(rows, columns, x + j, least(COLUMNS, columns - j), sums + j);
}

void SYM(weight_gradient)(struct cpu_backend *c, int64_t rows, int64_t in, int64_t out, const real *dy, const real *x,
                          real *d_w, bool overwrite, real *d_bias)
{
    const struct product p = {
        .ta = true,
        .accumulate = !overwrite,
        .m = out,
        .n = in,
        .k = rows,
        .a = dy,
        .lda = out,
        .b = x,
        .ldb = in,
        .c = d_w,
        .ldc = in,
    };
    struct product_grid g = SYM(product_cut)(&p);
    bool refused = false;
#pragma omp parallel for num_threads(c->threads) schedule(dynamic, 1) reduction(|| : refused)
    for (int64_t piece = 0; piece < g.rows * g.columns; piece++) {
        struct product_range r = product_piece(&p, &g, piece);
        refused = !SYM(product_run)(c, &p, &r) || refused;
        if (d_bias && r.n0 == 0)
            add_column_sums(rows, out, dy + r.m0, r.m1 - r.m0, d_bias + r.m0);
    }
    SYM(product_check)(c, refused);
}
