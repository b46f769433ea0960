/* ffn_gelu.c: W2 gelu(W1 x) (Hendrycks & Gimpel 2016) and its gated form, geglu (Shazeer 2020). GPT-NeoX trained with
 * the tanh form, Hugging Face evaluates with erf: the spec says which. */
#include "worker/ffn.h"

static struct activation gelu_activation(const struct spec *spec)
{
    return (struct activation){.kind = spec->model.ffn.gelu == GELU_TANH ? ACT_GELU_TANH : ACT_GELU_ERF};
}

const struct ffn ffn_gelu = {
    .type = FFN_GELU,
    .gated = false,
    .activation = gelu_activation,
    .find = ffn_dense_find,
    .forward = ffn_dense_forward,
    .rebuild = ffn_dense_rebuild,
    .backward = ffn_dense_backward,
};

const struct ffn ffn_geglu = {
    .type = FFN_GEGLU,
    .gated = true,
    .activation = gelu_activation,
    .find = ffn_dense_find,
    .forward = ffn_dense_forward,
    .rebuild = ffn_dense_rebuild,
    .backward = ffn_dense_backward,
};
