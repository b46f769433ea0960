/* model_parts.h: what model.c, the blocks and the feed-forward layers share. Only worker/model*.c, block*.c, ffn*.c,
 * optimizer*.c and init.c include it (and tests that look inside).
 *
 * A model is pointers into its arena, found once by name in the plan; a pass hands them to the backend. Nobody here
 * touches elements.
 */
#ifndef BAKA_WORKER_MODEL_PARTS_H
#define BAKA_WORKER_MODEL_PARTS_H

#include "worker/model.h"

/* A parameter tensor as operators read it, and its gradient; both NULL where the model has none. The gradient alone is
 * NULL where another operator makes it. */
struct weight {
    void *value, *grad;
    int index; /* in the plan's list */
};

struct linear {
    struct weight weight, bias;
    int64_t in, out;
};

/* A norm of the residual stream with all that backward needs. weight[1], y[1] are set where one norm has two outputs.
 */
struct norm_site {
    struct weight weight[2], bias[2];
    void *add_bias_grad[2]; /* of the layers whose outputs forward adds, or NULL */
    void *sum, *mean, *rstd;
    void *y[2];
};

/* What forward leaves for backward. With train.recompute the tensors that the plan lets a layer not keep are those of
 * all layers: each layer overwrites them, and the block's rebuild fills them again. */
struct model_layer {
    struct norm_site norm[2]; /* parallel: [0] only; sequential: before attention, before the feed-forward layer */
    struct linear qkv, attn_out, ffn_up, ffn_down;
    void *qkv_rows, *lse, *attn_rows; /* [rows,3d] rotated, [batch,heads,seq], [rows,d] */
    void *pre, *hidden;               /* [rows,d_ff or 2*d_ff], [rows,d_ff] */
};

/* The residual stream on its way forward: x + add[0] + add[1], summed by the next norm. */
struct stream {
    const void *x;
    const void *add[2];
};

struct model {
    const struct spec *spec;
    const struct plan *plan;
    struct backend *backend;
    const struct backend_ops *ops;
    const struct block *block;
    const struct ffn *ffn;
    const struct optimizer *optimizer;
    bool measuring; /* optimizer_fused.c: this pass changes no weight */
    struct activation activation;
    unsigned char *arena;
    enum norm_kind norm_kind;

    struct weight embed, head; /* head is embed when tied */
    struct model_layer *layers;
    struct norm_site final_norm;
    void *stream_rows;    /* [rows,d] the final norm's output, then the gradient of the residual stream */
    void *branch_rows[2]; /* [rows,d] outputs of attention and feed-forward, then gradients of their inputs */
    void *wide_rows;      /* [rows,max(3d,d_ff)] gradients of qkv and of the hidden */
    void *logits;
    int32_t *tokens, *targets, *first; /* device; first NULL unless attention stops at documents */
    double *loss_sum, *grad_norm;
    int64_t *updates;
    double *squares;  /* of the gradient, one a parameter; NULL where the optimizer needs none */
    void *orthogonal; /* muon's scratch, or NULL */

    int64_t batch, rows;              /* of the micro-batch in work: sequences, positions */
    int64_t begin;                    /* its first position among those loaded */
    struct optimizer_tensor *tensors; /* one a parameter, in the plan's order */
    struct optimizer_tensor *sorted;  /* the same by kind: matrices, embeddings, vectors */
    int matrices, embeddings, vectors;
    void *gradients;
    size_t gradient_bytes;
    struct model_results results[MODEL_STEPS_IN_FLIGHT];
    int64_t steps_begun, steps_waited;
};

/* Places of the micro-batch in what was loaded. */
const int32_t *model_tokens(const struct model *m);
const int32_t *model_targets(const struct model *m);
const int32_t *model_first(const struct model *m); /* NULL: attention does not stop at documents */

/* One transformer block. forward takes the stream and leaves the stream behind it; backward finds the gradient of the
 * stream behind the block in m->stream_rows and leaves that of the stream before it there. rebuild, before backward,
 * computes what plan->recompute (not none) did not let the layer keep, by the same operators from the same inputs, so
 * to the same bits; branch_rows and wide_rows are its scratch. */
struct block {
    void (*forward)(struct model *m, struct model_layer *layer, struct stream *stream);
    void (*rebuild)(struct model *m, struct model_layer *layer);
    void (*backward)(struct model *m, struct model_layer *layer);
};

extern const struct block block_parallel, block_sequential;

/* out = norm(stream) at site; the stream becomes the plain sum. */
void norm_site_forward(struct model *m, struct norm_site *site, struct stream *stream);
/* Adds the norm's gradient for dy[0] and dy[1] (NULL: none) to the stream's; first: the stream has none yet. */
void norm_site_backward(struct model *m, struct norm_site *site, const void *dy0, const void *dy1, bool first);
/* y = linear(x); and its gradients, dx NULL: none wanted. */
void linear_apply(struct model *m, const struct linear *linear, const void *x, void *y);
void linear_gradient(struct model *m, const struct linear *linear, const void *x, const void *dy, void *dx);

/* To be called when the pass has a matrix's whole gradient and does not read the matrix any more: a fused optimizer
 * takes the gradient here. */
void model_gradient_done(struct model *m, const struct weight *weight);

/* Attention with its projections: x [rows,d] to out [rows,d]; dx may be neither d_out nor scratch. mix is forward
 * without the last projection. */
void block_attention_mix(struct model *m, struct model_layer *layer, const void *x);
void block_attention_forward(struct model *m, struct model_layer *layer, const void *x, void *out);
/* scratch [rows,d] */
void block_attention_backward(struct model *m, struct model_layer *layer, const void *x, const void *d_out, void *dx,
                              void *scratch);

#endif
