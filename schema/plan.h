/* plan.h: what a run will take, without a device: every tensor with its place in the arena, parameters, FLOPs, bytes.
 * Pure: equal inputs give equal plans; the worker allocates exactly plan.bytes.total and finds its tensors by this
 * plan.
 */
#ifndef BAKA_SCHEMA_PLAN_H
#define BAKA_SCHEMA_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cjson/cJSON.h>
#include "schema/spec.h"

struct err;

enum plan_class {
    PLAN_PARAMETERS,
    PLAN_COPIES, /* of the parameters, rounded to a narrower storage; none where the storage is wide */
    PLAN_GRADIENTS,
    PLAN_MOMENTS,
    PLAN_ACTIVATIONS,
    PLAN_LOGITS,
    PLAN_INPUTS,
    PLAN_MEMORY, /* what goes from window to window: of training, and of evaluations */
    PLAN_SCALARS,
    PLAN_WORKSPACE, /* given to the backend at open, not part of the arena's offsets but of the total */
    PLAN_CLASSES
};

/* Biases and norms' biases are 0, norms' weights 1. A model.bias of true gives every linear but the head a bias, and
 * LayerNorm too; RMSNorm never has one. */
enum plan_init {
    INIT_ZERO,
    INIT_ONE,
    INIT_NORMAL,   /* of standard deviation init_scale */
    INIT_CONSTANT, /* init_scale */
    INIT_SPREAD    /* evenly from -init_scale to init_scale, in order */
};

/* A matrix is one of a layer's products; an embedding is the table of embeddings, of pauses or of a recurrent memory,
 * or the head. */
enum plan_parameter_kind { PARAMETER_VECTOR, PARAMETER_MATRIX, PARAMETER_EMBEDDING, PARAMETER_KINDS };

/* One parameter tensor. Names: "embed.weight", "layers.3.attn.qkv.weight", "layers.3.ffn.up.bias", "final_norm.weight",
 * "head.weight" (absent when tied), ..., "pause.weight" (with pauses), "rmt.weight". */
struct plan_parameter {
    char name[64];
    int64_t rows, cols; /* cols 1 for vectors */
    int64_t parts;      /* matrices that stand in it one below the other: q, k and v; gate and up; units */
    enum plan_parameter_kind kind;
    bool decay; /* weight decay: matrices only, embeddings included */
    enum plan_init init;
    double init_scale;
    size_t param, copy, grad, m, v; /* byte offsets in the arena; copy = param without copies */
    bool grad_shared;               /* the gradient's place is other matrices' too, one after the other */
    bool grad_overwritten;          /* a step's first pass overwrites the gradient: it needs no zeros */
    int64_t m_count, v_count;       /* elements of the optimizer's state; 0: it has none */
};

struct plan_buffer {
    char name[64]; /* "layers.3.qkv", "logits", "targets", ... */
    enum plan_class class;
    size_t offset, bytes;
};

/* What the plan needs to know of a device. */
struct plan_device {
    size_t storage_bytes;         /* element of activations and of what operators read of parameters: 4, 8 (tests), 2 */
    size_t wide_bytes;            /* element of parameters, gradients, moments, statistics: 4 or 8 */
    uint64_t memory_bytes;        /* 0: not limited */
    uint64_t workspace_bytes;     /* scratch of all operators, whatever the shape */
    uint64_t workspace_row_bytes; /* and for each position of a micro-batch */
    uint64_t workspace_head_bytes; /* and for each position and head */
    uint64_t workspace_key_bytes;  /* and for each element of an sdpa layer's keys and values */
    uint64_t logits_bytes;         /* room for the logits of a chunk of rows */
    uint64_t context_bytes;        /* what the device's driver and libraries take beside */
    /* Up to so many positions of a micro-batch a parallel block's attention and feed-forward layer run beside each
     * other, and take another workspace: whatever the shape, and for each position beside what follows from the width.
     */
    int64_t branch_positions;
    uint64_t branch_bytes, branch_row_bytes;
    int64_t micro_batch_limit; /* auto takes no more: the device had no room for a larger one; 0: none */
};

/* The CPU in fp32. */
extern const struct plan_device plan_device_cpu;
/* A GPU; storage_bytes 2 or 4. */
struct plan_device plan_device_cuda(size_t storage_bytes);

