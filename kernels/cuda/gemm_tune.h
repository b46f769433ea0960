/* gemm_tune.h: measures algorithms for matrix products and writes cuda_algorithms.txt. For `baka-worker --tune` alone:
 * it allocates device memory, synchronises and takes seconds. */
#ifndef BAKA_KERNELS_CUDA_GEMM_TUNE_H
#define BAKA_KERNELS_CUDA_GEMM_TUNE_H

#include "kernels/cuda/gemm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Tunes every product that `g` has run so far, so: run one step, then call this. path NULL: beside the library. The
 * table counts from the next cuda_gemm_create on; `g` is not changed. `report` (NULL allowed) gets a line a product. */
int cuda_gemm_tune(struct cuda_gemm_state *g, cudaStream_t stream, const char *path,
                   void (*report)(void *context, const char *line), void *context, struct err *err);

#ifdef __cplusplus
}
#endif

#endif
