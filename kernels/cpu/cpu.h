/* cpu.h: what the operators of one compiled copy share: their names, and products of matrices.
 *
 * Limits of the CPU backend. Rows, dims and vocabulary are bounded by memory only. Attention: rotary_dims * (memory +
 * seq) elements must fit the table's quarter of the workspace (8192 positions x 128 dims in fp32 take 4 MiB of the
 * usual 8 MiB), head_dim at most ATTENTION_MAX_HEAD_DIM. Norms: 64 partial sums of up to 4 * dim elements must fit the
 * scratch (dim up to 24,000). Classifier: 8 bytes a row of a chunk. What does not fit is a sticky error that names the
 * operator. Fewer threads are used where a team of per-thread slots would not fit.
 */
#ifndef BAKA_KERNELS_CPU_CPU_H
#define BAKA_KERNELS_CPU_CPU_H

#include <omp.h>
#include "kernels/cpu/device.h"
#include "kernels/cpu/real.h"

enum { ATTENTION_MAX_HEAD_DIM = 512 };

void SYM(embed_forward)(struct backend *b, const struct embed_args *a);
void SYM(embed_backward)(struct backend *b, const struct embed_args *a);
void SYM(put_rows)(struct backend *b, const struct rows_args *a);
void SYM(take_rows)(struct backend *b, const struct rows_args *a);
void SYM(norm_forward)(struct backend *b, const struct norm_forward_args *a);
void SYM(norm_backward)(struct backend *b, const struct norm_backward_args *a);
void SYM(linear_forward)(struct backend *b, const struct linear_args *a);
void SYM(linear_backward)(struct backend *b, const struct linear_backward_args *a);
void SYM(activation_forward)(struct backend *b, const struct ffn_up_args *a);
void SYM(activation_backward)(struct backend *b, const struct ffn_up_backward_args *a);
void SYM(ffn_up_forward)(struct backend *b, const struct ffn_up_args *a);
void SYM(ffn_up_backward)(struct backend *b, const struct ffn_up_backward_args *a);
void SYM(elephant_forward)(struct backend *b, const struct elephant_args *a);
void SYM(elephant_backward)(struct backend *b, const struct elephant_args *a);
void SYM(unit_gate_forward)(struct backend *b, const struct unit_gate_args *a);
void SYM(unit_gate_backward)(struct backend *b, const struct unit_gate_args *a);
void SYM(unit_sum_forward)(struct backend *b, const struct unit_sum_args *a);
void SYM(unit_sum_backward)(struct backend *b, const struct unit_sum_args *a);
void SYM(lookup_forward)(struct backend *b, const struct lookup_args *a);
void SYM(lookup_backward)(struct backend *b, const struct lookup_args *a);
void SYM(attention_forward)(struct backend *b, const struct attention_args *a);
void SYM(attention_backward)(struct backend *b, const struct attention_args *a);
void SYM(attention_next)(struct backend *b, const struct attention_args *a);
void SYM(remember)(struct backend *b, const struct remember_args *a);
void SYM(classifier)(struct backend *b, const struct classifier_args *a);
void SYM(grad_squares)(struct backend *b, const struct grad_squares_args *a);
void SYM(norm_of_squares)(struct backend *b, const struct norm_of_squares_args *a);
void SYM(adamw)(struct backend *b, const struct adamw_args *a);
void SYM(sgd)(struct backend *b, const struct sgd_args *a);
void SYM(lion)(struct backend *b, const struct lion_args *a);
void SYM(muon)(struct backend *b, const struct muon_args *a);
void SYM(adalomo)(struct backend *b, const struct adalomo_args *a);
void SYM(copy_parameters)(struct backend *b, const struct copy_parameters_args *a);
void SYM(cpu_fill)(struct backend_ops *ops);

/* C = op(A) op(B) (accumulate: C += ...), row-major; op(A) is [m,k], op(B) is [k,n], t means transposed in memory. */
struct product {
    bool ta, tb, accumulate;
    int64_t m, n, k;
    const real *a;
    int64_t lda;
    const real *b;
    int64_t ldb;
    real *c;
    int64_t ldc;
};

/* A grid of pieces of C; each is computed whole by one thread, so its bits depend on the shape alone. */
struct product_grid {
    int64_t tile_m, tile_n, rows, columns; /* elements of a tile, tiles */
};
struct product_range {
    int64_t m0, m1, n0, n1;
};

struct product_grid SYM(product_cut)(const struct product *p);
static inline struct product_range product_piece(const struct product *p, const struct product_grid *g, int64_t piece)
{
    int64_t i = piece / g->columns * g->tile_m, j = piece % g->columns * g->tile_n;
    return (struct product_range){i, least(i + g->tile_m, p->m), j, least(j + g->tile_n, p->n)};
}
/* One piece, on the calling thread, inside a parallel region. False when the library refused. */
bool SYM(product_run)(const struct cpu_backend *c, const struct product *p, const struct product_range *r);
/* All pieces, in a parallel region of its own. */
void SYM(product_all)(struct cpu_backend *c, const struct product *p);
/* d_w[out,in] += (or =) dy^T x and d_bias[out] += column sums of dy (NULL: none), dy [rows,out], x [rows,in]. */
void SYM(weight_gradient)(struct cpu_backend *c, int64_t rows, int64_t in, int64_t out, const real *dy, const real *x,
                          real *d_w, bool overwrite, real *d_bias);
/* sums[columns] += column sums of x [rows,columns]. */
void SYM(column_sums)(struct cpu_backend *c, int64_t rows, int64_t columns, const real *x, real *sums);
/* The library's refusal becomes the operator's sticky error. */
void SYM(product_check)(struct cpu_backend *c, bool refused);

#endif
