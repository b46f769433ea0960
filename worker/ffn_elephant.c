/* ffn_elephant.c: E(x) = 1/(1 + |x/a|^d) (Lan & Mahmood, arXiv 2310.01365) as a plain layer, W2 E(W1 x), and as the
 * gate of a gated one, W3 (E(Wg x) * (Wu x)); nothing of it is learned (ffn_elephant_shaped.c: what is). */
#include "worker/ffn.h"

static struct activation elephant_activation(const struct spec *spec)
{
    return (struct activation){.kind = ACT_ELEPHANT, .a = spec->model.ffn.elephant.a, .p = spec->model.ffn.elephant.d};
}

const struct ffn ffn_elephant = {
    .type = FFN_ELEPHANT,
    .gated = false,
    .activation = elephant_activation,
    .find = ffn_dense_find,
    .forward = ffn_dense_forward,
    .rebuild = ffn_dense_rebuild,
    .backward = ffn_dense_backward,
};

const struct ffn ffn_elephant_glu = {
    .type = FFN_ELEPHANT_GLU,
    .gated = true,
    .activation = elephant_activation,
    .find = ffn_dense_find,
    .forward = ffn_dense_forward,
    .rebuild = ffn_dense_rebuild,
    .backward = ffn_dense_backward,
};
