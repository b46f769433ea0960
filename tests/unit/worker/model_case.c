#include "model_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/philox.h"
#include "worker/model_parts.h"

static void check(int rc, const struct err *err)
{
    if (rc != 0)
        fail_msg("%s: %s", err->path, err->message);
}

struct spec case_spec(void)
{
    struct spec s = {0};
    s.model.dim = 8;
    s.model.layers = 2;
    s.model.heads = 2;
    s.model.d_ff = 12;
    s.model.norms = 2;
    s.model.parallel_residual = true;
    s.model.rotary_pct = 0.5;
    s.model.rotary_base = 100;
    s.model.bias = true;
    s.model.ffn.elephant.a = 1;
    s.model.ffn.elephant.d = 8;
    s.model.ffn.mini_moe.units = 2;
    s.train.seq_len = 5;
    s.train.batch = 3;
    s.train.seed = 1;
    s.train.optimizer.lr = 0.01;
    s.train.optimizer.betas[0] = 0.9;
    s.train.optimizer.betas[1] = 0.95;
    s.train.optimizer.eps = 1e-8;
    s.train.weight_decay = 0.1;
    s.train.clip = 1;
    return s;
}

void case_set_ffn(struct spec *s, int i)
{
    static const enum spec_ffn types[CASE_FFNS] = {
        FFN_GELU,     FFN_RELU2, FFN_SWIGLU,   FFN_GEGLU,        FFN_ELEPHANT,     FFN_ELEPHANT_GLU, FFN_MINI_MOE,
        FFN_MINI_MOE, FFN_SDPA,  FFN_ELEPHANT, FFN_ELEPHANT_GLU, FFN_ELEPHANT_GLU, FFN_ELEPHANT,     FFN_ELEPHANT_GLU,
    };
    s->model.ffn.type = types[i];
    s->model.ffn.mini_moe.units = 2 + i % 2; /* 2 and 3 */
    s->model.ffn.mini_moe.gate = i == 7 ? GATE_VECTOR : GATE_SCALAR;
    s->model.ffn.sdpa.n = 7;
    s->model.ffn.elephant.learnable = i >= 9 && i != 11;
    s->model.ffn.elephant.pre_norm = i >= 11;
}

static void draw_inputs(struct model_case *c)
{
    int64_t seq = c->spec.train.seq_len, n = c->spec.train.batch * seq;
    c->inputs = calloc((size_t)n, sizeof(int32_t));
    c->targets = calloc((size_t)n, sizeof(int32_t));
    c->first = calloc((size_t)n, sizeof(int32_t));
    assert_true(c->inputs && c->targets && c->first);
    struct philox p;
    philox_init(&p, 7, "test", "inputs");
    for (int64_t i = 0; i < n; i++) {
        c->inputs[i] = (int32_t)philox_below(&p, (uint64_t)c->plan.vocab);
        c->targets[i] = (int32_t)philox_below(&p, (uint64_t)c->plan.vocab);
        if (c->spec.data.reset == RESET_DOCUMENT && i / seq != 1) /* a second document in all rows but one */
            c->first[i] = i % seq >= seq / 2 ? (int32_t)(seq / 2) : 0;
    }
    c->targets[1] = -1;
    for (int64_t i = n - seq / 2; i < n; i++)
        c->targets[i] = -1;
    c->counted = 0;
    for (int64_t i = 0; i < n; i++)
        c->counted += c->targets[i] >= 0;
}

void case_open(struct model_case *c, const struct spec *spec, int64_t vocab, const char *backend, int threads)
{
    case_open_branches(c, spec, vocab, backend, threads, 0);
}

void case_open_branches(struct model_case *c, const struct spec *spec, int64_t vocab, const char *backend, int threads,
                        int64_t branch_positions)
{
    struct err err = {0};
    size_t size = strcmp(backend, "cpu-fp64") == 0 ? 8 : 4;
    struct plan_device device = {.storage_bytes = size,
                                 .wide_bytes = size,
                                 .workspace_bytes = plan_device_cpu.workspace_bytes,
                                 .logits_bytes = plan_device_cpu.logits_bytes,
                                 .branch_positions = branch_positions};
    *c = (struct model_case){.spec = *spec};
    check(plan_make(&c->spec, vocab, &device, &c->plan, &err), &err);
    struct backend_options options = {.storage = size == 8 ? DTYPE_F64 : DTYPE_F32,
                                      .threads = threads,
                                      .workspace_bytes = c->plan.bytes.by_class[PLAN_WORKSPACE]};
    struct backend *b = NULL;
    check(backend_open(backend, &options, &b, &err), &err);
    check(model_create(&c->spec, &c->plan, b, &c->model, &err), &err);
    check(model_init_parameters(c->model, c->spec.train.seed, 2, &err), &err);
    draw_inputs(c);
}

