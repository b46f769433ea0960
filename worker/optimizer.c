#include "worker/optimizer.h"

#include "worker/model_parts.h"

static const struct optimizer *const optimizers[] = {
    &optimizer_adamw, &optimizer_sgd, &optimizer_lion, &optimizer_muon, &optimizer_lomo, &optimizer_adalomo,
};

const struct optimizer *optimizer_find(enum spec_optimizer type)
{
    for (size_t i = 0; i < sizeof(optimizers) / sizeof(optimizers[0]); i++)
        if (optimizers[i]->type == type)
            return optimizers[i];
    return NULL;
}

void optimizer_norm(struct model *m)
{
    int count = m->plan->parameter_count;
    m->ops->grad_squares(m->backend,
                         &(struct grad_squares_args){.tensors = m->tensors, .count = count, .squares = m->squares});
    m->ops->norm_of_squares(
        m->backend, &(struct norm_of_squares_args){.squares = m->squares, .count = count, .norm = m->grad_norm});
}
