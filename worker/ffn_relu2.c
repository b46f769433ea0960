/* ffn_relu2.c: W2 relu(W1 x)^2 (So et al. 2021, Primer). */
#include "worker/ffn.h"

static struct activation relu2_activation(const struct spec *spec)
{
    (void)spec;
    return (struct activation){.kind = ACT_RELU2};
}

const struct ffn ffn_relu2 = {
    .type = FFN_RELU2,
    .gated = false,
    .activation = relu2_activation,
    .find = ffn_dense_find,
    .forward = ffn_dense_forward,
    .rebuild = ffn_dense_rebuild,
    .backward = ffn_dense_backward,
};
