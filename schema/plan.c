/* plan.c: from a spec to a plan. The shape first, then the bytes by counting alone, and only a plan that fits gets its
 * lists; so an absurd spec is refused quickly and without memory. */
#include "schema/plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/spare.h"
#include "schema/plan_layout.h"
#include "schema/plan_optimizer.h"

static const int64_t field_max = INT64_C(1) << 40;

const struct plan_device plan_device_cpu = {
    .storage_bytes = 4, .wide_bytes = 4, .workspace_bytes = 32 << 20, .logits_bytes = 64 << 20};

/* Workspace: twice 32 MiB for cuBLASLt, the rest for the operators; a position takes its share of the sort that the
 * embedding's backward needs and of the classifier's losses, a position and head the attention's row sums, a key of an
 * sdpa layer its gradient before it is added. Branches: 32 MiB twice more; beyond so many positions each of a layer's
 * kernels fills the GPU. The context
 * is what the driver and the libraries were seen to take on an H200 with CUDA 13. */
struct plan_device plan_device_cuda(size_t storage_bytes)
{
    return (struct plan_device){
        .storage_bytes = storage_bytes,
        .wide_bytes = 4,
        .workspace_bytes = UINT64_C(128) << 20,
        .workspace_row_bytes = 64,
        .workspace_head_bytes = 8,
        .workspace_key_bytes = storage_bytes,
        .logits_bytes = UINT64_C(1) << 30,
        .branch_positions = 16384,
        .branch_bytes = UINT64_C(72) << 20,
        .branch_row_bytes = 64,
        .context_bytes = UINT64_C(528) << 20,
    };
}

static int check_range(const char *path, int64_t value, struct err *err)
{
    if (value < 1)
        return err_set_at(err, ERR_INVALID, path, "%" PRId64 " is not allowed: at least 1", value);
    if (value > field_max)
        return err_set_at(err, ERR_TOO_LARGE, path, "%" PRId64 " is too large to plan for", value);
    return 0;
}

static int find_vocab(const struct spec *s, int64_t data_vocab, int64_t *out, struct err *err)
{
    if (s->model.vocab > 0 && s->model.vocab < data_vocab)
        return err_set_at(err, ERR_INVALID, "model.vocab",
                          "%" PRId64 " is less than the data set's vocabulary of %" PRId64, s->model.vocab, data_vocab);
    int64_t vocab = s->model.vocab > 0 ? s->model.vocab : data_vocab;
    if (vocab < 1)
        return err_set_at(err, ERR_INVALID, "model.vocab",
                          "not set, and there is no data set to take the vocabulary from");
    *out = vocab;
    return check_range("model.vocab", vocab, err);
}

