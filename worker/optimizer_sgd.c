/* optimizer_sgd.c: stochastic gradient descent, with momentum if the spec has one. The norm is summed as lomo sums it,
 * tensor by tensor, so that both clip by the same bits. */
#include "worker/optimizer.h"

#include "worker/model_parts.h"

static void sgd_update(struct model *m)
{
    int count = m->plan->parameter_count;
    m->ops->grad_squares(m->backend,
                         &(struct grad_squares_args){.tensors = m->tensors, .count = count, .squares = m->squares});
    m->ops->norm_of_squares(
        m->backend, &(struct norm_of_squares_args){.squares = m->squares, .count = count, .norm = m->grad_norm});
    m->ops->sgd(m->backend, &(struct sgd_args){
                                .tensors = m->tensors,
                                .count = count,
                                .norm = m->grad_norm,
                                .updates = m->updates,
                                .clip = m->spec->train.clip,
                                .momentum = m->spec->train.optimizer.momentum,
                                .weight_decay = m->spec->train.weight_decay,
                            });
}

const struct optimizer optimizer_sgd = {.type = OPTIMIZER_SGD, .update = sgd_update};
