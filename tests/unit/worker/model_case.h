/* model_case.h: a model on a backend for tests: small specs, parameters and gradients as flat vectors of doubles in the
 * plan's order. Failures end the test through cmocka. */
#ifndef TESTS_WORKER_MODEL_CASE_H
#define TESTS_WORKER_MODEL_CASE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "kernels/backend.h"
#include "schema/plan.h"
#include "worker/model.h"

struct model_case {
    struct spec spec;
    struct plan plan;
    struct model *model;
    int32_t *inputs, *targets, *first; /* [batch*seq_len] */
    int64_t counted;                   /* targets that are */
};

/* dim 8, 2 layers, 2 heads, d_ff 12, vocabulary 13, 3 sequences of 5, gelu, LayerNorm, parallel, biases. */
struct spec case_spec(void);
/* Each feed-forward layer that differs in more than its activation's name: sets type and fields of ffn i, from 0. */
enum { CASE_FFNS = 14 };
void case_set_ffn(struct spec *s, int i);
enum { CASE_VOCAB = 13 };
/* backend "cpu" (fp32) or "cpu-fp64". Inputs and targets are drawn from the seed, some targets not counted, documents
 * where the spec has them. */
void case_open(struct model_case *c, const struct spec *spec, int64_t vocab, const char *backend, int threads);
/* The same on a device where blocks of up to so many positions have branches. */
void case_open_branches(struct model_case *c, const struct spec *spec, int64_t vocab, const char *backend, int threads,
                        int64_t branch_positions);
void case_close(struct model_case *c);
enum { CASE_PARAMETERS, CASE_M, CASE_V, CASE_GRADIENTS };
/* All tensors after one another, c->plan.params numbers; the caller frees. */
double *case_read(struct model_case *c, int what);
void case_write(struct model_case *c, const double *values);
/* Parameter i's numbers within a flat vector. */
void case_write_tensor(struct model_case *c, int i, const double *values);
/* Normal numbers, large enough that every nonlinearity is at work. */
void case_randomize(struct model_case *c, uint64_t seed);
/* Mean loss of the whole batch, micro-batch by micro-batch; the first with gradients of the mean, from zero. */
double case_backward(struct model_case *c);
double case_loss(struct model_case *c);
double case_step(struct model_case *c, int64_t step, double lr); /* the gradient's norm */
/* Both in one step, as optimizers need it that update within the backward pass; results are of sums. */
struct model_results case_train(struct model_case *c, int64_t step, double lr);
int64_t case_updates(struct model_case *c);
double vector_distance(const double *a, const double *b, int64_t n); /* |a - b| / |b| */

#endif
