/* ffn_swiglu.c: W3 (silu(Wg x) * (Wu x)) (Shazeer 2020). */
#include "worker/ffn.h"

struct activation ffn_silu(const struct spec *spec)
{
    (void)spec;
    return (struct activation){.kind = ACT_SILU};
}

const struct ffn ffn_swiglu = {
    .type = FFN_SWIGLU,
    .gated = true,
    .activation = ffn_silu,
    .find = ffn_dense_find,
    .forward = ffn_dense_forward,
    .rebuild = ffn_dense_rebuild,
    .backward = ffn_dense_backward,
};
