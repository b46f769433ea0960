/* operators.c: the table of one compiled copy. */
#include "kernels/cpu/cpu.h"

void SYM(cpu_fill)(struct backend_ops *ops)
{
    ops->embed_forward = SYM(embed_forward);
    ops->embed_backward = SYM(embed_backward);
    ops->put_rows = SYM(put_rows);
    ops->take_rows = SYM(take_rows);
    ops->norm_forward = SYM(norm_forward);
    ops->norm_backward = SYM(norm_backward);
    ops->linear_forward = SYM(linear_forward);
    ops->linear_backward = SYM(linear_backward);
    ops->activation_forward = SYM(activation_forward);
    ops->activation_backward = SYM(activation_backward);
    ops->ffn_up_forward = SYM(ffn_up_forward);
    ops->ffn_up_backward = SYM(ffn_up_backward);
    ops->elephant_forward = SYM(elephant_forward);
    ops->elephant_backward = SYM(elephant_backward);
    ops->unit_gate_forward = SYM(unit_gate_forward);
    ops->unit_gate_backward = SYM(unit_gate_backward);
    ops->unit_sum_forward = SYM(unit_sum_forward);
    ops->unit_sum_backward = SYM(unit_sum_backward);
    ops->lookup_forward = SYM(lookup_forward);
    ops->lookup_backward = SYM(lookup_backward);
    ops->attention_forward = SYM(attention_forward);
    ops->attention_backward = SYM(attention_backward);
    ops->attention_next = SYM(attention_next);
    ops->remember = SYM(remember);
    ops->classifier = SYM(classifier);
    ops->grad_squares = SYM(grad_squares);
    ops->norm_of_squares = SYM(norm_of_squares);
    ops->adamw = SYM(adamw);
    ops->sgd = SYM(sgd);
    ops->lion = SYM(lion);
    ops->muon = SYM(muon);
    ops->adalomo = SYM(adalomo);
    ops->copy_parameters = SYM(copy_parameters);
}
