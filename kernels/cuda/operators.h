/* operators.h: the operators of the CUDA backend, one .cu each; semantics in kernels/backend.h. They enqueue on the
 * backend's stream, whether a capture is under way or not. */
#ifndef BAKA_KERNELS_CUDA_OPERATORS_H
#define BAKA_KERNELS_CUDA_OPERATORS_H

#include "kernels/cuda/device.h"

#ifdef __cplusplus
extern "C" {
#endif

void cuda_embed_forward(struct backend *b, const struct embed_args *a);
void cuda_embed_backward(struct backend *b, const struct embed_args *a);
void cuda_put_rows(struct backend *b, const struct rows_args *a);
void cuda_take_rows(struct backend *b, const struct rows_args *a);
void cuda_norm_forward(struct backend *b, const struct norm_forward_args *a);
void cuda_norm_backward(struct backend *b, const struct norm_backward_args *a);
void cuda_linear_forward(struct backend *b, const struct linear_args *a);
void cuda_linear_backward(struct backend *b, const struct linear_backward_args *a);
void cuda_activation_forward(struct backend *b, const struct ffn_up_args *a);
void cuda_activation_backward(struct backend *b, const struct ffn_up_backward_args *a);
void cuda_ffn_up_forward(struct backend *b, const struct ffn_up_args *a);
void cuda_ffn_up_backward(struct backend *b, const struct ffn_up_backward_args *a);
void cuda_elephant_forward(struct backend *b, const struct elephant_args *a);
void cuda_elephant_backward(struct backend *b, const struct elephant_args *a);
void cuda_unit_gate_forward(struct backend *b, const struct unit_gate_args *a);
void cuda_unit_gate_backward(struct backend *b, const struct unit_gate_args *a);
void cuda_unit_sum_forward(struct backend *b, const struct unit_sum_args *a);
void cuda_unit_sum_backward(struct backend *b, const struct unit_sum_args *a);
void cuda_lookup_forward(struct backend *b, const struct lookup_args *a);
void cuda_lookup_backward(struct backend *b, const struct lookup_args *a);
void cuda_attention_forward(struct backend *b, const struct attention_args *a);
void cuda_attention_backward(struct backend *b, const struct attention_args *a);
void cuda_attention_next(struct backend *b, const struct attention_args *a);
void cuda_remember(struct backend *b, const struct remember_args *a);
void cuda_classifier(struct backend *b, const struct classifier_args *a);
void cuda_grad_squares(struct backend *b, const struct grad_squares_args *a);
void cuda_norm_of_squares(struct backend *b, const struct norm_of_squares_args *a);
void cuda_adamw(struct backend *b, const struct adamw_args *a);
void cuda_sgd(struct backend *b, const struct sgd_args *a);
void cuda_lion(struct backend *b, const struct lion_args *a);
void cuda_muon(struct backend *b, const struct muon_args *a);
void cuda_adalomo(struct backend *b, const struct adalomo_args *a);
void cuda_copy_parameters(struct backend *b, const struct copy_parameters_args *a);

#ifdef __cplusplus
}
#endif

#endif
