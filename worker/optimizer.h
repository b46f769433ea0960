/* optimizer.h: the optimizers. One descriptor a spec's train.optimizer.type, in a file of its own; optimizer.c lists
 * them. Adding one is that file, its line in optimizer.c, what it keeps in schema/plan_optimizer.c, its defaults in
 * schema/spec_presets.c and its operator in kernels/. */
#ifndef BAKA_WORKER_OPTIMIZER_H
#define BAKA_WORKER_OPTIMIZER_H

#include "schema/spec.h"

struct model;
struct optimizer_tensor;

struct optimizer {
    enum spec_optimizer type;
    /* The step's update, when all gradients are there. */
    void (*update)(struct model *m);
    /* Of those fused into the backward pass, NULL in others: takes the gradient of one matrix, and leaves zeros; and
     * finds the norm to clip by, when a first pass has shown all gradients. */
    void (*take_gradient)(struct model *m, int index);
    void (*measure)(struct model *m);
    /* Updates tensors by their gradients, for optimizer_fused.c; the last call of a step counts it. */
    void (*apply)(struct model *m, const struct optimizer_tensor *tensors, int count, bool last);
};

extern const struct optimizer optimizer_adamw, optimizer_sgd, optimizer_lion, optimizer_muon, optimizer_lomo,
    optimizer_adalomo;

/* NULL for a type that there is none of. */
const struct optimizer *optimizer_find(enum spec_optimizer type);

/* The global norm, for those that need all gradients at once. */
void optimizer_norm(struct model *m);
/* AdamW on some of the tensors, lr times lr_factor; counts the update. */
void optimizer_adamw_apply(struct model *m, const struct optimizer_tensor *tensors, int count, double lr_factor);

/* The parts that lomo and adalomo share. */
void optimizer_fused_take_gradient(struct model *m, int index);
void optimizer_fused_measure(struct model *m);
void optimizer_fused_update(struct model *m);
/* The norm that a fused optimizer clips by; NULL: it does not. */
const double *optimizer_fused_norm(const struct model *m);

#endif
