/* gemm.h: matrix products through cuBLASLt, for the operators.
 *
 * C[m,n] = op(A) op(B) (+ C when accumulate), all row-major and dense as in kernels/cpu/cpu.h's struct product; A and B
 * have the backend's storage type, C is `c_wide`: float (parameter gradients), else storage. bias [n] storage, added
 * to every row, or NULL.
 */
#ifndef BAKA_KERNELS_CUDA_GEMM_H
#define BAKA_KERNELS_CUDA_GEMM_H

#include "kernels/cuda/device.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cuda_gemm {
    bool ta, tb, accumulate, c_wide;
    int64_t m, n, k;
    const void *a;
    int64_t lda;
    const void *b;
    int64_t ldb;
    void *c;
    int64_t ldc;
    const void *bias;
};

/* A product that takes a GPU of a hundred multiprocessors some 30 us or less: it has about as many tiles as there are
 * multiprocessors, and leaves many idle. */
static inline bool cuda_gemm_is_small(int64_t m, int64_t n, int64_t k)
{
    return 2.0 * (double)m * (double)n * (double)k < 2e10;
}

struct cuda_gemm_state; /* handle, layouts, algorithms, workspace; one a backend */
/* workspace: device memory for cuBLASLt alone, workspace_bytes for each of cuda_gemm_lane()'s. Loads nothing lazily
 * later.
 */
int cuda_gemm_create(void *workspace, size_t workspace_bytes, struct cuda_gemm_state **out, struct err *err);
void cuda_gemm_destroy(struct cuda_gemm_state *g);
/* "cublaslt 13.1.0", and the algorithm table's hash where there is one: for the numerics id. */
const char *cuda_gemm_versions(const struct cuda_gemm_state *g);
struct cuda_gemm_state *cuda_gemms(struct backend *b); /* device.c */
void cuda_gemm_run(struct backend *b, const struct cuda_gemm *p, const char *operator_name);

#ifdef __cplusplus
}
#endif

#endif
