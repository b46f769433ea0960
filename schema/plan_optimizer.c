#include "schema/plan_optimizer.h"

static const struct plan_optimizer optimizers[] = {
    {.type = OPTIMIZER_ADAMW,
     .states = {[PARAMETER_VECTOR] = {STATE_WHOLE, STATE_WHOLE},
                [PARAMETER_MATRIX] = {STATE_WHOLE, STATE_WHOLE},
                [PARAMETER_EMBEDDING] = {STATE_WHOLE, STATE_WHOLE}}},
    {.type = OPTIMIZER_SGD,
     .states = {[PARAMETER_VECTOR] = {STATE_MOMENTUM},
                [PARAMETER_MATRIX] = {STATE_MOMENTUM},
                [PARAMETER_EMBEDDING] = {STATE_MOMENTUM}}},
    {.type = OPTIMIZER_LION,
     .states = {[PARAMETER_VECTOR] = {STATE_WHOLE},
                [PARAMETER_MATRIX] = {STATE_WHOLE},
                [PARAMETER_EMBEDDING] = {STATE_WHOLE}}},
    {.type = OPTIMIZER_MUON,
     .orthogonal = true,
     .states = {[PARAMETER_VECTOR] = {STATE_WHOLE, STATE_WHOLE},
                [PARAMETER_MATRIX] = {STATE_WHOLE},
                [PARAMETER_EMBEDDING] = {STATE_WHOLE, STATE_WHOLE}}},
    {.type = OPTIMIZER_LOMO, .fused = true},
    {.type = OPTIMIZER_ADALOMO,
     .fused = true,
     .states = {[PARAMETER_VECTOR] = {STATE_NONE, STATE_WHOLE},
                [PARAMETER_MATRIX] = {STATE_ROWS, STATE_COLUMNS},
                [PARAMETER_EMBEDDING] = {STATE_ROWS, STATE_COLUMNS}}},
};

const struct plan_optimizer *plan_optimizer_find(enum spec_optimizer type)
{
    for (size_t i = 0; i < sizeof(optimizers) / sizeof(optimizers[0]); i++)
        if (optimizers[i].type == type)
            return &optimizers[i];
    return NULL;
}