static int find_shape(const struct spec *s, int64_t data_vocab, struct plan_shape *out, struct err *err)
{
    struct plan_shape h = {
        .dim = s->model.dim,
        .layers = s->model.layers,
        .heads = s->model.heads,
        .seq_len = s->train.seq_len,
        .batch = s->train.batch,
        .layernorm = s->model.norm == SPEC_NORM_LAYERNORM,
        .bias = s->model.bias,
        .tied = s->model.tie_embeddings,
        .parallel = s->model.parallel_residual,
        .documents = s->data.reset == RESET_DOCUMENT,
        .norms = (int)s->model.norms,
        .rmt_tokens = s->memory.rmt.tokens,
        .segments = s->memory.rmt.bptt > 1 ? s->memory.rmt.bptt : 1,
        .pauses = s->memory.pause.tokens,
        .pause_rows = s->memory.pause.mode == PAUSE_DROP ? s->memory.pause.tokens : s->memory.pause.tokens > 0,
        .xl_len = s->memory.xl.len,
        .xl_eval_len = s->memory.xl.eval_len ? s->memory.xl.eval_len : s->memory.xl.len,
    };
    int rc = find_vocab(s, data_vocab, &h.vocab, err);
    if (rc == 0)
        rc = check_range("model.dim", h.dim, err);
    if (rc == 0)
        rc = check_range("model.layers", h.layers, err);
    if (rc == 0)
        rc = check_range("model.heads", h.heads, err);
    if (rc == 0)
        rc = check_range("train.seq_len", h.seq_len, err);
    if (rc == 0)
        rc = check_range("train.batch", s->train.batch, err);
    if (rc == 0 && h.pauses > 0)
        rc = check_range("memory.pause.tokens", h.pauses, err);
    if (rc == 0 && h.xl_eval_len > 0)
        rc = check_range("memory.xl.len", h.xl_len, err);
    if (rc == 0 && h.xl_eval_len > 0)
        rc = check_range("memory.xl.eval_len", h.xl_eval_len, err);
    if (rc == 0 && h.rmt_tokens > 0)
        rc = check_range("memory.rmt.tokens", h.rmt_tokens, err);
    h.run = rc == 0 ? h.seq_len / h.segments + h.pauses + 2 * h.rmt_tokens : 0;
    int64_t d_ff = s->model.d_ff == 0 && rc == 0 ? 4 * h.dim : s->model.d_ff;
    if (rc == 0)
        rc = check_range("model.d_ff", d_ff, err);
    if (rc != 0)
        return rc;
    if (h.layers > PLAN_MAX_LAYERS)
        return err_set_at(err, ERR_TOO_LARGE, "model.layers", "%" PRId64 " layers: at most %d can be planned", h.layers,
                          PLAN_MAX_LAYERS);
    if (h.dim % h.heads != 0)
        return err_set_at(err, ERR_INVALID, "model.heads", "%" PRId64 " heads do not divide model.dim %" PRId64,
                          h.heads, h.dim);
    if (s->model.norms != 1 && s->model.norms != 2)
        return err_set_at(err, ERR_INVALID, "model.norms", "%" PRId64 " is not allowed: 1 or 2", s->model.norms);
    if (h.norms == 1 && !h.parallel)
        return err_set_at(err, ERR_INVALID, "model.norms",
                          "1 norm a block needs model.parallel_residual: the sequential residual has two");
    if (!(s->model.rotary_pct >= 0 && s->model.rotary_pct <= 1))
        return err_set_at(err, ERR_INVALID, "model.rotary_pct", "%.17g is not allowed: 0 to 1", s->model.rotary_pct);
    h.head_dim = h.dim / h.heads;

    h.optimizer = plan_optimizer_find(s->train.optimizer.type);
    if (!h.optimizer)
        return err_set_at(err, ERR_INVALID, "train.optimizer.type", "no such optimizer");
    h.momentum = s->train.optimizer.momentum > 0;
    rc = plan_ffn_find(s, d_ff, &h.ffn, err);
    if (rc == 0)
        *out = h;
    return rc;
}

/* Largest divisor of n that is at most limit (1 <= limit <= n <= 2^40: at most 2^20 rounds). */
static int64_t divisor_up_to(int64_t n, int64_t limit)
{
    int64_t best = 1;
    for (int64_t i = 1; i * i <= n; i++) {
        if (n % i != 0)
            continue;
        if (i <= limit && i > best)
            best = i;
        if (n / i <= limit && n / i > best)
            best = n / i;
    }
    return best;
}

/* Bytes of all that a run takes; UINT64_MAX when they are beyond PLAN_MAX_BYTES. */
static uint64_t total_at(const struct plan_layout *parameters, const struct plan_shape *shape,
                         enum spec_recompute recompute, int64_t micro_batch)
{
    struct plan_shape h = *shape;
    struct plan_layout l = *parameters;
    h.recompute = recompute;
    h.micro_batch = micro_batch;
    l.shape = &h;
    plan_layout_buffers(&l);
    if (l.overflow || l.end > PLAN_MAX_BYTES || l.workspace > PLAN_MAX_BYTES - l.end)
        return UINT64_MAX;
    return l.end + l.workspace + l.device->context_bytes;
}

/* What a choice is made from. */
struct choice {
    const struct plan_layout *parameters;
    const struct plan_shape *shape;
    uint64_t limit;                  /* bytes */
    int64_t wanted;                  /* micro-batch, or MICRO_BATCH_AUTO */
    int64_t most;                    /* the largest that auto may take */
    enum spec_recompute first, last; /* the policies that may be taken */
};

static bool fits(const struct choice *c, enum spec_recompute recompute, int64_t micro_batch)
{
    return total_at(c->parameters, c->shape, recompute, micro_batch) <= c->limit;
}

/* Largest of `most`, halved from divisor to divisor of the batch, that fits; 0 when not even 1 does. */
static int64_t fitting_micro_batch(const struct choice *c, enum spec_recompute recompute)
{
    for (int64_t n = c->most;; n = divisor_up_to(c->shape->batch, n / 2)) {
        if (fits(c, recompute, n))
            return n;
        if (n == 1)
            return 0;
    }
}

static int64_t full_micro_batch(const struct plan_shape *shape)
{
    return (PLAN_FULL_POSITIONS - 1) / shape->seq_len + 1;
}

