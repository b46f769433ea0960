/* model_pass.c: one micro-batch forward and backward.
 *
 * Forward: embedding, blocks, final norm, classifier. Each block leaves its branches' outputs to be added by the next
 * norm, so the residual stream costs no pass of its own. Backward mirrors it; the classifier has already left the
 * gradient of its input. What a layer did not keep is rebuilt right before its backward. A tied embedding gets the
 * classifier's and the look-up's gradient in one tensor.
 */
#include "worker/model_parts.h"
#include "worker/model_rmt.h"
#include "worker/optimizer.h"

void norm_site_forward(struct model *m, struct norm_site *site, struct stream *stream)
{
    m->ops->norm_forward(m->backend, &(struct norm_forward_args){
                                         .kind = m->norm_kind,
                                         .rows = m->rows,
                                         .dim = m->spec->model.dim,
                                         .eps = MODEL_NORM_EPS,
                                         .x = stream->x,
                                         .add = {stream->add[0], stream->add[1]},
                                         .sum = site->sum,
                                         .mean = site->mean,
                                         .rstd = site->rstd,
                                         .weight = {site->weight[0].value, site->weight[1].value},
                                         .bias = {site->bias[0].value, site->bias[1].value},
                                         .y = {site->y[0], site->y[1]},
                                     });
    *stream = (struct stream){.x = site->sum};
}

void norm_site_backward(struct model *m, struct norm_site *site, const void *dy0, const void *dy1, bool first)
{
    m->ops->norm_backward(m->backend, &(struct norm_backward_args){
                                          .kind = m->norm_kind,
                                          .rows = m->rows,
                                          .dim = m->spec->model.dim,
                                          .sum = site->sum,
                                          .mean = site->mean,
                                          .rstd = site->rstd,
                                          .weight = {site->weight[0].value, site->weight[1].value},
                                          .dy = {dy0, dy1},
                                          .d_residual = first ? NULL : m->stream_rows,
                                          .dx = m->stream_rows,
                                          .d_weight = {site->weight[0].grad, site->weight[1].grad},
                                          .d_bias = {site->bias[0].grad, site->bias[1].grad},
                                          .d_add_bias = {site->add_bias_grad[0], site->add_bias_grad[1]},
                                      });
}

bool model_gradients_begin(const struct model *m)
{
    return m->from == 0 && m->segment == m->plan->segments - 1;
}

void linear_apply(struct model *m, const struct linear *linear, const void *x, void *y)
{
    m->ops->linear_forward(m->backend, &(struct linear_args){
                                           .rows = m->rows,
                                           .in = linear->in,
                                           .out = linear->out,
                                           .x = x,
                                           .w = linear->weight.value,
                                           .bias = linear->bias.value,
                                           .y = y,
                                       });
}

void linear_gradient(struct model *m, const struct linear *linear, const void *x, const void *dy, void *dx)
{
    linear_gradient_add(m, linear, x, dy, dx, false);
}

void linear_gradient_add(struct model *m, const struct linear *linear, const void *x, const void *dy, void *dx,
                         bool accumulate)
{
    linear_gradient_rows(m, linear, x, dy, dx, accumulate);
    model_gradient_done(m, &linear->weight);
}

void linear_gradient_rows(struct model *m, const struct linear *linear, const void *x, const void *dy, void *dx,
                          bool accumulate)
{
    m->ops->linear_backward(m->backend, &(struct linear_backward_args){
                                            .rows = m->rows,
                                            .in = linear->in,
                                            .out = linear->out,
                                            .x = x,
                                            .w = linear->weight.value,
                                            .dy = dy,
                                            .dx = dx,
                                            .dx_accumulate = accumulate,
                                            .d_w = linear->weight.grad,
                                            .d_w_overwrite = model_gradients_begin(m),
                                            .d_bias = linear->bias.grad,
                                        });
}

void model_choose_windows(struct model *m, const struct window_key *key)
{
    m->key = *key;
}

