/* table.h: fills the CUDA backend's operators and steps. */
#ifndef BAKA_KERNELS_CUDA_TABLE_H
#define BAKA_KERNELS_CUDA_TABLE_H

#include "kernels/backend.h"

void cuda_fill(struct backend_ops *ops);

#endif
