/* model.c: a model's life: arena, tensors by the plan's names, loss, optimizer step. model_pass.c runs a micro-batch,
 * model_state.c serves checkpoints, init.c draws the first values. */
#include "worker/model.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "worker/ffn.h"
#include "worker/model_parts.h"
#include "worker/optimizer.h"

/* Finds tensors in the order in which the plan lists them, so that a search starts where the one before ended. */
struct finder {
    struct model *m;
    int64_t layer;   /* -1: names stand alone */
    int64_t segment; /* whose part of activations */
    int parameter, buffer;
    char missing[72];
};

const struct model *finder_model(const struct finder *f)
{
    return f->m;
}

static void finder_name(const struct finder *f, const char *name, char out[64])
{
    if (f->layer < 0)
        snprintf(out, 64, "%s", name);
    else
        snprintf(out, 64, "layers.%lld.%s", (long long)f->layer, name);
}

struct weight finder_weight(struct finder *f, const char *name)
{
    const struct plan *plan = f->m->plan;
    char full[64];
    finder_name(f, name, full);
    for (int i = 0; i < plan->parameter_count; i++) {
        int at = (f->parameter + i) % plan->parameter_count;
        const struct plan_parameter *p = &plan->parameters[at];
        if (strcmp(p->name, full) != 0)
            continue;
        f->parameter = at;
        return (struct weight){.value = f->m->arena + p->copy, .grad = f->m->arena + p->grad, .index = at};
    }
    snprintf(f->missing, sizeof(f->missing), "%s", full);
    return (struct weight){0};
}

static void *look_for_buffer(struct finder *f, const char *full)
{
    const struct plan *plan = f->m->plan;
    for (int i = 0; i < plan->buffer_count; i++) {
        int at = (f->buffer + i) % plan->buffer_count;
        const struct plan_buffer *b = &plan->buffers[at];
        if (strcmp(b->name, full) != 0)
            continue;
        f->buffer = at;
        size_t part = b->class == PLAN_ACTIVATIONS ? b->bytes / (size_t)plan->segments : 0;
        return f->m->arena + b->offset + part * (size_t)f->segment;
    }
    return NULL;
}

/* The layer's own, or where the plan lets it not keep that one, the one of all layers. */
void *finder_buffer(struct finder *f, const char *name)
{
    char full[64], shared[64];
    finder_name(f, name, full);
    void *found = look_for_buffer(f, full);
    if (!found && f->layer >= 0 && f->m->plan->recompute != RECOMPUTE_NONE) {
        snprintf(shared, sizeof(shared), "shared.%s", name);
        found = look_for_buffer(f, shared);
    }
    if (!found)
        snprintf(f->missing, sizeof(f->missing), "%s", full);
    return found;
}

struct linear finder_linear(struct finder *f, const char *weight, const char *bias, int64_t out, int64_t in)
{
    struct linear linear = {.weight = finder_weight(f, weight), .in = in, .out = out};
    if (f->m->spec->model.bias)
        linear.bias = finder_weight(f, bias);
    return linear;
}

static void find_norm_weights(struct finder *f, struct norm_site *site, int output, const char *weight,
                              const char *bias)
{
    site->weight[output] = finder_weight(f, weight);
    if (f->m->norm_kind == NORM_LAYERNORM && f->m->spec->model.bias)
        site->bias[output] = finder_weight(f, bias);
}

static void find_norm_buffers(struct finder *f, struct norm_site *site, const char *sum, const char *mean,
                              const char *rstd)
{
    site->sum = finder_buffer(f, sum);
    if (f->m->norm_kind == NORM_LAYERNORM)
        site->mean = finder_buffer(f, mean);
    site->rstd = finder_buffer(f, rstd);
}

static void find_layer(struct finder *f, struct model_layer *layer)
{
    const struct spec *s = f->m->spec;
    int64_t d = s->model.dim;
    bool parallel = s->model.parallel_residual;

    find_norm_weights(f, &layer->norm[0], 0, "norm1.weight", "norm1.bias");
    if (s->model.norms == 2)
        find_norm_weights(f, &layer->norm[parallel ? 0 : 1], parallel ? 1 : 0, "norm2.weight", "norm2.bias");
    layer->qkv = finder_linear(f, "attn.qkv.weight", "attn.qkv.bias", 3 * d, d);
    layer->attn_out = finder_linear(f, "attn.out.weight", "attn.out.bias", d, d);

    find_norm_buffers(f, &layer->norm[0], "sum1", "mean1", "rstd1");
    layer->norm[0].y[0] = finder_buffer(f, "n1");
    if (!parallel)
        find_norm_buffers(f, &layer->norm[1], "sum2", "mean2", "rstd2");
    if (s->model.norms == 2)
        layer->norm[parallel ? 0 : 1].y[parallel ? 1 : 0] = finder_buffer(f, "n2");
    layer->qkv_rows = finder_buffer(f, "qkv");
    if (f->m->plan->xl_len > 0) {
        layer->kv = finder_buffer(f, "kv");
        layer->past = finder_buffer(f, "past");
        layer->eval_past = finder_buffer(f, "eval_past");
    }
    layer->lse = finder_buffer(f, "lse");
    layer->attn_rows = finder_buffer(f, "attn");
    f->m->ffn->find(f, layer);
}