static void upload(struct model *m, int32_t *to, const int32_t *from, int64_t count)
{
    if (to)
        m->ops->upload(m->backend, to, from, (size_t)count * sizeof(int32_t));
}

void *model_at(const struct model *m, const void *base, int64_t elements)
{
    return base ? (unsigned char *)(uintptr_t)base + (size_t)elements * dtype_size(m->backend->storage) : NULL;
}

static void *gradient_at(const struct model *m, void *base, int64_t elements)
{
    size_t wide = dtype_size(m->backend->storage == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32);
    return base ? (unsigned char *)base + (size_t)elements * wide : NULL;
}

struct linear linear_rows(const struct model *m, const struct linear *linear, int64_t from, int64_t out)
{
    int64_t at = from * linear->in;
    return (struct linear){
        .weight = {model_at(m, linear->weight.value, at), gradient_at(m, linear->weight.grad, at),
                   linear->weight.index},
        .bias = {model_at(m, linear->bias.value, from), gradient_at(m, linear->bias.grad, from), linear->bias.index},
        .in = linear->in,
        .out = out,
    };
}

void model_load(struct model *m, int64_t rows, const int32_t *inputs, const int32_t *targets, const int32_t *first)
{
    struct window *w = &m->window;
    bool plain = window_is_plain(m->plan);
    int64_t positions = rows * m->plan->run * m->plan->segments;
    m->loaded = rows;
    if (!plain)
        window_fill(w, &m->key, rows, inputs, targets, first);
    upload(m, m->tokens, plain ? inputs : w->tokens, positions);
    upload(m, m->targets, plain ? targets : w->targets, positions);
    upload(m, m->first, plain ? first : w->first, positions);
    upload(m, m->places, w->places, rows * m->spec->train.seq_len);
    upload(m, m->pauses, w->pauses, rows * m->spec->memory.pause.tokens);
}

static void choose_rows(struct model *m, int64_t from, int64_t rows, bool evaluating)
{
    m->batch = rows;
    m->seq = m->plan->run;
    m->read = 0;
    m->rows = rows * m->plan->run;
    m->from = from;
    m->evaluating = evaluating;
}

void model_choose_segment(struct model *m, int64_t segment)
{
    const struct model_segment *s = &m->segments[segment];
    m->segment = segment;
    m->layers = s->layers;
    m->final_norm = s->final_norm;
    m->stream_rows = s->stream_rows;
    m->branch_rows[0] = s->branch_rows[0];
    m->branch_rows[1] = s->branch_rows[1];
    m->wide_rows = s->wide_rows;
    m->begin = (segment * m->loaded + m->from) * m->plan->run;
}

const int32_t *model_tokens(const struct model *m)
{
    return m->tokens + m->begin;
}

const int32_t *model_targets(const struct model *m)
{
    return m->targets + m->begin;
}

const int32_t *model_first(const struct model *m)
{
    return m->first ? m->first + m->begin : NULL;
}

static struct embed_args embedding_of(const struct model *m)
{
    return (struct embed_args){
        .rows = m->rows, .dim = m->spec->model.dim, .vocab = m->plan->vocab, .tokens = model_tokens(m)};
}

static struct rows_args pauses_of(const struct model *m, void *x)
{
    return (struct rows_args){
        .batch = m->batch,
        .seq = m->plan->run,
        .dim = m->spec->model.dim,
        .count = m->spec->memory.pause.tokens,
        .at = m->pauses + m->from * m->spec->memory.pause.tokens,
        .x = x,
        .table_rows = m->plan->pause_rows,
        .table = m->pause.value,
        .d_table = m->pause.grad,
        .wide = true,
    };
}

static void embed_rows(struct model *m, int64_t segment, void *out)
{
    struct embed_args embed = embedding_of(m);
    embed.table = m->embed.value;
    embed.out = out;
    m->ops->embed_forward(m->backend, &embed);
    if (m->pauses) {
        struct rows_args pauses = pauses_of(m, out);
        m->ops->put_rows(m->backend, &pauses);
    }
    if (m->rmt_state)
        model_rmt_read(m, segment, out);
}