void case_close(struct model_case *c)
{
    model_destroy(c->model);
    plan_finish(&c->plan);
    free(c->inputs);
    free(c->targets);
    free(c->first);
}

static int64_t tensor_count(const struct model_case *c, int i)
{
    return c->plan.parameters[i].rows * c->plan.parameters[i].cols;
}

double *case_read(struct model_case *c, int what)
{
    struct err err = {0};
    bool wide = c->model->backend->storage == DTYPE_F64;
    size_t size = wide ? 8 : 4;
    double *out = calloc((size_t)c->plan.params, sizeof(double)), *at = out;
    void *values = calloc((size_t)c->plan.params, size);
    assert_true(out && values);
    for (int i = 0; i < c->plan.parameter_count; i++) {
        int64_t n = tensor_count(c, i);
        if (what == CASE_GRADIENTS) {
            c->model->ops->download(c->model->backend, values, c->model->arena + c->plan.parameters[i].grad,
                                    (size_t)n * size);
            check(c->model->ops->sync(c->model->backend, &err), &err);
        } else {
            check(model_read_state(c->model, i + what * c->plan.parameter_count, values, &err), &err);
        }
        for (int64_t j = 0; j < n; j++)
            *at++ = wide ? ((double *)values)[j] : (double)((float *)values)[j];
    }
    free(values);
    return out;
}

void case_write_tensor(struct model_case *c, int i, const double *values)
{
    struct err err = {0};
    int64_t n = tensor_count(c, i);
    if (c->model->backend->storage == DTYPE_F64) {
        check(model_write_state(c->model, i, values, &err), &err);
        return;
    }
    float *narrow = calloc((size_t)n, sizeof(float));
    assert_non_null(narrow);
    for (int64_t j = 0; j < n; j++)
        narrow[j] = (float)values[j];
    check(model_write_state(c->model, i, narrow, &err), &err);
    free(narrow);
}

void case_write(struct model_case *c, const double *values)
{
    for (int i = 0; i < c->plan.parameter_count; i++) {
        case_write_tensor(c, i, values);
        values += tensor_count(c, i);
    }
}

void case_randomize(struct model_case *c, uint64_t seed)
{
    double *values = calloc((size_t)c->plan.params, sizeof(double)), *at = values;
    assert_non_null(values);
    struct philox p;
    philox_init(&p, seed, "test", "parameters");
    for (int i = 0; i < c->plan.parameter_count; i++) {
        bool vector = c->plan.parameters[i].cols == 1;
        for (int64_t j = 0; j < tensor_count(c, i); j++)
            *at++ = (c->plan.parameters[i].init == INIT_ONE ? 1 : 0) + (vector ? 0.2 : 0.5) * philox_normal(&p);
    }
    case_write(c, values);
    free(values);
}

static struct model_results run_step(struct model_case *c, void (*run)(struct model_case *c), int64_t step, double lr)
{
    struct err err = {0};
    struct model_results results = {NAN, NAN};
    model_step_begin(c->model, &(struct step_values){.step = step, .lr = lr, .loss_scale = 1.0 / (double)c->counted});
    model_load(c->model, c->spec.train.batch, c->inputs, c->targets, c->first);
    run(c);
    model_step_end(c->model);
    check(model_step_wait(c->model, &results, &err), &err);
    return results;
}

static void each_micro_batch(struct model_case *c, void (*pass)(struct model *m, int64_t from, int64_t rows))
{
    int64_t batch = c->spec.train.batch, some = c->plan.micro_batch;
    for (int64_t r = 0; r < batch; r += some)
        pass(c->model, r, batch - r < some ? batch - r : some);
}

static void run_backward(struct model_case *c)
{
    model_zero_gradients(c->model);
    each_micro_batch(c, model_forward_backward);
}

static void run_forward(struct model_case *c)
{
    model_zero_loss(c->model);
    each_micro_batch(c, model_forward);
}

static void run_update(struct model_case *c)
{
    model_update(c->model);
}

static void run_training(struct model_case *c)
{
    run_backward(c);
    run_update(c);
}

struct model_results case_train(struct model_case *c, int64_t step, double lr)
{
    return run_step(c, run_training, step, lr);
}

double case_backward(struct model_case *c)
{
    return run_step(c, run_backward, 1, 0).loss_sum / (double)c->counted;
}

double case_loss(struct model_case *c)
{
    return run_step(c, run_forward, 1, 0).loss_sum / (double)c->counted;
}

double case_step(struct model_case *c, int64_t step, double lr)
{
    return run_step(c, run_update, step, lr).grad_norm;
}

int64_t case_updates(struct model_case *c)
{
    struct err err = {0};
    int64_t updates = -1;
    check(model_read_updates(c->model, &updates, &err), &err);
    return updates;
}

double vector_distance(const double *a, const double *b, int64_t n)
{
    double difference = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        size += b[i] * b[i];
    }
    return sqrt(difference) / sqrt(size);
}
