/* block_parallel.c: x + attn(n1(x)) + ffn(n2(x)) (GPT-J, GPT-NeoX). With two norms both come from one pass with shared
 * statistics; with one (the blog's BakaNet) n2 = n1. The sums wait for the next norm. Where the plan says so, attention
 * and feed-forward layer run beside each other. */
#include "worker/ffn.h"
#include "worker/model_parts.h"

static const void *ffn_input(const struct norm_site *norm)
{
    return norm->y[1] ? norm->y[1] : norm->y[0];
}

static void parallel_forward(struct model *m, struct model_layer *layer, struct stream *stream)
{
    struct norm_site *norm = &layer->norm[0];
    norm_site_forward(m, norm, stream);
    if (m->plan->branches)
        m->ops->branches_begin(m->backend);
    block_attention_forward(m, layer, norm->y[0], m->branch_rows[0]);
    if (m->plan->branches)
        m->ops->branches_next(m->backend);
    m->ffn->forward(m, layer, ffn_input(norm), m->branch_rows[1]);
    if (m->plan->branches)
        m->ops->branches_end(m->backend);
    stream->add[0] = m->branch_rows[0];
    stream->add[1] = m->branch_rows[1];
}

static void parallel_rebuild(struct model *m, struct model_layer *layer)
{
    struct norm_site *norm = &layer->norm[0];
    norm_site_forward(m, norm, &(struct stream){.x = norm->sum});
    if (m->plan->recompute == RECOMPUTE_ALL)
        block_attention_mix(m, layer, norm->y[0]);
    m->ffn->rebuild(m, layer, ffn_input(norm));
}

static void parallel_backward(struct model *m, struct model_layer *layer)
{
    struct norm_site *norm = &layer->norm[0];
    void *d_y0 = m->branch_rows[0], *d_y1 = m->branch_rows[1];
    bool beside = m->plan->branches && norm->y[1]; /* with one norm both add to one gradient */
    if (beside)
        m->ops->branches_begin(m->backend);
    block_attention_backward(m, layer, norm->y[0], m->stream_rows, d_y0, d_y1);
    if (beside)
        m->ops->branches_next(m->backend);
    if (norm->y[1]) {
        m->ffn->backward(m, layer, norm->y[1], m->stream_rows, d_y1, false);
        if (beside)
            m->ops->branches_end(m->backend);
        norm_site_backward(m, norm, d_y0, d_y1, false);
    } else {
        m->ffn->backward(m, layer, norm->y[0], m->stream_rows, d_y0, true);
        norm_site_backward(m, norm, d_y0, NULL, false);
    }
}

const struct block block_parallel = {
    .forward = parallel_forward, .rebuild = parallel_rebuild, .backward = parallel_backward};
