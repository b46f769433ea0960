/* plan.h: what a run will take, without a device: every tensor with its place in the arena, parameters, FLOPs, bytes.
 * Pure: equal inputs give equal plans; the worker allocates exactly plan.bytes.total and finds its tensors by this plan.
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
    PLAN_GRADIENTS,
    PLAN_MOMENTS,
    PLAN_ACTIVATIONS,
    PLAN_LOGITS,
    PLAN_INPUTS,
    PLAN_SCALARS,
    PLAN_WORKSPACE, /* given to the backend at open, not part of the arena's offsets but of the total */
    PLAN_CLASSES
};

enum plan_init { INIT_ZERO, INIT_ONE, INIT_NORMAL };

/* One parameter tensor. Names: "embed.weight", "layers.3.attn.qkv.weight", "layers.3.ffn.up.bias", "final_norm.weight",
 * "head.weight" (absent when tied), ... */
struct plan_parameter {
    char name[64];
    int64_t rows, cols; /* cols 1 for vectors */
    bool decay;         /* weight decay: matrices only, embeddings included */
    enum plan_init init;
    double init_std;
    size_t param, grad, m, v; /* byte offsets in the arena */
};

struct plan_buffer {
    char name[64]; /* "layers.3.qkv", "logits", "targets", ... */
    enum plan_class class;
    size_t offset, bytes;
};

/* What the plan needs to know of a device. */
struct plan_device {
    size_t storage_bytes;   /* element of parameters and activations: 4, 8 (tests), 2 */
    size_t statistic_bytes; /* 4 or 8 */
    uint64_t memory_bytes;  /* 0: not limited */
};

struct plan {
    int parameter_count, buffer_count;
    struct plan_parameter *parameters;
    struct plan_buffer *buffers;
    int64_t vocab, d_ff, head_dim, rotary_dims, micro_batch, logit_rows;
    int64_t params, params_non_embedding;
    double flops_per_token; /* training: forward and backward, docs/architecture.md says how it is counted */
    struct {
        uint64_t by_class[PLAN_CLASSES];
        uint64_t arena; /* exact size of the backend's arena */
        uint64_t total; /* arena + workspace */
    } bytes;
};

enum { PLAN_WORKSPACE_BYTES = 32 << 20 };

/* vocab: the data set's, used where the spec's is 0. With micro_batch auto: the largest divisor-halving of batch whose
 * total fits memory_bytes. Does not fit at micro_batch 1: ERR_TOO_LARGE, saying how much is needed. A given micro_batch
 * that does not fit: ERR_TOO_LARGE, saying which would. */
int plan_make(const struct spec *s, int64_t vocab, const struct plan_device *device, struct plan *out, struct err *err);
void plan_finish(struct plan *p);
const struct plan_parameter *plan_find_parameter(const struct plan *p, const char *name);
const struct plan_buffer *plan_find_buffer(const struct plan *p, const char *name);
/* {"params","params_non_embedding","flops_per_token","micro_batch","bytes":{"total","arena","parameters",...}} */
cJSON *plan_to_json(const struct plan *p);

#endif
