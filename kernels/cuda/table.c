/* table.c: the CUDA backend's entries: every operator by way of cuda_call, so that steps can be replayed. */
#include "kernels/cuda/table.h"

#include "kernels/cuda/backend.h"
#include "kernels/cuda/operators.h"

/* Lists of calls are compared byte by byte: padding must not differ. */
#define OPERATOR(name, type)                                                                                           \
    static void run_##name(struct backend *b, const void *args)                                                        \
    {                                                                                                                  \
        cuda_##name(b, args);                                                                                          \
    }                                                                                                                  \
    static void call_##name(struct backend *b, const struct type *a)                                                   \
    {                                                                                                                  \
        struct type copy = *a;                                                                                         \
        __builtin_clear_padding(&copy);                                                                                \
        cuda_call((struct cuda_backend *)b, run_##name, #name, &copy, sizeof copy);                                    \
    }

/* Of nothing but the order in which operators run. */
#define SWITCH(name)                                                                                                   \
    static void run_##name(struct backend *b, const void *args)                                                        \
    {                                                                                                                  \
        (void)args;                                                                                                    \
        cuda_##name(b);                                                                                                \
    }                                                                                                                  \
    static void call_##name(struct backend *b)                                                                         \
    {                                                                                                                  \
        cuda_call((struct cuda_backend *)b, run_##name, #name, "", 0);                                                 \
    }

SWITCH(branches_begin)
SWITCH(branches_next)
SWITCH(branches_end)
OPERATOR(embed_forward, embed_args)
OPERATOR(embed_backward, embed_args)
OPERATOR(put_rows, rows_args)
OPERATOR(take_rows, rows_args)
OPERATOR(norm_forward, norm_forward_args)
OPERATOR(norm_backward, norm_backward_args)
OPERATOR(linear_forward, linear_args)
OPERATOR(linear_backward, linear_backward_args)
OPERATOR(activation_forward, ffn_up_args)
OPERATOR(activation_backward, ffn_up_backward_args)
OPERATOR(ffn_up_forward, ffn_up_args)
OPERATOR(ffn_up_backward, ffn_up_backward_args)
OPERATOR(elephant_forward, elephant_args)
OPERATOR(elephant_backward, elephant_args)
OPERATOR(unit_gate_forward, unit_gate_args)
OPERATOR(unit_gate_backward, unit_gate_args)
OPERATOR(unit_sum_forward, unit_sum_args)
OPERATOR(unit_sum_backward, unit_sum_args)
OPERATOR(lookup_forward, lookup_args)
OPERATOR(lookup_backward, lookup_args)
OPERATOR(attention_forward, attention_args)
OPERATOR(attention_backward, attention_args)
OPERATOR(attention_next, attention_args)
OPERATOR(remember, remember_args)
OPERATOR(classifier, classifier_args)
OPERATOR(grad_squares, grad_squares_args)
OPERATOR(norm_of_squares, norm_of_squares_args)
OPERATOR(adamw, adamw_args)
OPERATOR(sgd, sgd_args)
OPERATOR(lion, lion_args)
OPERATOR(muon, muon_args)
OPERATOR(adalomo, adalomo_args)
OPERATOR(copy_parameters, copy_parameters_args)

void cuda_fill(struct backend_ops *ops)
{
    ops->steps_in_flight = CUDA_STEPS_IN_FLIGHT;
    ops->step_begin = cuda_step_begin;
    ops->step_end = cuda_step_end;
    ops->step_wait = cuda_step_wait;
    ops->upload = cuda_upload;
    ops->download = cuda_download;
    ops->zero = cuda_zero;
    ops->sync = cuda_sync;
    ops->branches_begin = call_branches_begin;
    ops->branches_next = call_branches_next;
    ops->branches_end = call_branches_end;
    ops->embed_forward = call_embed_forward;
    ops->embed_backward = call_embed_backward;
    ops->put_rows = call_put_rows;
    ops->take_rows = call_take_rows;
    ops->norm_forward = call_norm_forward;
    ops->norm_backward = call_norm_backward;
    ops->linear_forward = call_linear_forward;
    ops->linear_backward = call_linear_backward;
    ops->activation_forward = call_activation_forward;
    ops->activation_backward = call_activation_backward;
    ops->ffn_up_forward = call_ffn_up_forward;
    ops->ffn_up_backward = call_ffn_up_backward;
    ops->elephant_forward = call_elephant_forward;
    ops->elephant_backward = call_elephant_backward;
    ops->unit_gate_forward = call_unit_gate_forward;
    ops->unit_gate_backward = call_unit_gate_backward;
    ops->unit_sum_forward = call_unit_sum_forward;
    ops->unit_sum_backward = call_unit_sum_backward;
    ops->lookup_forward = call_lookup_forward;
    ops->lookup_backward = call_lookup_backward;
    ops->attention_forward = call_attention_forward;
    ops->attention_backward = call_attention_backward;
    ops->attention_next = call_attention_next;
    ops->remember = call_remember;
    ops->classifier = call_classifier;
    ops->grad_squares = call_grad_squares;
    ops->norm_of_squares = call_norm_of_squares;
    ops->adamw = call_adamw;
    ops->sgd = call_sgd;
    ops->lion = call_lion;
    ops->muon = call_muon;
    ops->adalomo = call_adalomo;
    ops->copy_parameters = call_copy_parameters;
}