/* Rows that are no tokens are 0 when the embedding sees them. */
static void embed_gradient(struct model *m, void *d_out)
{
    if (m->pauses) {
        struct rows_args pauses = pauses_of(m, d_out);
        m->ops->take_rows(m->backend, &pauses);
        model_gradient_done(m, &m->pause);
    }
    struct embed_args embed = embedding_of(m);
    embed.d_out = d_out;
    embed.d_table = m->embed.grad;
    m->ops->embed_backward(m->backend, &embed);
    model_gradient_done(m, &m->embed);
}

void model_run_layers(struct model *m, int64_t segment)
{
    struct stream stream = {.x = m->layers[0].norm[0].sum};
    embed_rows(m, segment, m->layers[0].norm[0].sum);
    for (int64_t i = 0; i < m->spec->model.layers; i++)
        m->block->forward(m, &m->layers[i], &stream);
    norm_site_forward(m, &m->final_norm, &stream);
}

/* dx NULL: the loss only. */
static void run_classifier(struct model *m, void *dx)
{
    m->ops->classifier(m->backend, &(struct classifier_args){
                                       .rows = m->rows,
                                       .dim = m->spec->model.dim,
                                       .vocab = m->plan->vocab,
                                       .chunk_rows = m->plan->logit_rows,
                                       .x = m->stream_rows,
                                       .w = m->head.value,
                                       .targets = model_targets(m),
                                       .logits = m->logits,
                                       .loss_sum = m->loss_sum,
                                       .dx = dx,
                                       .d_w = dx ? m->head.grad : NULL,
                                       .d_w_overwrite = dx && model_gradients_begin(m),
                                   });
    if (dx && !m->spec->model.tie_embeddings) /* a tied one waits for the look-up's part */
        model_gradient_done(m, &m->head);
}

void model_forward(struct model *m, int64_t from, int64_t rows)
{
    choose_rows(m, from, rows, true);
    for (int64_t g = 0; g < m->plan->segments; g++) {
        model_choose_segment(m, g);
        model_run_layers(m, g);
        run_classifier(m, NULL);
    }
    if (m->rmt_state)
        model_rmt_write(m);
}

void model_gradient_done(struct model *m, const struct weight *weight)
{
    if (m->optimizer->take_gradient && m->segment == 0)
        m->optimizer->take_gradient(m, weight->index);
}

static void segment_backward(struct model *m, int64_t segment)
{
    run_classifier(m, m->branch_rows[0]);
    if (segment + 1 < m->plan->segments)
        model_rmt_add_gradient(m, m->branch_rows[0]);
    norm_site_backward(m, &m->final_norm, m->branch_rows[0], NULL, true);
    int64_t last = m->spec->model.layers - 1;
    for (int64_t i = last; i >= 0; i--) {
        if (i < last && m->plan->recompute != RECOMPUTE_NONE) /* the last one's are as its forward left them */
            m->block->rebuild(m, &m->layers[i]);
        m->block->backward(m, &m->layers[i]);
    }
    if (m->rmt_state)
        model_rmt_take_gradient(m, segment, m->stream_rows);
    embed_gradient(m, m->stream_rows);
}

static void forward_backward(struct model *m)
{
    for (int64_t g = 0; g < m->plan->segments; g++) {
        model_choose_segment(m, g);
        model_run_layers(m, g);
    }
    if (m->rmt_state && !m->measuring)
        model_rmt_write(m);
    for (int64_t g = m->plan->segments - 1; g >= 0; g--) {
        model_choose_segment(m, g);
        segment_backward(m, g);
    }
}

void model_forward_backward(struct model *m, int64_t from, int64_t rows)
{
    choose_rows(m, from, rows, false);
    if (m->optimizer->measure && m->spec->train.clip > 0) {
        m->measuring = true;
        forward_backward(m);
        m->optimizer->measure(m);
        m->measuring = false;
    }
    forward_backward(m);
}
