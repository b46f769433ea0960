/* column_sum.cuh: sums over the rows of a matrix: bias gradients. */
#ifndef BAKA_KERNELS_CUDA_COLUMN_SUM_CUH
#define BAKA_KERNELS_CUDA_COLUMN_SUM_CUH

#include "kernels/cuda/device.h"

/* Bytes of scratch that cuda_column_sum needs. */
size_t cuda_column_sum_bytes(int64_t rows, int64_t columns);
/* sums[j] += sum over i of x[i * ld + j], in fp32, in an order that the shape fixes. x: storage. `scratch`: as many
 * bytes as above, free for others after this call on the same stream. */
void cuda_column_sum(struct backend *b, int64_t rows, int64_t columns, int64_t ld, const void *x, float *sums,
                     void *scratch, const char *operator_name);

#endif
