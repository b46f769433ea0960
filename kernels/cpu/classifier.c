/* classifier.c: the output layer with its loss, in chunks of rows so that logits never exist for all of them.
 *
 * A chunk is four regions: logits, softmax with loss and gradient in place, dx, d_w. The loss is summed in double in
 * the order of rows.
 */
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <string.h>
#include "kernels/cpu/reduce.h"
#include "kernels/cpu/vmath.h"

/* Negative log-likelihood of one row; with gradient also logits := (softmax - onehot) * scale. */
static double classify_row(real *logits, int64_t n, int32_t target, bool gradient, real scale)
{
    if (target < 0) {
        if (gradient)
            memset(logits, 0, (size_t)n * sizeof(real));
        return 0;
    }
    real top = row_max(logits, n), at_target = logits[target];
    real sum = 0;
    enum { LANES = 64 / sizeof(real) };
    real lanes[LANES] = {0};
    int64_t j = 0;
    for (; j + LANES <= n; j += LANES)
#pragma omp simd
        for (int l = 0; l < LANES; l++) {
            logits[j + l] = exp_real(logits[j + l] - top);
            lanes[l] += logits[j + l];
        }
    for (; j < n; j++) {
        logits[j] = exp_real(logits[j] - top);
        sum += logits[j];
    }
    sum += row_sum(lanes, LANES);
    if (gradient) {
        real factor = scale / sum;
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            logits[i] *= factor;
        logits[target] -= scale;
    }
    return log((double)sum) + ((double)top - (double)at_target);
}

static bool targets_in_range(struct cpu_backend *c, const struct classifier_args *a)
{
    for (int64_t i = 0; i < a->rows; i++)
        if (a->targets[i] < -1 || a->targets[i] >= a->vocab) {
            cpu_fail(c, ERR_INVALID, "target %d at position %lld is outside the vocabulary of %lld", (int)a->targets[i],
                     (long long)i, (long long)a->vocab);
            return false;
        }
    return true;
}

void SYM(classifier)(struct backend *b, const struct classifier_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "classifier");
    double *losses = c ? cpu_scratch(c, (size_t)a->chunk_rows * sizeof *losses) : NULL;
    if (!losses || !targets_in_range(c, a))
        return;
    bool gradient = a->dx;
    real *logits = a->logits;
    for (int64_t row0 = 0; row0 < a->rows && !c->failed; row0 += a->chunk_rows) {
        int64_t rows = least(a->chunk_rows, a->rows - row0);
        const real *x = (const real *)a->x + row0 * a->dim;
        SYM(product_all)
        (c, &(struct product){
                .tb = true,
                .m = rows,
                .n = a->vocab,
                .k = a->dim,
                .a = x,
                .lda = a->dim,
                .b = a->w,
                .ldb = a->dim,
                .c = logits,
                .ldc = a->vocab,
            });
#pragma omp parallel for num_threads(c->threads) schedule(dynamic, 8)
        for (int64_t i = 0; i < rows; i++)
            losses[i] = classify_row(logits + i * a->vocab, a->vocab, a->targets[row0 + i], gradient,
                                     (real)c->values.loss_scale);
        double sum = 0;
        for (int64_t i = 0; i < rows; i++)
            sum += losses[i];
        *a->loss_sum += sum;
        if (!gradient)
            continue;
        SYM(product_all)
        (c, &(struct product){
                .m = rows,
                .n = a->dim,
                .k = a->vocab,
                .a = logits,
                .lda = a->vocab,
                .b = a->w,
                .ldb = a->dim,
                .c = (real *)a->dx + row0 * a->dim,
                .ldc = a->dim,
            });
        SYM(weight_gradient)(c, rows, a->dim, a->vocab, logits, x, a->d_w, a->d_w_overwrite && row0 == 0, NULL);
    }
}
