/* pointwise.h: how much workspace the operators that are no matrix products take, for whoever sizes it. Host only,
 * without a device; upper bounds, exact but for the library's sort. */
#ifndef BAKA_KERNELS_CUDA_POINTWISE_H
#define BAKA_KERNELS_CUDA_POINTWISE_H

#include <stddef.h>
#include <stdint.h>
#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* outputs: 1 or 2. 20 MiB at most on 132 multiprocessors, or 20 bytes a column where that is more. */
size_t cuda_norm_backward_bytes(int64_t rows, int64_t dim, int outputs, int multiprocessors);
/* About 28 bytes a row, 1 MiB, and up to 8 MiB of partial rows. */
size_t cuda_embed_backward_bytes(int64_t rows, int64_t dim);
/* 8 bytes for each 16,384 elements of each tensor. */
size_t cuda_grad_squares_bytes(const struct optimizer_tensor *tensors, int count);
size_t cuda_adamw_bytes(void);

#ifdef __cplusplus
}
#endif

#endif
