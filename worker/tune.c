/* tune.c: see tune.h. */
#include "worker/tune.h"

#include <stdlib.h>
#include <unistd.h>
#include "base/err.h"
#include "base/philox.h"
#include "worker/device.h"
#include "worker/model.h"
#include "worker/spec_source.h"

struct batch {
    int32_t *inputs, *targets, *first;
};

static void batch_finish(struct batch *b)
{
    free(b->inputs);
    free(b->targets);
    free(b->first);
}

static int batch_make(const struct spec *spec, const struct plan *plan, struct batch *b, struct err *err)
{
    size_t n = (size_t)(spec->train.batch * spec->train.seq_len);
    *b = (struct batch){calloc(n, sizeof *b->inputs), calloc(n, sizeof *b->targets), calloc(n, sizeof *b->first)};
    if (!b->inputs || !b->targets || !b->first) {
        batch_finish(b);
        return err_set(err, ERR_NO_MEMORY, "no memory for a batch of %zu tokens", n);
    }
    struct philox stream;
    philox_init(&stream, (uint64_t)spec->train.seed, "tune", "tokens");
    for (size_t i = 0; i < n; i++) {
        b->inputs[i] = (int32_t)philox_below(&stream, (uint64_t)plan->vocab);
        b->targets[i] = (int32_t)philox_below(&stream, (uint64_t)plan->vocab);
    }
    return 0;
}

/* As train_loop.c and evaluate.c call the model. */
static int run_once(struct model *m, const struct spec *spec, const struct plan *plan, const struct batch *b,
                    struct err *err)
{
    struct model_results results;
    const double scale = 1.0 / (double)(spec->train.batch * spec->train.seq_len);
    model_step_begin(m, &(struct step_values){.step = 1, .lr = 0, .loss_scale = scale});
    model_load(m, spec->train.batch, b->inputs, b->targets, b->first);
    model_zero_gradients(m);
    for (int64_t row = 0; row < spec->train.batch; row += plan->micro_batch) {
        int64_t left = spec->train.batch - row;
        model_forward_backward(m, row, left < plan->micro_batch ? left : plan->micro_batch);
    }
    model_update(m);
    model_step_end(m);
    int rc = model_step_wait(m, &results, err);
    if (rc != 0)
        return rc;
    model_step_begin(m, &(struct step_values){.step = 1});
    model_load(m, plan->micro_batch, b->inputs, b->targets, b->first);
    model_forward(m, 0, plan->micro_batch);
    model_step_end(m);
    return model_step_wait(m, &results, err);
}

static void print_line(void *context, const char *line)
{
    fprintf(context, "%s\n", line);
    fflush(context);
}

/* Takes the backend. */
static int tune_backend(const struct spec *spec, const struct plan *plan, struct backend *backend, const char *table,
                        FILE *out, struct err *err)
{
    struct model *m = NULL;
    struct batch b = {0};
    int rc = model_create(spec, plan, backend, &m, err);
    if (rc != 0) {
        backend->ops->close(backend);
        return rc;
    }
    rc = model_init_parameters(m, spec->train.seed, (int)sysconf(_SC_NPROCESSORS_ONLN), err);
    if (rc == 0)
        rc = batch_make(spec, plan, &b, err);
    if (rc == 0)
        rc = run_once(m, spec, plan, &b, err);
    if (rc == 0)
        rc = backend->ops->tune(backend, table, print_line, out, err);
    batch_finish(&b);
    model_destroy(m);
    return rc;
}

int tune_run(const char *spec_path, const char *home, const char *table, FILE *out, struct err *err)
{
    struct spec spec;
    struct device device;
    struct plan plan;
    struct backend *backend = NULL;
    int64_t vocab = 0;
    int rc = spec_source_read(spec_path, home, &spec, &vocab, err);
    if (rc == 0)
        rc = device_choose(&spec, &device, err);
    if (rc == 0)
        rc = plan_make(&spec, vocab, &device.plan, &plan, err);
    if (rc != 0)
        return rc;
    const struct backend_options options = {
        .storage = device.storage,
        .threads = 1,
        .workspace_bytes = plan.bytes.by_class[PLAN_WORKSPACE],
        .branch_bytes = plan.branch_workspace,
    };
    rc = backend_open(device.backend, &options, &backend, err);
    if (rc == 0 && !backend->ops->tune) {
        rc = err_set(err, ERR_UNAVAILABLE, "the %s backend has nothing to tune: its algorithms follow from the shapes",
                     backend->ops->name);
        backend->ops->close(backend);
    } else if (rc == 0) {
        rc = tune_backend(&spec, &plan, backend, table, out, err);
    }
    plan_finish(&plan);
    return rc;
}
