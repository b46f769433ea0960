/* activation.h: what ffn.cu needs of activation.cu beyond the operators. */
#ifndef BAKA_KERNELS_CUDA_ACTIVATION_H
#define BAKA_KERNELS_CUDA_ACTIVATION_H

#include "kernels/cuda/device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* cuda_activation_backward, and in the same pass d_bias += the column sums of the gradient that pre becomes. False, and
 * nothing done, for widths and pointers that do not move in vectors. */
bool cuda_activation_backward_sums(struct backend *b, const struct ffn_up_backward_args *a);

#ifdef __cplusplus
}
#endif

#endif
