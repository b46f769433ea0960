#include "worker/ffn.h"

static const struct ffn *const ffns[] = {
    &ffn_gelu, &ffn_relu2, &ffn_swiglu, &ffn_geglu, &ffn_elephant, &ffn_elephant_glu,
};

const struct ffn *ffn_find(enum spec_ffn type)
{
    for (size_t i = 0; i < sizeof(ffns) / sizeof(ffns[0]); i++)
        if (ffns[i]->type == type)
            return ffns[i];
    return NULL;
}
