/* model_pass.c: one micro-batch forward and backward.
 *
 * Forward: embedding, blocks, final norm, classifier. Each block leaves its branches' outputs to be added by the next
 * norm, so the residual stream costs no pass of its own. Backward mirrors it; the classifier has already left the
 * gradient of its input. What a layer did not keep is rebuilt right before its backward. A tied embedding gets the
 * classifier's and the look-up's gradient in one tensor.
 */
#include "worker/model_parts.h"
#include "worker/optimizer.h"

/* GPT-NeoX's layernorm_epsilon; RMSNorm uses the same. */
static const double norm_eps = 1e-5;

void norm_site_forward(struct model *m, struct norm_site *site, struct stream *stream)
{
    m->ops->norm_forward(m->backend, &(struct norm_forward_args){
                                         .kind = m->norm_kind,
                                         .rows = m->rows,
                                         .dim = m->spec->model.dim,
                                         .eps = norm_eps,
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
    m->ops->linear_backward(m->backend, &(struct linear_backward_args){
                                            .rows = m->rows,
                                            .in = linear->in,
                                            .out = linear->out,
                                            .x = x,
                                            .w = linear->weight.value,
                                            .dy = dy,
                                            .dx = dx,
                                            .d_w = linear->weight.grad,
                                            .d_bias = linear->bias.grad,
                                        });
    model_gradient_done(m, &linear->weight);
}

void model_load(struct model *m, int64_t rows, const int32_t *inputs, const int32_t *targets, const int32_t *first)
{
    size_t bytes = (size_t)(rows * m->spec->train.seq_len) * sizeof(int32_t);
    m->ops->upload(m->backend, m->tokens, inputs, bytes);
    m->ops->upload(m->backend, m->targets, targets, bytes);
    if (m->first)
        m->ops->upload(m->backend, m->first, first, bytes);
}

static void choose_rows(struct model *m, int64_t from, int64_t rows)
{
    m->batch = rows;
    m->rows = rows * m->spec->train.seq_len;
    m->begin = from * m->spec->train.seq_len;
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

/* Leaves the classifier's input in m->stream_rows. */
static void run_layers(struct model *m)
{
    struct embed_args embed = embedding_of(m);
    embed.table = m->embed.value;
    embed.out = m->layers[0].norm[0].sum;
    m->ops->embed_forward(m->backend, &embed);

    struct stream stream = {.x = embed.out};
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
                                   });
    if (dx && !m->spec->model.tie_embeddings) /* a tied one waits for the look-up's part */
        model_gradient_done(m, &m->head);
}

void model_forward(struct model *m, int64_t from, int64_t rows)
{
    choose_rows(m, from, rows);
    run_layers(m);
    run_classifier(m, NULL);
}

void model_gradient_done(struct model *m, const struct weight *weight)
{
    if (m->optimizer->take_gradient)
        m->optimizer->take_gradient(m, weight->index);
}

static void forward_backward(struct model *m)
{
    run_layers(m);
    run_classifier(m, m->branch_rows[0]);

    norm_site_backward(m, &m->final_norm, m->branch_rows[0], NULL, true);
    int64_t last = m->spec->model.layers - 1;
    for (int64_t i = last; i >= 0; i--) {
        if (i < last && m->plan->recompute != RECOMPUTE_NONE) /* the last one's are as its forward left them */
            m->block->rebuild(m, &m->layers[i]);
        m->block->backward(m, &m->layers[i]);
    }
    struct embed_args embed = embedding_of(m);
    embed.d_out = m->stream_rows;
    embed.d_table = m->embed.grad;
    m->ops->embed_backward(m->backend, &embed);
    model_gradient_done(m, &m->embed);
}

void model_forward_backward(struct model *m, int64_t from, int64_t rows)
{
    choose_rows(m, from, rows);
    if (m->optimizer->measure && m->spec->train.clip > 0) {
        m->measuring = true;
        forward_backward(m);
        m->optimizer->measure(m);
        m->measuring = false;
    }
    forward_backward(m);
}