/* The norm that adds this layer's output has in its backward pass the gradient of that output at hand: it sums it.
 * Attention makes that of q, k and v. */
static void hand_over_bias_gradient(struct linear *from, struct norm_site *to, int which)
{
    to->add_bias_grad[which] = from->bias.grad;
    from->bias.grad = NULL;
}

static void hand_over_bias_gradients(const struct model *m, struct model_segment *segment)
{
    bool parallel = m->spec->model.parallel_residual;
    for (int64_t i = 0; i < m->spec->model.layers; i++) {
        struct model_layer *layer = &segment->layers[i];
        struct norm_site *next = i + 1 < m->spec->model.layers ? &segment->layers[i + 1].norm[0] : &segment->final_norm;
        hand_over_bias_gradient(&layer->attn_out, parallel ? next : &layer->norm[1], 0);
        hand_over_bias_gradient(&layer->ffn_down, next, parallel ? 1 : 0);
        layer->qkv_bias_grad = layer->qkv.bias.grad;
        layer->qkv.bias.grad = NULL;
    }
}

static void find_segment(struct finder *f, struct model_segment *s)
{
    for (f->layer = 0; f->layer < f->m->spec->model.layers; f->layer++)
        find_layer(f, &s->layers[f->layer]);
    f->layer = -1;
    find_norm_weights(f, &s->final_norm, 0, "final_norm.weight", "final_norm.bias");
    find_norm_buffers(f, &s->final_norm, "final.sum", "final.mean", "final.rstd");
    s->stream_rows = finder_buffer(f, "shared.stream");
    s->final_norm.y[0] = s->stream_rows;
    s->branch_rows[0] = finder_buffer(f, "shared.branch1");
    s->branch_rows[1] = finder_buffer(f, "shared.branch2");
    s->wide_rows = finder_buffer(f, "shared.wide");
}

static void find_memories(struct finder *f)
{
    struct model *m = f->m;
    if (m->plan->branches) {
        m->d_attn = finder_buffer(f, "shared.d_attn");
        m->d_qkv = finder_buffer(f, "shared.d_qkv");
    }
    if (m->plan->pause_rows > 0) {
        m->pause = finder_weight(f, "pause.weight");
        m->pauses = finder_buffer(f, "pauses");
    }
    if (m->plan->rmt_tokens > 0) {
        m->rmt = finder_weight(f, "rmt.weight");
        m->rmt_state = finder_buffer(f, "rmt.state");
        m->rmt_eval_state = finder_buffer(f, "rmt.eval_state");
        m->d_memory = finder_buffer(f, "shared.d_memory");
    }
    if (m->plan->xl_len > 0 && !window_is_plain(m->plan))
        m->places = finder_buffer(f, "places");
    if (m->spec->data.reset == RESET_DOCUMENT || m->plan->xl_len > 0)
        m->first = finder_buffer(f, "first");
}

static int find_tensors(struct model *m, struct err *err)
{
    struct finder f = {.m = m, .layer = -1};
    m->embed = finder_weight(&f, "embed.weight");
    for (f.segment = 0; f.segment < m->plan->segments; f.segment++)
        find_segment(&f, &m->segments[f.segment]);
    f.segment = 0;
    m->head = m->spec->model.tie_embeddings ? m->embed : finder_weight(&f, "head.weight");
    find_memories(&f);
    m->logits = finder_buffer(&f, "logits");
    m->tokens = finder_buffer(&f, "tokens");
    m->targets = finder_buffer(&f, "targets");
    m->loss_sum = finder_buffer(&f, "loss_sum");
    m->grad_norm = finder_buffer(&f, "grad_norm");
    m->updates = finder_buffer(&f, "updates");
    m->squares = finder_buffer(&f, "squares");
    m->orthogonal = look_for_buffer(&f, "shared.orthogonal");
    if (f.missing[0])
        return err_set_at(err, ERR_INTERNAL, f.missing, "the plan is not of this spec: it lacks this tensor");
    for (int64_t g = 0; g < m->plan->segments; g++)
        hand_over_bias_gradients(m, &m->segments[g]);
    model_choose_segment(m, 0);
    return 0;
}

