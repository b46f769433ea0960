/* model_parts.h: what model.c, the blocks and the feed-forward layers share. Only worker/model*.c, block*.c, ffn*.c,
 * optimizer*.c and init.c include it (and tests that look inside).
 *
 * A model is pointers into its arena, found once by name in the plan; a pass hands them to the backend. Nobody here
 * touches elements.
 */
#ifndef BAKA_WORKER_MODEL_PARTS_H
#define BAKA_WORKER_MODEL_PARTS_H

#include "worker/model.h"
#include "worker/window.h"

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
    void *qkv_bias_grad;              /* attention's backward sums it; NULL without biases */
    void *qkv_rows, *lse, *attn_rows; /* [rows,3d] rotated, [batch,heads,seq], [rows,d] */
    void *kv;                         /* xl: [batch,memory+seq,2d] all keys, rotated, and values */
    void *past, *eval_past;           /* xl: [train.batch,memory,2d], of training and of evaluations */
    void *pre, *hidden;               /* [rows,d_ff or 2*d_ff], [rows,d_ff]; sdpa: queries, what they found: [rows,d] */

    /* Of some feed-forward layers. */
    struct linear ffn_gate, ffn_unit_down; /* mini_moe; the latter, [units*d,d_ff/units], with vector gates */
    void *gates, *unit_outputs;            /* mini_moe: [rows,units]; with vector gates both [units,rows,d] */
    struct weight keys, values;            /* sdpa */
    void *lookup_lse;                      /* sdpa: [heads,rows] */
    struct norm_site ffn_norm;             /* a shaped elephant's, over the d_ff features before it */
    struct weight log_h, log_sigma;        /* a shaped elephant's */
};

/* The residual stream on its way forward: x + add[0] + add[1], summed by the next norm. */
struct stream {
    const void *x;
    const void *add[2];
};

/* Where the activations of one segment of a window stand. */
struct model_segment {
    struct model_layer *layers;
    struct norm_site final_norm;
    void *stream_rows;    /* [rows,d] the final norm's output, then the gradient of the residual stream */
    void *branch_rows[2]; /* [rows,d] outputs of attention and feed-forward, then gradients of their inputs */
    void *wide_rows; /* [rows, at least 3d and the hidden's width] gradients of qkv and in the feed-forward layer */
};

struct model {
    const struct spec *spec;
    const struct plan *plan;
    struct backend *backend;
    const struct backend_ops *ops;
    const struct block *block;
    const struct ffn *ffn;
    const struct optimizer *optimizer;
    bool measuring; /* optimizer_fused.c: this pass changes no weight and moves no memory on */
    struct activation activation;
    unsigned char *arena;
    enum norm_kind norm_kind;

    struct weight embed, head; /* head is embed when tied */
    struct weight pause, rmt;
    struct model_segment *segments; /* plan->segments */
    int64_t segment;                /* the one in work */
    struct model_layer *layers;     /* these are its, as in struct model_segment */
    struct norm_site final_norm;
    void *stream_rows, *branch_rows[2], *wide_rows;
    void *rmt_state, *rmt_eval_state; /* [train.batch*rmt_tokens,d] what comes next into a row's memory */
    void *d_qkv, *d_attn;             /* [rows,3d], [rows,d] of attention, where it runs beside others; or NULL */
    void *d_memory;                   /* [batch*rmt_tokens,d] gradient of a segment's memory */
    void *logits;
    int32_t *places, *pauses;          /* device: of tokens (xl) and pauses in their rows; NULL where not needed */
    int32_t *tokens, *targets, *first; /* device; first NULL unless attention stops at documents or has a memory */
    double *loss_sum, *grad_norm;
    int64_t *updates;
    double *squares;  /* of the gradient, summed, one a parameter */
    void *orthogonal; /* muon's scratch, or NULL */

