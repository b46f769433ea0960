/* optimizer_adalomo.c: AdaLomo (Lv et al. 2023, arXiv 2310.10195): a factored second moment and updates of the
 * parameters' own size, within the backward pass. */
#include "worker/model_parts.h"
#include "worker/optimizer.h"

static void adalomo_apply(struct model *m, const struct optimizer_tensor *tensors, int count, bool last)
{
    m->ops->adalomo(m->backend, &(struct adalomo_args){
                                    .tensors = tensors,
                                    .count = count,
                                    .norm = optimizer_fused_norm(m),
                                    .updates = m->updates,
                                    .counts = last,
                                    .clip = m->spec->train.clip,
                                    .weight_decay = m->spec->train.weight_decay,
                                });
}

const struct optimizer optimizer_adalomo = {
    .type = OPTIMIZER_ADALOMO,
    .update = optimizer_fused_update,
    .take_gradient = optimizer_fused_take_gradient,
    .measure = optimizer_fused_measure,
    .apply = adalomo_apply,
};
