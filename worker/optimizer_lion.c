/* optimizer_lion.c: Lion (Chen et al. 2023). */
#include "worker/optimizer.h"

#include "worker/model_parts.h"

static void lion_update(struct model *m)
{
    optimizer_norm(m);
    m->ops->lion(m->backend, &(struct lion_args){
                                 .tensors = m->tensors,
                                 .count = m->plan->parameter_count,
                                 .norm = m->grad_norm,
                                 .updates = m->updates,
                                 .clip = m->spec->train.clip,
                                 .beta1 = m->spec->train.optimizer.betas[0],
                                 .beta2 = m->spec->train.optimizer.betas[1],
                                 .weight_decay = m->spec->train.weight_decay,
                             });
}

const struct optimizer optimizer_lion = {.type = OPTIMIZER_LION, .update = lion_update};
