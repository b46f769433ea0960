/* ffn.h: the feed-forward layers. One descriptor a spec's ffn.type, in a file of its family; ffn.c lists them. Adding
 * one is a descriptor, its line in ffn.c and its shape in schema/plan_ffn.c. */
#ifndef BAKA_WORKER_FFN_H
#define BAKA_WORKER_FFN_H

#include "kernels/backend.h"
#include "schema/spec.h"

struct model;
struct model_layer;
struct finder;

struct ffn {
    enum spec_ffn type;
    bool gated; /* as schema/plan_ffn.c has it: ffn.up computes gate and up */
    /* Which of a type's descriptors a spec asks for; NULL: the only one, or what the others leave. */
    bool (*asked)(const struct spec *spec);
    /* The activation with its constants from the spec; NULL where there is none of backend.h's. */
    struct activation (*activation)(const struct spec *spec);
    /* The layer's tensors in the plan. */
    void (*find)(struct finder *f, struct model_layer *layer);
    /* x [rows,d] to out [rows,d]. */
    void (*forward)(struct model *m, struct model_layer *layer, const void *x, void *out);
    /* What plan->recompute (not none) did not let the layer keep of forward, bit for bit. */
    void (*rebuild)(struct model *m, struct model_layer *layer, const void *x);
    /* dx = or += the gradient of x, given d_out; d_out is only read. */
    void (*backward)(struct model *m, struct model_layer *layer, const void *x, const void *d_out, void *dx,
                     bool dx_accumulate);
};

extern const struct ffn ffn_gelu, ffn_relu2, ffn_swiglu, ffn_geglu, ffn_elephant, ffn_elephant_glu;
extern const struct ffn ffn_elephant_shaped, ffn_elephant_glu_shaped;
extern const struct ffn ffn_mini_moe, ffn_mini_moe_vector;
extern const struct ffn ffn_sdpa;

/* NULL for a type that there is none of. */
const struct ffn *ffn_find(const struct spec *spec);

/* down(f(up x)), plain or gated: what most of the above do around their activations. */
void ffn_dense_find(struct finder *f, struct model_layer *layer);
void ffn_dense_forward(struct model *m, struct model_layer *layer, const void *x, void *out);
void ffn_dense_rebuild(struct model *m, struct model_layer *layer, const void *x);
void ffn_dense_backward(struct model *m, struct model_layer *layer, const void *x, const void *d_out, void *dx,
                        bool dx_accumulate);
/* The parts of it before ffn.down: to layer->hidden, and from its gradient in m->wide_rows. */
void ffn_dense_hidden(struct model *m, struct model_layer *layer, const void *x);
void ffn_dense_hidden_backward(struct model *m, struct model_layer *layer, const void *x, void *dx, bool dx_accumulate);

/* silu, of all that are made of SwiGLU. */
struct activation ffn_silu(const struct spec *spec);

#endif
