/* ffn.h: the feed-forward layers. One descriptor a spec's ffn.type, in a file of its family; ffn.c lists them. Adding
 * one is a descriptor, its line in ffn.c and its shape in schema/plan.c. */
#ifndef BAKA_WORKER_FFN_H
#define BAKA_WORKER_FFN_H

#include "kernels/backend.h"
#include "schema/spec.h"

struct model;
struct model_layer;

struct ffn {
    enum spec_ffn type;
    bool gated; /* as schema/plan.c has it: ffn.up computes gate and up */
    /* The activation with its constants from the spec. */
    struct activation (*activation)(const struct spec *spec);
    /* x [rows,d] to out [rows,d]. */
    void (*forward)(struct model *m, struct model_layer *layer, const void *x, void *out);
    /* What plan->recompute (not none) did not let the layer keep of forward, bit for bit. */
    void (*rebuild)(struct model *m, struct model_layer *layer, const void *x);
    /* dx = or += the gradient of x, given d_out; d_out is only read. */
    void (*backward)(struct model *m, struct model_layer *layer, const void *x, const void *d_out, void *dx,
                     bool dx_accumulate);
};

extern const struct ffn ffn_gelu, ffn_relu2, ffn_swiglu, ffn_geglu, ffn_elephant, ffn_elephant_glu;

/* NULL for a type that there is none of. */
const struct ffn *ffn_find(enum spec_ffn type);

/* down(f(up x)), plain or gated: what all of the above do between their activations. */
void ffn_dense_forward(struct model *m, struct model_layer *layer, const void *x, void *out);
void ffn_dense_rebuild(struct model *m, struct model_layer *layer, const void *x);
void ffn_dense_backward(struct model *m, struct model_layer *layer, const void *x, const void *d_out, void *dx,
                        bool dx_accumulate);

#endif
