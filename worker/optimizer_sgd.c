/* optimizer_sgd.c: stochastic gradient descent, with momentum if the spec has one. The norm is summed as lomo sums it,
 * so both clip by the same bits. */
#include "worker/optimizer.h"

#include "worker/model_parts.h"

static void sgd_update(struct model *m)
{
    optimizer_norm(m);
    m->ops->sgd(m->backend, &(struct sgd_args){
                                .tensors = m->tensors,
                                .count = m->plan->parameter_count,
                                .norm = m->grad_norm,
                                .updates = m->updates,
                                .clip = m->spec->train.clip,
                                .momentum = m->spec->train.optimizer.momentum,
                                .weight_decay = m->spec->train.weight_decay,
                            });
}

const struct optimizer optimizer_sgd = {.type = OPTIMIZER_SGD, .update = sgd_update};