    int64_t batch, seq, rows; /* of the micro-batch in work: sequences, positions of one, of all */
    int64_t read;        /* positions of the text before those (model_text.c); not 0: one position of one sequence */
    int64_t loaded;      /* sequences */
    int64_t from, begin; /* its first sequence, and position of the segment in work, among those loaded */
    bool evaluating;     /* it works on the memories of evaluations */
    struct optimizer_tensor *tensors; /* one a parameter, in the plan's order */
    struct optimizer_tensor *sorted;  /* the same by kind: matrices, embeddings, vectors */
    int matrices, embeddings, vectors;
    void *gradients;
    size_t zeroed_bytes; /* of gradients, at the begin of a step */
    struct model_results results[MODEL_STEPS_IN_FLIGHT];
    int64_t steps_begun, steps_waited;
    struct window window; /* what model_load makes of the next windows */
    struct window_key key;
};

/* Makes it the one in work, within the rows in work. */
void model_choose_segment(struct model *m, int64_t segment);
/* Places of the micro-batch's segment in what was loaded. */
const int32_t *model_tokens(const struct model *m);
const int32_t *model_targets(const struct model *m);
const int32_t *model_first(const struct model *m); /* NULL: nothing before a row's position is hidden */

/* From the tokens to the classifier's input in m->stream_rows, for the positions in work, which are of the segment in
 * work. */
void model_run_layers(struct model *m, int64_t segment);

struct finder;
/* Tensors of the plan by name, in the layer in work; what is missing makes model_create() fail. finder_linear's bias is
 * there with model.bias. */
const struct model *finder_model(const struct finder *f);
struct weight finder_weight(struct finder *f, const char *name);
void *finder_buffer(struct finder *f, const char *name);
struct linear finder_linear(struct finder *f, const char *weight, const char *bias, int64_t out, int64_t in);

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
/* The norms' epsilon: GPT-NeoX's layernorm_epsilon; RMSNorm uses the same. */
#define MODEL_NORM_EPS 1e-5
/* y = linear(x); and its gradients, dx NULL: none wanted. */
void linear_apply(struct model *m, const struct linear *linear, const void *x, void *y);
void linear_gradient(struct model *m, const struct linear *linear, const void *x, const void *dy, void *dx);
/* accumulate: dx += */
void linear_gradient_add(struct model *m, const struct linear *linear, const void *x, const void *dy, void *dx,
                         bool accumulate);
/* The same of linear_rows' result: the weight's gradient is not whole yet. */
void linear_gradient_rows(struct model *m, const struct linear *linear, const void *x, const void *dy, void *dx,
                          bool accumulate);

/* Element `elements` of an array of storage type; NULL of none. */
void *model_at(const struct model *m, const void *base, int64_t elements);
/* The linear of rows [from, from + out) of the weight, with their biases. */
struct linear linear_rows(const struct model *m, const struct linear *linear, int64_t from, int64_t out);

/* The part of a step in work is the first that has gradients: those of matrices in products are overwritten, and so
 * were not zeroed (struct plan_parameter). Each is made once a segment. */
bool model_gradients_begin(const struct model *m);
/* To be called once a segment when its pass has a matrix's whole gradient and does not read the matrix any more: a
 * fused optimizer takes the gradient here, in the segment that is the last to add to it. */
void model_gradient_done(struct model *m, const struct weight *weight);

/* Attention with its projections: x [rows,d] to out [rows,d]; dx may be neither d_out nor scratch, and wide_rows is
 * overwritten too, unless there are d_attn and d_qkv in place of these two. mix is forward without the last projection.
 * The memory moves on when the row's last pass over the layer has seen it: forward's in an evaluation, backward's in
 * training. */
void block_attention_mix(struct model *m, struct model_layer *layer, const void *x);
void block_attention_forward(struct model *m, struct model_layer *layer, const void *x, void *out);
/* scratch [rows,d] */
void block_attention_backward(struct model *m, struct model_layer *layer, const void *x, const void *d_out, void *dx,
                              void *scratch);

#endif
