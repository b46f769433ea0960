/* column_sum.cuh: sums over the rows of a matrix: bias gradients. */
#ifndef BAKA_KERNELS_CUDA_COLUMN_SUM_CUH
#define BAKA_KERNELS_CUDA_COLUMN_SUM_CUH

#include "kernels/cuda/device.h"

/* Rows are cut into chunks, whose sums lie as [count][columns] in scratch before they are added up. */
struct column_chunks {
    int64_t rows, count; /* rows: of a chunk, the last may have fewer */
};
struct column_chunks cuda_column_chunks(int64_t rows);
/* sums[j] += the sums of `count` chunks, in an order that their number fixes. */
void cuda_column_sum_chunks(struct backend *b, int64_t count, int64_t columns, const float *partial, float *sums,
                            const char *operator_name);

/* Bytes of scratch that the chunks take. */
size_t cuda_column_sum_bytes(int64_t rows, int64_t columns);
/* sums[j] += sum over i of x[i * ld + j], in fp32, in an order that the shape fixes. x: storage. `scratch`: as many
 * bytes as above, free for others after this call on the same stream. */
void cuda_column_sum(struct backend *b, int64_t rows, int64_t columns, int64_t ld, const void *x, float *sums,
                     void *scratch, const char *operator_name);

#endif