static void list_optimizer_tensors(struct model *m)
{
    const struct plan *plan = m->plan;
    int counts[PARAMETER_KINDS] = {0}, at = 0;
    for (int i = 0; i < plan->parameter_count; i++) {
        const struct plan_parameter *p = &plan->parameters[i];
        m->tensors[i] = (struct optimizer_tensor){
            .param = m->arena + p->param,
            .grad = m->arena + p->grad,
            .m = p->m_count ? m->arena + p->m : NULL,
            .v = p->v_count ? m->arena + p->v : NULL,
            .copy = p->copy == p->param ? NULL : m->arena + p->copy,
            .n = p->rows * p->cols,
            .decay = p->decay,
            .rows = p->rows,
            .cols = p->cols,
            .parts = p->parts,
        };
    }
    static const enum plan_parameter_kind order[] = {PARAMETER_MATRIX, PARAMETER_EMBEDDING, PARAMETER_VECTOR};
    for (int k = 0; k < PARAMETER_KINDS; k++)
        for (int i = 0; i < plan->parameter_count; i++)
            if (plan->parameters[i].kind == order[k]) {
                m->sorted[at++] = m->tensors[i];
                counts[order[k]]++;
            }
    m->matrices = counts[PARAMETER_MATRIX];
    m->embeddings = counts[PARAMETER_EMBEDDING];
    m->vectors = counts[PARAMETER_VECTOR];
    m->gradients = m->arena + plan->bytes.by_class[PLAN_PARAMETERS] + plan->bytes.by_class[PLAN_COPIES];
    m->zeroed_bytes = plan->zeroed_gradients;
}

static void *allocate_list(size_t count, size_t size)
{
    void *list = calloc(count, size);
    if (!list)
        abort();
    return list;
}

static void release_lists(struct model *m)
{
    window_finish(&m->window);
    for (int64_t g = 0; g < m->plan->segments; g++)
        free(m->segments[g].layers);
    free(m->segments);
    free(m->tensors);
    free(m->sorted);
    free(m);
}

int model_create(const struct spec *spec, const struct plan *plan, struct backend *backend, struct model **out,
                 struct err *err)
{
    const struct ffn *ffn = ffn_find(spec);
    if (!ffn || ffn->gated != plan->ffn_gated)
        return err_set_at(err, ERR_INTERNAL, "model.ffn.type", "the plan is not of this feed-forward layer");
    const struct optimizer *optimizer = optimizer_find(spec->train.optimizer.type);
    if (!optimizer)
        return err_set_at(err, ERR_INTERNAL, "train.optimizer.type", "there is no such optimizer");
    void *arena = NULL;
    int rc = backend->ops->arena(backend, plan->bytes.arena, &arena, err);
    if (rc != 0)
        return rc;

    struct model *m = allocate_list(1, sizeof(*m));
    m->spec = spec;
    m->plan = plan;
    m->backend = backend;
    m->ops = backend->ops;
    m->block = spec->model.parallel_residual ? &block_parallel : &block_sequential;
    m->ffn = ffn;
    m->optimizer = optimizer;
    if (ffn->activation)
        m->activation = ffn->activation(spec);
    m->arena = arena;
    m->norm_kind = spec->model.norm == SPEC_NORM_LAYERNORM ? NORM_LAYERNORM : NORM_RMSNORM;
    window_init(&m->window, spec, plan);
    m->segments = allocate_list((size_t)plan->segments, sizeof(*m->segments));
    for (int64_t g = 0; g < plan->segments; g++)
        m->segments[g].layers = allocate_list((size_t)spec->model.layers, sizeof(*m->layers));
    m->tensors = allocate_list((size_t)plan->parameter_count, sizeof(*m->tensors));
    m->sorted = allocate_list((size_t)plan->parameter_count, sizeof(*m->sorted));
    rc = find_tensors(m, err);
    if (rc != 0) {
        release_lists(m);
        return rc;
    }
    list_optimizer_tensors(m);
    *out = m;
    return 0;
}

void model_destroy(struct model *m)
{
    if (!m)
        return;
    m->ops->close(m->backend);
    release_lists(m);
}

void model_zero_gradients(struct model *m)
{
    m->ops->zero(m->backend, m->gradients, m->zeroed_bytes);
    model_zero_loss(m);
}

void model_zero_loss(struct model *m)
{
    m->ops->zero(m->backend, m->loss_sum, sizeof(*m->loss_sum));
}

int model_steps_in_flight(const struct model *m)
{
    return m->ops->steps_in_flight < MODEL_STEPS_IN_FLIGHT ? m->ops->steps_in_flight : MODEL_STEPS_IN_FLIGHT;
}

void model_step_begin(struct model *m, const struct step_values *values)
{
    m->ops->step_begin(m->backend, values);
    m->steps_begun++;
}

void model_step_end(struct model *m)
{
    struct model_results *r = &m->results[m->steps_begun % MODEL_STEPS_IN_FLIGHT];
    m->ops->download(m->backend, &r->loss_sum, m->loss_sum, sizeof(r->loss_sum));
    m->ops->download(m->backend, &r->grad_norm, m->grad_norm, sizeof(r->grad_norm));
    m->ops->step_end(m->backend);
}

int model_step_wait(struct model *m, struct model_results *out, struct err *err)
{
    int rc = m->ops->step_wait(m->backend, err);
    if (rc != 0)
        return rc;
    *out = m->results[++m->steps_waited % MODEL_STEPS_IN_FLIGHT];
    return 0;
}

void model_update(struct model *m)
{
    m->optimizer->update(m);
}
