/* step_check.h: is a step the same when it is done twice? The model's whole state (parameters, moments, memories) is
 * kept on the host before the step, put back after it, and what the second time makes of it is compared with what the
 * first did, bit for bit. So gradients, updates and the operators of every optimizer are covered, fused ones too.
 * Between steps only. Thread: the trainer's main one. */
#ifndef BAKA_WORKER_STEP_CHECK_H
#define BAKA_WORKER_STEP_CHECK_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct model;

struct step_check {
    void **tensors; /* by index of the state; NULL until first needed */
    void *spare;    /* the largest one's size */
    int count;
    int64_t updates;
};

/* Before the step: keeps the state. ERR_NO_MEMORY, or the backend's error. */
int step_check_keep(struct step_check *k, struct model *model, struct err *err);
/* After it: the kept state is the model's again, and the state that the step made is kept in its place. */
int step_check_swap(struct step_check *k, struct model *model, struct err *err);
/* After the second time: ERR_DAMAGED with the first tensor that is not what is kept. */
int step_check_compare(struct step_check *k, struct model *model, struct err *err);
void step_check_finish(struct step_check *k);

#endif
