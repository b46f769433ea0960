/* model.h: the transformer of MODELS (decoder-only, parallel or sequential residual) as calls on a backend.
 *
 * One model owns its arena. Forward and backward work on one micro-batch; gradients accumulate from
 * model_zero_gradients on. Thread: the trainer's main thread.
 */
#ifndef BAKA_WORKER_MODEL_H
#define BAKA_WORKER_MODEL_H

#include <stdint.h>
#include "kernels/backend.h"
#include "schema/plan.h"
#include "schema/spec.h"

struct err;
struct model;

/* Takes the backend (opened with plan->bytes.by_class[PLAN_WORKSPACE]), but on failure it stays the caller's to close;
 * plan (made for the backend's storage) and spec must outlive the model. Errors: the backend's arena (ERR_NO_MEMORY),
 * ERR_INTERNAL when plan and spec do not belong together. */
int model_create(const struct spec *spec, const struct plan *plan, struct backend *backend, struct model **out,
                 struct err *err);
void model_destroy(struct model *m); /* closes the backend too */
/* Initial values from (seed, "init", parameter name): N(0, sqrt(2/(5d))) and N(0, 2/(L sqrt(d))) for output layers. */
int model_init_parameters(struct model *m, int64_t seed, struct err *err);

void model_zero_gradients(struct model *m); /* and the loss sum */
/* rows <= plan->micro_batch sequences of seq_len; host arrays [rows*seq_len], `first` being read (and needed) with
 * data.reset document only. Adds to the gradients d(loss)/dp with
 * loss = loss_scale * sum of negative log-likelihoods over counted targets, and to the loss sum. */
void model_forward_backward(struct model *m, int64_t rows, const int32_t *inputs, const int32_t *targets,
                            const int32_t *first, double loss_scale);
void model_forward(struct model *m, int64_t rows, const int32_t *inputs, const int32_t *targets, const int32_t *first);
/* Sum of negative log-likelihoods in nats since model_zero_gradients / model_zero_loss. Synchronises. */
int model_read_loss(struct model *m, double *sum_nats, struct err *err);
void model_zero_loss(struct model *m);
/* Global norm, clipping, AdamW. `step` numbers the step in errors, `lr` is this step's rate. Updates are counted inside
 * (bias correction); a step whose gradient norm is not finite changes nothing and is not counted. Synchronises. */
int model_optimizer_step(struct model *m, int64_t step, double lr, double *grad_norm, struct err *err);

/* State for checkpoints: parameters and moments by name ("embed.weight", "embed.weight.m", ".v"). */
int model_state_count(const struct model *m);
struct model_tensor {
    char name[72];
    int64_t rows, cols;
    size_t bytes;
    enum dtype dtype;
};
void model_state_tensor(const struct model *m, int index, struct model_tensor *out);
int model_read_state(struct model *m, int index, void *host_dst, struct err *err);
int model_write_state(struct model *m, int index, const void *host_src, struct err *err);
int64_t model_updates(const struct model *m);
void model_set_updates(struct model *m, int64_t updates);

#endif
