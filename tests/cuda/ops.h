/* ops.h: one call of an operator as a list of tensors, so that one runner holds every operator of any backend to the
 * double precision reference.
 *
 * A case is made for the storage type under test: its numbers are rounded to that type first, and the reference gets
 * the rounded ones. The runner lays the tensors out in the arena with poisoned gaps between them, poisons outputs, and
 * looks at everything that came back: outputs against the reference, inputs and gaps for writes that nobody asked for.
 */
#ifndef BAKA_TESTS_CUDA_OPS_H
#define BAKA_TESTS_CUDA_OPS_H

#include <stdbool.h>
#include <stdint.h>
#include "kernels/backend.h"

enum { OPS_TENSORS = 40 };

enum ops_kind { OPS_STORAGE, OPS_WIDE, OPS_INT, OPS_DOUBLE, OPS_COUNT /* int64_t */ };
enum ops_role {
    OPS_ABSENT,  /* a NULL pointer */
    OPS_IN,      /* must come back as it was */
    OPS_OUT,     /* poisoned before, compared after */
    OPS_CHANGED, /* has a value before, compared after */
    OPS_SCRATCH  /* poisoned before, anything after */
};

struct ops_tensor {
    const char *name;
    enum ops_kind kind;
    enum ops_role role;
    int64_t n;
    double *values; /* before the call; NULL where poisoned */
    int copy_of;    /* > 0: must be tensor copy_of - 1 rounded to bf16; the reference has none */
};

struct ops_shape {
    int64_t rows, dim, width, vocab, chunk, keys;        /* rows: of everything but attention */
    int64_t batch, seq, heads, head_dim, rotary, memory; /* attention */
    enum norm_kind norm;
    struct activation act;
    bool gated, bias, two, accumulate, gradient, documents, extreme;
    int added; /* residual terms */
    int64_t updates;
    double clip;
};

struct ops_case {
    const char *operator_name;
    char name[160];
    enum dtype storage; /* under test */
    struct ops_shape shape;
    struct step_values step;
    bool only_in_step; /* the operator reads step_values */
    struct ops_tensor tensor[OPS_TENSORS];
    /* p: the tensors' places, NULL for absent ones. keep: a block of OPS_KEEP bytes, zero at first, that lives as long
     * as the backend. */
    void (*call)(const struct ops_case *c, struct backend *b, void *const *p, void *keep);
};

enum { OPS_KEEP = 4096 };

/* Deterministic numbers. */
struct ops_draw {
    uint64_t state;
};
double ops_uniform(struct ops_draw *d, double low, double high);
double ops_normal(struct ops_draw *d);
int64_t ops_below(struct ops_draw *d, int64_t n);

/* Tensor `slot` of the case; normal numbers times scale where it has a value. */
void ops_in(struct ops_case *c, struct ops_draw *d, int slot, const char *name, enum ops_kind kind, int64_t n,
            double scale);
void ops_changed(struct ops_case *c, struct ops_draw *d, int slot, const char *name, enum ops_kind kind, int64_t n,
                 double scale);
void ops_out(struct ops_case *c, int slot, const char *name, enum ops_kind kind, int64_t n);
void ops_scratch(struct ops_case *c, int slot, const char *name, enum ops_kind kind, int64_t n);
/* Overwrites a value, rounded to the tensor's type. */
void ops_set(struct ops_case *c, int slot, int64_t i, double value);
void ops_finish(struct ops_case *c);

uint16_t ops_bf16(float value); /* to nearest even */
float ops_from_bf16(uint16_t bits);
const char *ops_activation(enum activation_kind kind);

/* What a backend made of a case: tensor t as doubles at values[t]. */
struct ops_result {
    double *values[OPS_TENSORS];
};
void ops_result_finish(struct ops_result *r);
/* Runs the case in double precision; ends the program when even that fails. */
void ops_reference(const struct ops_case *c, struct ops_result *out);

/* Threads of the CPU's backends. */
extern int ops_threads;

struct ops_verdict {
    bool ok;
    double worst; /* largest relative distance of a tensor, in units of its tolerance */
    double distance;
    char text[400]; /* of a failure: what, where */
};
/* Runs the case on the backend called `backend`, outside steps and inside, twice and more. */
void ops_check(const struct ops_case *c, const char *backend, struct ops_verdict *out);

/* Makes each case for the storage type and visits it; small: few and tiny ones, for tools that are slow. */
struct ops_visitor {
    enum dtype storage;
    bool small;
    uint64_t seed;
    const char *only; /* part of a name, or NULL */
    void (*visit)(struct ops_case *c, void *arg);
    void *arg;
};
typedef void ops_make_fn(struct ops_case *c, struct ops_draw *d);
void ops_visit(struct ops_visitor *v, ops_make_fn *make, const struct ops_shape *shape);
void ops_each_dense(struct ops_visitor *v);
void ops_each_ffn(struct ops_visitor *v);
void ops_each_attention(struct ops_visitor *v);
void ops_each_rows(struct ops_visitor *v);
void ops_each_loss(struct ops_visitor *v);
void ops_each_optimizer(struct ops_visitor *v);

#endif