/* Takes what plan.h's rule takes; false when nothing fits. */
static bool choose(const struct choice *c, struct plan_shape *shape)
{
    int64_t best = 0;
    for (int r = c->first; r <= (int)c->last; r++) {
        enum spec_recompute recompute = (enum spec_recompute)r;
        int64_t n = c->wanted;
        if (c->wanted == MICRO_BATCH_AUTO)
            n = fitting_micro_batch(c, recompute);
        else if (!fits(c, recompute, c->wanted))
            n = 0;
        if (n > best) {
            best = shape->micro_batch = n;
            shape->recompute = recompute;
        }
        if (best > 0 && (best == c->wanted || best == c->most || best >= full_micro_batch(shape)))
            break;
    }
    return best > 0;
}

static double mebibytes(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

static void say_bytes(uint64_t bytes, char out[48])
{
    if (bytes == UINT64_MAX)
        snprintf(out, 48, "more than %.0f TiB", mebibytes(PLAN_MAX_BYTES) / (1 << 20));
    else
        snprintf(out, 48, "%.1f MiB", mebibytes(bytes));
}

/* Where a micro-batch must be the whole batch, it is the batch that can be made smaller. */
static const char *size_field(const struct choice *c)
{
    return c->shape->optimizer->fused ? "train.batch" : "train.micro_batch";
}

/* What to change so that it fits: the micro-batch, else or as well the policy, else both. "" when nothing helps. */
static void say_what_fits(const struct choice *c, char out[160])
{
    int64_t n = fitting_micro_batch(c, c->last);
    int used = n > 0 ? snprintf(out, 160, "; %s %" PRId64 " fits", size_field(c), n) : 0;
    out[used] = '\0';
    for (int r = (int)c->last + 1; r <= RECOMPUTE_ALL && c->wanted != MICRO_BATCH_AUTO; r++) {
        if (!fits(c, (enum spec_recompute)r, c->wanted))
            continue;
        snprintf(out + used, 160 - (size_t)used, "%s train.recompute %s%s", used > 0 ? ", or" : ";",
                 plan_recompute_word((enum spec_recompute)r), used > 0 ? "" : " fits");
        return;
    }
    n = used > 0 || c->last == RECOMPUTE_ALL ? 0 : fitting_micro_batch(c, RECOMPUTE_ALL);
    if (n > 0)
        snprintf(out, 160, "; %s %" PRId64 " with train.recompute %s fits", size_field(c), n,
                 plan_recompute_word(RECOMPUTE_ALL));
}

static int refuse(const struct choice *c, struct err *err)
{
    char needed[48], there[48], help[160];
    say_what_fits(c, help);
    say_bytes(c->limit, there);
    if (c->wanted != MICRO_BATCH_AUTO && help[0] != '\0') {
        say_bytes(total_at(c->parameters, c->shape, c->last, c->wanted), needed);
        return err_set_at(err, ERR_TOO_LARGE, size_field(c),
                          "%s %" PRId64 " needs %s with train.recompute %s, the device has %s%s", size_field(c),
                          c->wanted, needed, plan_recompute_word(c->last), there, help);
    }
    enum spec_recompute least = help[0] != '\0' ? c->last : RECOMPUTE_ALL;
    uint64_t bytes = total_at(c->parameters, c->shape, least, 1);
    say_bytes(bytes, needed);
    if (bytes == UINT64_MAX)
        return err_set_at(err, ERR_TOO_LARGE, "model", "needs %s even with %s 1", needed, size_field(c));
    return err_set_at(err, ERR_TOO_LARGE, size_field(c),
                      "the run needs %s with %s 1 and train.recompute %s, the device has %s%s", needed, size_field(c),
                      plan_recompute_word(least), there, help);
}

static int choose_micro_batch(const struct spec *s, const struct plan_device *device,
                              const struct plan_layout *parameters, struct plan_shape *shape, struct err *err)
{
    struct choice c = {
        .parameters = parameters,
        .shape = shape,
        .limit = device->memory_bytes && device->memory_bytes < PLAN_MAX_BYTES ? device->memory_bytes : PLAN_MAX_BYTES,
        .wanted = shape->optimizer->fused ? s->train.batch : s->train.micro_batch,
        .most = s->train.batch,
        .first = s->train.recompute == RECOMPUTE_AUTO ? RECOMPUTE_NONE : s->train.recompute,
        .last = s->train.recompute == RECOMPUTE_AUTO ? RECOMPUTE_ALL : s->train.recompute,
    };
    if (s->train.micro_batch < 0 || s->train.micro_batch > s->train.batch)
        return err_set_at(err, ERR_INVALID, "train.micro_batch",
                          "%" PRId64 " is not allowed: 1 to train.batch %" PRId64 ", or auto", s->train.micro_batch,
                          s->train.batch);
    if (c.wanted == MICRO_BATCH_AUTO && device->micro_batch_limit > 0 && device->micro_batch_limit < c.most) {
        c.most = divisor_up_to(s->train.batch, device->micro_batch_limit);
        if (c.most < full_micro_batch(shape))
            c.first = c.last;
    }
    return choose(&c, shape) ? 0 : refuse(&c, err);
}

static void *allocate_list(size_t count, size_t size)
{
    void *list = spare_malloc(count * size + 1);
    memset(list, 0, count * size);
    return list;
}

static int64_t count_rotary_dims(double share, int64_t head_dim)
{
    /* 1e-9 takes back what the product of a decimal share with a whole number loses. */
    return (int64_t)floor(share * (double)head_dim + 1e-9) / 2 * 2;
}

static double count_flops(const struct plan_layout *l)
{
    const struct plan_shape *s = l->shape;
    double layers = 6.0 * (double)(l->params_in_products - l->params_in_head);
    double attention = (6.0 * (double)s->run + 8.0 * (double)s->xl_len) * (double)s->layers * (double)s->dim;
    return 6.0 * (double)l->params_in_head + (layers + attention) * (double)(s->run * s->segments) / (double)s->seq_len;
}

int plan_make(const struct spec *s, int64_t vocab, const struct plan_device *device, struct plan *out, struct err *err)
{
    struct plan_shape shape;
    int rc = find_shape(s, vocab, &shape, err);
    if (rc != 0)
        return rc;

    struct plan_layout counted = {.shape = &shape, .device = device};
    plan_layout_parameters(&counted);
    if (counted.overflow || counted.end > PLAN_MAX_BYTES)
        return err_set_at(err, ERR_TOO_LARGE, "model",
                          "parameters, gradients and moments alone need more than %.0f TiB",
                          mebibytes(PLAN_MAX_BYTES) / (1 << 20));
    rc = choose_micro_batch(s, device, &counted, &shape, err);
    if (rc != 0)
        return rc;

    struct plan_layout with_buffers = counted;
    plan_layout_buffers(&with_buffers);
    struct plan_layout l = {
        .shape = &shape,
        .device = device,
        .parameters = allocate_list((size_t)with_buffers.parameter_count, sizeof(struct plan_parameter)),
        .buffers = allocate_list((size_t)with_buffers.buffer_count, sizeof(struct plan_buffer)),
    };
    plan_layout_parameters(&l);
    plan_layout_buffers(&l);

    struct plan p = {
        .parameter_count = l.parameter_count,
        .buffer_count = l.buffer_count,
        .parameters = l.parameters,
        .buffers = l.buffers,
        .vocab = shape.vocab,
        .d_ff = shape.ffn.width,
        .ffn_gated = shape.ffn.gated,
        .head_dim = shape.head_dim,
        .segments = shape.segments,
        .run = shape.run,
        .rmt_tokens = shape.rmt_tokens,
        .pause_rows = shape.pause_rows,
        .xl_len = shape.xl_len,
        .xl_eval_len = shape.xl_eval_len,
        .rotary_dims = count_rotary_dims(s->model.rotary_pct, shape.head_dim),
        .micro_batch = shape.micro_batch,
        .recompute = shape.recompute,
        .logit_rows = l.logit_rows,
        .params = (int64_t)l.params,
        .params_non_embedding = (int64_t)(l.params - l.params_embedding),
        .flops_per_token = count_flops(&l),
    };
    memcpy(p.bytes.by_class, l.by_class, sizeof(l.by_class));
    p.zeroed_gradients = l.zeroed_gradients;
    p.branch_workspace = l.branch_workspace;
    p.branches = l.branches;
    p.bytes.by_class[PLAN_WORKSPACE] = l.workspace;
    p.bytes.arena = l.end;
    p.bytes.context = device->context_bytes;
    p.bytes.total = l.end + l.workspace + device->context_bytes;
    *out = p;
    return 0;
}

void plan_finish(struct plan *p)
{
    if (!p)
        return;
    free(p->parameters);
    free(p->buffers);
    memset(p, 0, sizeof(*p));
}

const struct plan_parameter *plan_find_parameter(const struct plan *p, const char *name)
{
    for (int i = 0; i < p->parameter_count; i++)
        if (strcmp(p->parameters[i].name, name) == 0)
            return &p->parameters[i];
    return NULL;
}

const struct plan_buffer *plan_find_buffer(const struct plan *p, const char *name)
{
    for (int i = 0; i < p->buffer_count; i++)
        if (strcmp(p->buffers[i].name, name) == 0)
            return &p->buffers[i];
    return NULL;
}

double plan_mfu(double flops_per_token, double tok_s, double peak_flops)
{
    return peak_flops > 0 ? flops_per_token * tok_s / peak_flops : 0;
}
