/* problem.h: each operator as a function of arrays of doubles with a gradient, so that one test serves them all.
 *
 * A problem has inputs and outputs; run() computes the outputs and, given weights for the outputs, the gradient of
 * their weighted sum by each input. Gradients that an operator accumulates start from `start`.
 */
#ifndef BAKA_TESTS_KERNELS_PROBLEM_H
#define BAKA_TESTS_KERNELS_PROBLEM_H

#include "harness.h"

enum { PROBLEM_INPUTS = 8, PROBLEM_OUTPUTS = 4 };

struct problem_shape {
    int64_t rows, dim, width, vocab, chunk;              /* rows of everything but attention */
    int64_t batch, seq, heads, head_dim, rotary, memory; /* attention */
    enum norm_kind norm;
    struct activation act;
    bool gated, bias, two, residual, accumulate, composed, documents;
};

struct problem {
    char name[160];
    struct problem_shape shape;
    int inputs, outputs;
    const char *input_name[PROBLEM_INPUTS];
    int64_t input_n[PROBLEM_INPUTS], output_n[PROBLEM_OUTPUTS];
    double *input[PROBLEM_INPUTS], *weight[PROBLEM_OUTPUTS];
    bool accumulated[PROBLEM_INPUTS]; /* gradient is += */
    int32_t *ints;                    /* tokens, targets or first */
    double start;
    /* output[] and gradient[] hold output_n and input_n elements; gradient NULL: forward only. */
    void (*run)(struct kernel_test *k, const struct problem *p, double *const *output, double *const *gradient);
};

/* Calls visit for every operator and variant, at tiny shapes (for finite differences) or at odd larger ones. The
 * problem lives during the call. */
void problem_each(bool tiny, void (*visit)(struct problem *p, void *arg), void *arg);

/* Results of a run; finish frees. */
struct answer {
    double *output[PROBLEM_OUTPUTS], *gradient[PROBLEM_INPUTS];
};
void answer_init(struct answer *a, const struct problem *p);
void answer_finish(struct answer *a);

/* One file an operator: fills name, inputs, outputs and run from shape. */
void problem_embed(struct problem *p, struct draw *d);
void problem_norm(struct problem *p, struct draw *d);
void problem_linear(struct problem *p, struct draw *d);
void problem_ffn(struct problem *p, struct draw *d);
void problem_elephant(struct problem *p, struct draw *d);  /* two: learned height and width */
void problem_unit_gate(struct problem *p, struct draw *d); /* heads units of width */
void problem_unit_sum(struct problem *p, struct draw *d);  /* heads units of rows elements */
void problem_lookup(struct problem *p, struct draw *d);    /* width keys */
void problem_attention(struct problem *p, struct draw *d);
void problem_classifier(struct problem *p, struct draw *d);

/* For those files. */
int problem_input(struct problem *p, struct draw *d, const char *name, int64_t n, double scale, bool accumulated);
int problem_output(struct problem *p, struct draw *d, int64_t n);
const char *activation_name(enum activation_kind kind);

#endif
