/* linear.c: y = x w^T + bias and its gradients. The bias is added to each piece while it lies in the cache. */
#include "kernels/cpu/cpu.h"

void SYM(linear_forward)(struct backend *b, const struct linear_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "linear_forward");
    if (!c || a->rows == 0)
        return;
    const struct product p = {
        .tb = true,
        .m = a->rows,
        .n = a->out,
        .k = a->in,
        .a = a->x,
        .lda = a->in,
        .b = a->w,
        .ldb = a->in,
        .c = a->y,
        .ldc = a->out,
    };
    const real *bias = a->bias;
    struct product_grid g = SYM(product_cut)(&p);
    bool refused = false;
#pragma omp parallel for num_threads(c->threads) schedule(dynamic, 1) reduction(|| : refused)
    for (int64_t piece = 0; piece < g.rows * g.columns; piece++) {
        struct product_range r = product_piece(&p, &g, piece);
        refused = !SYM(product_run)(c, &p, &r) || refused;
        for (int64_t i = r.m0; bias && i < r.m1; i++) {
            real *y = p.c + i * p.ldc;
#pragma omp simd
            for (int64_t j = r.n0; j < r.n1; j++)
                y[j] += bias[j];
        }
    }
    SYM(product_check)(c, refused);
}

void SYM(linear_backward)(struct backend *b, const struct linear_backward_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "linear_backward");
    if (!c || a->rows == 0)
        return;
    if (a->dx)
        SYM(product_all)
    (c, &(struct product){
            .accumulate = a->dx_accumulate,
            .m = a->rows,
            .n = a->in,
            .k = a->out,
            .a = a->dy,
            .lda = a->out,
            .b = a->w,
            .ldb = a->in,
            .c = a->dx,
            .ldc = a->in,
        });
    if (a->d_w)
        SYM(weight_gradient)(c, a->rows, a->in, a->out, a->dy, a->x, a->d_w, a->d_w_overwrite, a->d_bias);
}
