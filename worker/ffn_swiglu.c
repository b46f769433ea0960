/* ffn_swiglu.c: W3 (silu(Wg x) * (Wu x)) (Shazeer 2020). */
#include "worker/ffn.h"

static struct activation silu_activation(const struct spec *spec)
{
    (void)spec;
    return (struct activation){.kind = ACT_SILU};
}

const struct ffn ffn_swiglu = {
    .type = FFN_SWIGLU,
    .gated = true,
    .activation = silu_activation,
    .forward = ffn_dense_forward,
    .rebuild = ffn_dense_rebuild,
    .backward = ffn_dense_backward,
};
