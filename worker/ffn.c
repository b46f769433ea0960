#include "worker/ffn.h"

/* Of a type's descriptors the one that is always right comes last. */
static const struct ffn *const ffns[] = {
    &ffn_gelu,
    &ffn_relu2,
    &ffn_swiglu,
    &ffn_geglu,
    &ffn_elephant_shaped,
    &ffn_elephant,
    &ffn_elephant_glu_shaped,
    &ffn_elephant_glu,
    &ffn_mini_moe_vector,
    &ffn_mini_moe,
    &ffn_sdpa,
};

const struct ffn *ffn_find(const struct spec *spec)
{
    for (size_t i = 0; i < sizeof(ffns) / sizeof(ffns[0]); i++)
        if (ffns[i]->type == spec->model.ffn.type && (!ffns[i]->asked || ffns[i]->asked(spec)))
            return ffns[i];
    return NULL;
}
