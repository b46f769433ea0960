/* optimizer_muon.c: Muon (Jordan et al. 2024) for the matrices of layers; AdamW for all else, whose learning rate keeps
 * its ratio to muon's all along the schedule. */
#include "worker/optimizer.h"

#include "worker/model_parts.h"

static void muon_update(struct model *m)
{
    const struct spec *s = m->spec;
    optimizer_norm(m);
    m->ops->muon(m->backend, &(struct muon_args){
                                 .tensors = m->sorted,
                                 .count = m->matrices,
                                 .norm = m->grad_norm,
                                 .clip = s->train.clip,
                                 .momentum = s->train.optimizer.momentum,
                                 .weight_decay = s->train.weight_decay,
                                 .scratch = m->orthogonal,
                             });
    optimizer_adamw_apply(m, m->sorted + m->matrices, m->embeddings + m->vectors,
                          s->train.optimizer.rest_lr / s->train.optimizer.lr);
}

const struct optimizer optimizer_muon = {.type = OPTIMIZER_MUON, .update = muon_update};