struct plan {
    int parameter_count, buffer_count;
    struct plan_parameter *parameters;
    struct plan_buffer *buffers;
    bool branches;             /* a block's attention and feed-forward layer run beside each other */
    uint64_t branch_workspace; /* bytes: the part of the workspace that is there for that */
    uint64_t zeroed_gradients; /* bytes: gradients that passes add to; those that are overwritten stand behind them */
    int64_t vocab;
    int64_t d_ff;   /* width of the feed-forward layer after ffn.match: of all units; keys of sdpa */
    bool ffn_gated; /* ffn.up has 2*d_ff rows: gate, then up */
    int64_t head_dim, rotary_dims;
    int64_t segments;              /* of a window, which the model computes one after the other */
    int64_t run;                   /* positions of a segment: its tokens, and what is none */
    int64_t rmt_tokens;            /* memory positions at either end of a segment */
    int64_t pause_rows;            /* of pause.weight */
    int64_t xl_len, xl_eval_len;   /* positions of the memory, in training and in evaluations; 0: none */
    int64_t micro_batch;           /* sequences */
    enum spec_recompute recompute; /* the policy taken, never auto */
    int64_t logit_rows;            /* rows of the logits chunk, equal chunks of at most plan_device.logits_bytes */
    int64_t params;
    int64_t params_non_embedding; /* without embed.weight and head.weight */
    /* Training, forward and backward, as llm.c counts: 6 * (parameters in matrix products: the head in, also when it is
     * the tied embedding, and sdpa's keys and values, each of which a position meets once; the embedding look-up,
     * biases and norms out) + 6 * layers * dim * seq_len (attention's two products over the causal half)
     * + 8 * layers * dim * xl_len (a whole memory, whose own gradients nobody needs).
     * Positions that are no tokens count for the tokens: all but the head run * segments / seq_len times, over rows of
     * run.
     * The model's, whatever is computed twice: MFU counts useful work. */
    double flops_per_token;
    struct {
        uint64_t by_class[PLAN_CLASSES];
        uint64_t arena;   /* exact size of the backend's arena */
        uint64_t context; /* the device's own */
        uint64_t total;   /* arena + workspace + context */
    } bytes;
};

enum {
    PLAN_ALIGNMENT = 256,
    PLAN_MAX_LAYERS = 8192,
    PLAN_FULL_POSITIONS = 4096, /* of a micro-batch: products of so many rows keep a GPU busy */
};
#define PLAN_MAX_BYTES (UINT64_C(1) << 46) /* beyond any machine: ERR_TOO_LARGE whatever memory_bytes says */

/* vocab: the data set's, used where the spec's is 0. A micro_batch or recompute that is given is used as given. With
 * micro_batch auto: batch or, halving, the largest divisor of it whose total fits memory_bytes. With recompute auto:
 * the first of none, cheap, all in which a given micro_batch fits; where that is auto too, the first whose largest
 * micro-batch is the whole batch or has PLAN_FULL_POSITIONS, else the one with the largest, on a tie the first. Smaller
 * products leave a GPU idle, which costs more than computing cheap's share again (about 3 % of a step) or all's (up to
 * 30 %); larger ones gain nothing. A micro_batch_limit below PLAN_FULL_POSITIONS tells a device so short of memory that
 * recompute auto is all.
 *
 * Does not fit: ERR_TOO_LARGE, saying how much is needed and which micro_batch or recompute fits. A shape that is none
 * (heads that do not divide dim, one norm with the sequential residual, no vocabulary, ...): ERR_INVALID. Too many
 * layers or bytes: ERR_TOO_LARGE.
 *
 * Arena: parameters, their copies, gradients, moments m, moments v (which of them the optimizer has, of what size:
 * plan_optimizer.h; one that is fused into the backward pass has one place for all matrices' gradients, unless a window
 * has segments that add to them, and takes the whole batch as one micro-batch), activations, logits, inputs and
 * memories (of the whole batch), scalars; every tensor starts at a multiple of PLAN_ALIGNMENT. A layer's backward pass
 * needs: residual
 * sums, norm statistics, norm outputs, rotated qkv, lse, attention output, and what its feed-forward layer leaves
 * (plan_ffn.c): pre-activation and hidden, for most. With none each layer keeps all of them ("layers.3.n1"). With cheap
 * what norms and activations can rebuild (norm statistics and outputs, hidden) is not kept but stands once, for all
 * layers ("shared.n1"); with all everything but a layer's input, sum1. Of the last layer the backward pass finds it as
 * the forward pass left it. More "shared.*" buffers serve all layers: stream (the final norm's output, then the
 * gradient of the residual stream), branch1 and branch2 (outputs of the branches, then gradients of their inputs), wide
 * (gradients of qkv and of what the feed-forward layer left). With an xl memory a layer also needs the rotated keys and
 * values, "kv", and has "past" and "eval_past", memories of train.batch rows. Activations are those of all segments,
 * one after the other in equal parts of a buffer. */
int plan_make(const struct spec *s, int64_t vocab, const struct plan_device *device, struct plan *out, struct err *err);
void plan_finish(struct plan *p);
const struct plan_parameter *plan_find_parameter(const struct plan *p, const char *name);
const struct plan_buffer *plan_find_buffer(const struct plan *p, const char *name);
/* "parameters", "gradients", ... */
const char *plan_class_word(enum plan_class class);
/* Model FLOPs utilisation (Chowdhery et al. 2022, appendix B, with flops_per_token as above): the share of the device's
 * peak that the model's own arithmetic takes at this pace. 0 where the peak is not known (0). */
double plan_mfu(double flops_per_token, double tok_s, double peak_flops);
/* "none", "cheap", "all" */
const char *plan_recompute_word(enum spec_recompute recompute);
/* For errors, what all of it takes and what takes most: "10360 MiB, activations 9120 MiB, moments 1240 MiB". */
void plan_say_needs(const struct plan *p, char *out, size_t size);
/* {"params","params_non_embedding","flops_per_token","micro_batch","recompute","d_ff","vocab",
 *  "bytes":{"total","arena","parameters",...}}. Caller deletes. */
cJSON *plan_to_json(const struct plan *p);

#endif
