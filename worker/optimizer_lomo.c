/* optimizer_lomo.c: LOMO (Lv et al. 2023): stochastic gradient descent within the backward pass, without any state. */
#include "worker/model_parts.h"
#include "worker/optimizer.h"

static void lomo_apply(struct model *m, const struct optimizer_tensor *tensors, int count, bool last)
{
    m->ops->sgd(m->backend, &(struct sgd_args){
                                .tensors = tensors,
                                .count = count,
                                .norm = optimizer_fused_norm(m),
                                .updates = last ? m->updates : NULL,
                                .clip = m->spec->train.clip,
                                .weight_decay = m->spec->train.weight_decay,
                            });
}

const struct optimizer optimizer_lomo = {
    .type = OPTIMIZER_LOMO,
    .update = optimizer_fused_update,
    .take_gradient = optimizer_fused_take_gradient,
    .measure = optimizer_fused_measure,
    .apply = lomo_apply,
};
