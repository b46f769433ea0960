/* optimizer_adamw.c: AdamW (Loshchilov & Hutter 2019), the default; muon gives it what is no matrix of a layer. */
#include "worker/optimizer.h"

#include "worker/model_parts.h"

void optimizer_adamw_apply(struct model *m, const struct optimizer_tensor *tensors, int count, double lr_factor)
{
    m->ops->adamw(m->backend, &(struct adamw_args){
                                  .tensors = tensors,
                                  .count = count,
                                  .norm = m->grad_norm,
                                  .updates = m->updates,
                                  .clip = m->spec->train.clip,
                                  .beta1 = m->spec->train.optimizer.betas[0],
                                  .beta2 = m->spec->train.optimizer.betas[1],
                                  .eps = m->spec->train.optimizer.eps,
                                  .weight_decay = m->spec->train.weight_decay,
                                  .lr_factor = lr_factor,
                              });
}

static void adamw_update(struct model *m)
{
    optimizer_norm(m);
    optimizer_adamw_apply(m, m->tensors, m->plan->parameter_count, 1);
}

const struct optimizer optimizer_adamw = {.type = OPTIMIZER_ADAMW, .update = adamw_update};
