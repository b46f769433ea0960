/* block_sequential.c: y = x + attn(n1(x)), then y + ffn(n2(y)) (pre-norm, as GPT-2 and LLaMA). */
#include "worker/ffn.h"
#include "worker/model_parts.h"

static void sequential_forward(struct model *m, struct model_layer *layer, struct stream *stream)
{
    norm_site_forward(m, &layer->norm[0], stream);
    block_attention_forward(m, layer, layer->norm[0].y[0], m->branch_rows[0]);
    stream->add[0] = m->branch_rows[0];
    norm_site_forward(m, &layer->norm[1], stream);
    m->ffn->forward(m, layer, layer->norm[1].y[0], m->branch_rows[1]);
    stream->add[0] = m->branch_rows[1];
}

static void sequential_rebuild(struct model *m, struct model_layer *layer)
{
    struct norm_site *norm = layer->norm;
    struct stream stream = {.x = norm[0].sum};
    norm_site_forward(m, &norm[0], &stream);
    if (m->plan->recompute == RECOMPUTE_ALL) {
        block_attention_forward(m, layer, norm[0].y[0], m->branch_rows[0]);
        stream.add[0] = m->branch_rows[0];
    } else {
        stream.x = norm[1].sum;
    }
    norm_site_forward(m, &norm[1], &stream);
    m->ffn->rebuild(m, layer, norm[1].y[0]);
}

static void sequential_backward(struct model *m, struct model_layer *layer)
{
    m->ffn->backward(m, layer, layer->norm[1].y[0], m->stream_rows, m->branch_rows[0], false);
    norm_site_backward(m, &layer->norm[1], m->branch_rows[0], NULL, false);
    block_attention_backward(m, layer, layer->norm[0].y[0], m->stream_rows, m->branch_rows[0], m->branch_rows[1]);
    norm_site_backward(m, &layer->norm[0], m->branch_rows[0], NULL, false);
}

const struct block block_sequential = {
    .forward = sequential_forward, .rebuild = sequential_rebuild, .backward = sequential_backward};
