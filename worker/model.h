/* model.h: the transformer of MODELS (decoder-only, parallel or sequential residual) as calls on a backend.
 *
 * One model owns its arena. Forward and backward work on one micro-batch; gradients accumulate from
 * model_zero_gradients on. Work is done in steps (backend.h): model_step_begin, model_load, zeroing, passes, perhaps an
 * update, model_step_end; then model_step_wait tells the results, while the next step may already have begun. Thread:
 * the trainer's main thread.
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
/* Initial values from (seed, "init", parameter name): N(0, sqrt(2/(5d))) and N(0, 2/(L sqrt(d))) for output layers;
 * drawn by `threads` threads, which change no bit. */
int model_init_parameters(struct model *m, int64_t seed, int threads, struct err *err);

enum { MODEL_STEPS_IN_FLIGHT = 2 };
struct model_results {
    double loss_sum; /* negative log-likelihoods in nats since the last zeroing */
    double grad_norm;
};

/* Steps begun and not yet waited for, at most model_steps_in_flight (1 or 2). */
int model_steps_in_flight(const struct model *m);
void model_step_begin(struct model *m, const struct step_values *values);
void model_step_end(struct model *m);
int model_step_wait(struct model *m, struct model_results *out, struct err *err);

/* Which windows the next model_load has, so that pauses fall alike whenever they come; an evaluation's or an epoch's.
 * Not needed without memory.pause and memory.rmt. */
struct window_key;
void model_choose_windows(struct model *m, const struct window_key *key);
/* rows <= train.batch sequences of seq_len; host arrays [rows*seq_len], free on return, `first` being read (and needed)
 * with data.reset document, a memory or pauses only. */
void model_load(struct model *m, int64_t rows, const int32_t *inputs, const int32_t *targets, const int32_t *first);
void model_zero_gradients(struct model *m); /* and the loss sum */
void model_zero_loss(struct model *m);
/* Sequences from..from+rows of those loaded, rows <= plan->micro_batch. Adds to the gradients d(loss)/dp with
 * loss = step_values.loss_scale * sum of negative log-likelihoods over counted targets, and to the loss sum. */
/* A row's memory belongs to its number; training and evaluations have memories of their own, and each pass over a row
 * moves one of them on. What `first` hides of a memory does not count: a stream that begins needs no clearing. */
void model_forward_backward(struct model *m, int64_t from, int64_t rows);
void model_forward(struct model *m, int64_t from, int64_t rows);
/* What the optimizer does when all gradients are there; a fused one, as lomo, has updated the matrices by then. A step
 * whose gradient norm is not finite changes nothing and is not counted, but without clipping a fused one finds it out
 * too late. */
void model_update(struct model *m);

/* One text, position by position, outside steps; wants data.reset epoch, no memory.* and a plan without recomputation,
 * where each layer's keys and values stay for the positions after them. model_read begins a text of n tokens, 1 to
 * seq_len; model_read_next goes on with one more, at most seq_len in all. logits [plan->vocab] (host) are those of the
 * token after the last one read. Tokens are below the vocabulary. Errors: the backend's. */
int model_read(struct model *m, const int32_t *tokens, int64_t n, float *logits, struct err *err);
int model_read_next(struct model *m, int32_t token, float *logits, struct err *err);

/* State for checkpoints: parameters and moments by name ("embed.weight", "embed.weight.m", ".v"), as many as the
 * optimizer has; adalomo's rows and columns are ".row" and ".col"; then the memory of training ("layers.3.past",
 * "rmt.state"). Parameters come first, in the plan's order. */
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
/* Updates applied so far, for bias corrections. */
int model_read_updates(struct model *m, int64_t *updates, struct err *err);
int model_write_updates(struct model *m, int64_t updates, struct err *err);

#endif
