/* muon.c: momentum, orthogonalised by Newton and Schulz's iteration, one matrix after the other. The products are those
 * of gemm.c; what lies between them goes over pieces of rows. */
#include "kernels/cpu/optimizer.h"

#include "kernels/cpu/reduce.h"

enum { STEPS = 5, BLOCK = 4096 };
static const real factor_x = (real)3.4445, factor_a = (real)-4.7750, factor_aa = (real)2.0315;

/* One part: its numbers, and the iteration's tensors in the scratch. */
struct part {
    int64_t rows, cols, side, n; /* side: the smaller one */
    real *p, *m;
    const real *grad;
    real *x, *next, *a, *aa;
    bool decay;
};

static void *take(unsigned char **scratch, int64_t elements)
{
    void *at = *scratch;
    *scratch += round_up(elements * (int64_t)sizeof(real), 256);
    return at;
}

static struct part part_of(const struct optimizer_tensor *t, int64_t index, unsigned char *scratch)
{
    int64_t rows = t->rows / t->parts, n = rows * t->cols, side = least(rows, t->cols);
    struct part part = {
        .rows = rows,
        .cols = t->cols,
        .side = side,
        .n = n,
        .p = (real *)t->param + index * n,
        .m = (real *)t->m + index * n,
        .grad = (const real *)t->grad + index * n,
        .decay = t->decay,
    };
    part.x = take(&scratch, n);
    part.next = take(&scratch, n);
    part.a = take(&scratch, side * side);
    part.aa = take(&scratch, side * side);
    return part;
}

/* x = the momentum's step, by Nesterov; its Frobenius norm, from sums over fixed blocks. */
static double start(struct cpu_backend *c, const struct part *t, real clip, double momentum, double *sums)
{
    int64_t blocks = (t->n + BLOCK - 1) / BLOCK;
    real keep = (real)momentum, rest = (real)(1 - momentum);
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t block = 0; block < blocks; block++) {
        double sum = 0;
        for (int64_t i = block * BLOCK; i < least((block + 1) * BLOCK, t->n); i++) {
            real g = t->grad[i] * clip;
            t->m[i] = keep * t->m[i] + rest * g;
            t->x[i] = rest * g + keep * t->m[i];
            sum += (double)t->x[i] * (double)t->x[i];
        }
        sums[block] = sum;
    }
    double sum = 0;
    for (int64_t block = 0; block < blocks; block++)
        sum += sums[block];
    return sqrt(sum);
}

/* to = by_a * a + by_b * b; b NULL: none. */
static void combine(struct cpu_backend *c, int64_t n, real *to, real by_a, const real *a, real by_b, const real *b)
{
    int64_t blocks = (n + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t block = 0; block < blocks; block++) {
        int64_t end = least((block + 1) * BLOCK, n);
        if (b)
#pragma omp simd
            for (int64_t i = block * BLOCK; i < end; i++)
                to[i] = by_a * a[i] + by_b * b[i];
        else
#pragma omp simd
            for (int64_t i = block * BLOCK; i < end; i++)
                to[i] = by_a * a[i];
    }
}

/* x = factor_x x + (factor_a A + factor_aa A A) x, A = x x^T; from the right with A = x^T x for a tall x. */
static void iterate(struct cpu_backend *c, struct part *t)
{
    bool tall = t->rows > t->cols;
    SYM(product_all)
    (c, &(struct product){
            .ta = tall,
            .tb = !tall,
            .m = t->side,
            .n = t->side,
            .k = tall ? t->rows : t->cols,
            .a = t->x,
            .lda = t->cols,
            .b = t->x,
            .ldb = t->cols,
            .c = t->a,
            .ldc = t->side,
        });
    SYM(product_all)
    (c, &(struct product){
            .m = t->side,
            .n = t->side,
            .k = t->side,
            .a = t->a,
            .lda = t->side,
            .b = t->a,
            .ldb = t->side,
            .c = t->aa,
            .ldc = t->side,
        });
    combine(c, t->side * t->side, t->a, factor_a, t->a, factor_aa, t->aa);
    combine(c, t->n, t->next, factor_x, t->x, 0, NULL);
    SYM(product_all)
    (c, &(struct product){
            .accumulate = true,
            .m = t->rows,
            .n = t->cols,
            .k = t->side,
            .a = tall ? t->x : t->a,
            .lda = tall ? t->cols : t->side,
            .b = tall ? t->a : t->x,
            .ldb = tall ? t->side : t->cols,
            .c = t->next,
            .ldc = t->cols,
        });
    real *x = t->x;
    t->x = t->next;
    t->next = x;
}

static void update_part(struct cpu_backend *c, struct part *t, const struct muon_args *a, double *sums)
{
    double lr = c->values.lr, norm = start(c, t, clip_factor(a->norm, a->clip), a->momentum, sums);
    combine(c, t->n, t->x, (real)(1 / (norm + 1e-7)), t->x, 0, NULL);
    for (int step = 0; step < STEPS; step++)
        iterate(c, t);
    double stretch = t->rows > t->cols ? sqrt((double)t->rows / (double)t->cols) : 1;
    combine(c, t->n, t->p, t->decay ? (real)(1 - lr * a->weight_decay) : 1, t->p, (real)(-lr * stretch), t->x);
}

void SYM(muon)(struct backend *b, const struct muon_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "muon");
    if (!c || !norm_allows(a->norm))
        return;
    for (int i = 0; i < a->count; i++) {
        const struct optimizer_tensor *t = &a->tensors[i];
        for (int64_t index = 0; index < t->parts; index++) {
            struct part part = part_of(t, index, a->scratch);
            double *sums = cpu_scratch(c, (size_t)((part.n + BLOCK - 1) / BLOCK) * sizeof *sums);
            if (!sums)
                return;
            update_part(c, &part, a, sums);
        }
    }
}
