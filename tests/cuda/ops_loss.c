/* ops_loss.c: cases of the classifier, and of an embedding whose table is the classifier's too. */
#include "tests/cuda/ops.h"

#include <math.h>
#include <stdio.h>

enum { X, W, TARGETS, LOGITS, LOSS, DX, D_W, TOKENS, STREAM };

static struct classifier_args args_of(const struct ops_case *c, void *const *p)
{
    const struct ops_shape *s = &c->shape;
    return (struct classifier_args){.rows = s->rows,
                                    .dim = s->dim,
                                    .vocab = s->vocab,
                                    .chunk_rows = s->chunk,
                                    .x = p[X],
                                    .w = p[W],
                                    .targets = p[TARGETS],
                                    .logits = p[LOGITS],
                                    .loss_sum = p[LOSS],
                                    .dx = p[DX],
                                    .d_w = p[D_W]};
}

static void call_classifier(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    struct classifier_args a = args_of(c, p);
    b->ops->classifier(b, &a);
}

/* extreme: no target counts. */
static void targets_and_scratch(struct ops_case *c, struct ops_draw *d)
{
    const struct ops_shape *s = &c->shape;
    ops_in(c, d, TARGETS, "targets", OPS_INT, s->rows, 0);
    for (int64_t i = 0; i < s->rows; i++)
        ops_set(c, TARGETS, i, s->extreme || i % 5 == 3 ? -1 : (double)ops_below(d, s->vocab));
    ops_scratch(c, LOGITS, "logits", OPS_STORAGE, s->chunk * s->vocab);
    ops_changed(c, d, LOSS, "loss_sum", OPS_DOUBLE, 1, 1);
    c->step.loss_scale = 1.0 / (double)(s->rows * 3); /* as with two other micro-batches */
    c->only_in_step = true;
}

static void make_classifier(struct ops_case *c, struct ops_draw *d)
{
    const struct ops_shape *s = &c->shape;
    c->operator_name = "classifier";
    snprintf(c->name, sizeof c->name, "classifier %lldx%lld of %lld by %lld%s%s", (long long)s->rows, (long long)s->dim,
             (long long)s->vocab, (long long)s->chunk, s->gradient ? "" : " loss only",
             s->extreme ? " nothing counted" : "");
    ops_in(c, d, X, "x", OPS_STORAGE, s->rows * s->dim, 1);
    /* Logits of moderate size: next to certainty, softmax - 1 has no digits left. */
    ops_in(c, d, W, "w", OPS_STORAGE, s->vocab * s->dim, 1.2 / sqrt((double)s->dim));
    targets_and_scratch(c, d);
    if (s->gradient) {
        ops_out(c, DX, "dx", OPS_STORAGE, s->rows * s->dim);
        ops_changed(c, d, D_W, "d_w", OPS_WIDE, s->vocab * s->dim, 0.2 * c->step.loss_scale);
    }
    c->call = call_classifier;
}

/* Two parts of a run whose output layer is the embedding: the first begins one gradient, the second adds to it. */
static void call_tied(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    const struct ops_shape *s = &c->shape;
    struct embed_args e = {.rows = s->rows, .dim = s->dim, .vocab = s->vocab, .tokens = p[TOKENS], .table = p[W]};
    e.out = p[STREAM];
    b->ops->embed_forward(b, &e);
    struct classifier_args a = args_of(c, p);
    a.x = p[STREAM];
    a.d_w_overwrite = true;
    b->ops->classifier(b, &a);
    struct embed_args back = {.rows = s->rows, .dim = s->dim, .vocab = s->vocab, .tokens = p[TOKENS]};
    back.d_out = p[DX];
    back.d_table = p[D_W];
    b->ops->embed_backward(b, &back);
}

static void make_tied(struct ops_case *c, struct ops_draw *d)
{
    const struct ops_shape *s = &c->shape;
    c->operator_name = "tied embeddings";
    snprintf(c->name, sizeof c->name, "tied embeddings %lldx%lld of %lld by %lld", (long long)s->rows,
             (long long)s->dim, (long long)s->vocab, (long long)s->chunk);
    ops_in(c, d, W, "table", OPS_STORAGE, s->vocab * s->dim, 0.3);
    ops_in(c, d, TOKENS, "tokens", OPS_INT, s->rows, 0);
    for (int64_t i = 0; i < s->rows; i++)
        ops_set(c, TOKENS, i, (double)ops_below(d, s->vocab));
    targets_and_scratch(c, d);
    ops_out(c, STREAM, "stream", OPS_STORAGE, s->rows * s->dim);
    ops_out(c, DX, "dx", OPS_STORAGE, s->rows * s->dim);
    ops_out(c, D_W, "d_table", OPS_WIDE, s->vocab * s->dim);
    c->call = call_tied;
}

void ops_each_loss(struct ops_visitor *v)
{
    static const int64_t shapes[][4] = {
        /* rows, dim, vocabulary, rows of a chunk */
        {20, 17, 33, 8},      {70, 72, 12700, 70},    {1, 17, 3, 1},         {3, 1, 17, 3},
        {129, 33, 257, 50},   {130, 16, 1100, 128},   {130, 16, 1101, 64},   {7, 8, 50277, 3},
        {256, 64, 4096, 256}, {192, 128, 50304, 128}, {500, 72, 20001, 200}, {1000, 128, 12680, 1000},
    };
    for (size_t i = 0; i < (v->small ? 2 : sizeof shapes / sizeof *shapes); i++) {
        struct ops_shape s = {.rows = shapes[i][0], .dim = shapes[i][1], .vocab = shapes[i][2], .chunk = shapes[i][3]};
        ops_visit(v, make_classifier, &s);
        s.gradient = true;
        ops_visit(v, make_classifier, &s);
        ops_visit(v, make_tied, &s);
    }
    ops_visit(v, make_classifier,
              &(struct ops_shape){.rows = 9, .dim = 16, .vocab = 65, .chunk = 4, .gradient = true, .extreme = true});
}
