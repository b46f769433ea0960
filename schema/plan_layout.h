/* plan_layout.h: places tensors in the arena, for plan.c only.
 *
 * A walk either lists (arrays given) or only counts (arrays NULL); both see the same tensors in the same order, so what
 * was counted is what gets listed. Sums are checked: an overflow sets `overflow` and the numbers mean nothing. Walks
 * allocate nothing.
 */
#ifndef BAKA_SCHEMA_PLAN_LAYOUT_H
#define BAKA_SCHEMA_PLAN_LAYOUT_H

#include "schema/plan.h"
#include "schema/plan_ffn.h"

/* What the tensors' shapes follow from. */
struct plan_shape {
    int64_t vocab, dim, layers, heads, head_dim, seq_len, batch, micro_batch;
    struct plan_ffn ffn;
    bool layernorm, bias, tied, parallel, documents;
    int64_t segments, rmt_tokens;    /* of a window; at either end of a segment */
    int64_t run, pauses, pause_rows; /* positions of a segment, pauses of a window */
    int norms;                       /* 1 or 2 a block */
    int64_t xl_len, xl_eval_len;     /* xl_eval_len >= xl_len */
    const struct plan_optimizer *optimizer;
    bool momentum;
    enum spec_recompute recompute; /* not auto */
};

struct plan_layout {
    const struct plan_shape *shape;
    const struct plan_device *device;
    struct plan_parameter *parameters; /* NULL: count only */
    struct plan_buffer *buffers;       /* NULL: count only */
    int parameter_count, buffer_count;
    uint64_t params, params_embedding, params_in_products, params_in_head;
    uint64_t wide_bytes, copy_bytes; /* of all parameters, and of their copies */
    uint64_t grad_bytes, overwritten_bytes, m_bytes, v_bytes;
    uint64_t zeroed_gradients; /* as in struct plan */
    uint64_t window_bytes;     /* the one place of matrices' gradients, where they share it */
    uint64_t window_end;       /* in it, of the newest gradient */
    uint64_t orthogonal_bytes; /* of the largest matrix's Newton-Schulz iteration */
    bool branches;
    uint64_t workspace, branch_workspace; /* the latter's bytes are among the former's */
    uint64_t by_class[PLAN_CLASSES];
    uint64_t end; /* of the arena so far */
    int64_t logit_rows;
    bool overflow;
};

/* Fields of `shape` are at least 1 and at most 2^40. First the parameters with gradients and moments, then the buffers
 * of the shape's micro_batch and recompute, which may be repeated with others after setting end, by_class and
 * buffer_count back.
 */
void plan_layout_parameters(struct plan_layout *l);
void plan_layout_buffers(struct plan_layout *l);

#endif
