/* loaded_run.c: see loaded_run.h. The plan is that of training, with the least memory for activations where nothing has
 * to stay: gradients and moments have their places, since a checkpoint holds the moments. */
#include "worker/loaded_run.h"

#include <stdlib.h>
#include "base/err.h"
#include "base/file.h"
#include "text/token_file.h"
#include "worker/model.h"

int loaded_run_read_spec(const char *home, const char *run_dir, struct spec *spec, int64_t *vocab, struct err *err)
{
    char path[PATH_SIZE], *text = NULL;
    size_t size = 0;
    int rc = path_format(path, err, "%s/spec.json", run_dir);
    if (rc == 0)
        rc = file_read_all(path, SPEC_MAX_BYTES, &text, &size, err);
    if (rc == 0)
        rc = spec_parse(text, size, spec, err);
    free(text);
    if (rc != 0)
        return rc;
    *vocab = spec->model.vocab;
    if (*vocab != 0)
        return 0;
    struct token_file data;
    rc = token_file_open(home, spec->data.name, &data, err);
    if (rc != 0)
        return rc;
    *vocab = (int64_t)data.header.vocab;
    token_file_close(&data);
    return 0;
}

/* One text is read without what stands between its tokens or came before them. A checkpoint's memories are in the type
 * of activations. */
static int check_memory(const struct spec *s, enum loaded_for purpose, bool on_cpu, struct err *err)
{
    const char *field = spec_memory_field(s);
    if (field && purpose == LOADED_TO_READ)
        return err_set_at(err, ERR_INVALID, field, "%s: a text cannot be sampled from a model with a memory or pauses",
                          field);
    if (spec_has_memory(s) && on_cpu && s->train.precision != PRECISION_FP32)
        return err_set_at(err, ERR_INVALID, field, "%s: a memory in bf16 cannot be read on a CPU", field);
    return 0;
}

static void adapt(struct loaded_run *r, enum loaded_for purpose, bool on_cpu)
{
    struct spec *s = &r->spec;
    if (on_cpu) {
        s->train.device = DEVICE_CPU;
        s->train.precision = PRECISION_FP32;
        s->resources.gpus = s->resources.gpu_memory = 0;
    }
    s->train.micro_batch = checkpoint_get_state(r->checkpoint)->micro_batch; /* to the bits of the run's own losses */
    s->train.recompute = RECOMPUTE_ALL;
    if (purpose != LOADED_TO_READ)
        return;
    s->train.batch = s->train.micro_batch = 1;
    s->train.recompute = RECOMPUTE_NONE;
    s->data.reset = RESET_EPOCH;
}

static int make_model(struct loaded_run *r, int threads, struct err *err)
{
    struct backend *b = NULL;
    const struct backend_options options = {.storage = r->device.storage,
                                            .threads = threads > 0 ? threads : (int)r->spec.resources.cpus,
                                            .workspace_bytes = r->plan.bytes.by_class[PLAN_WORKSPACE],
                                            .branch_bytes = r->plan.branch_workspace};
    int rc = backend_open(r->device.backend, &options, &b, err);
    if (rc != 0)
        return rc;
    rc = model_create(&r->spec, &r->plan, b, &r->model, err);
    if (rc != 0) {
        b->ops->close(b);
        return rc;
    }
    return checkpoint_restore(r->checkpoint, r->model, err);
}

int loaded_run_open(struct loaded_run *r, const char *home, const char *run_dir, enum loaded_for purpose, bool on_cpu,
                    int threads, struct err *err)
{
    int64_t vocab = 0;
    *r = (struct loaded_run){0};
    int rc = loaded_run_read_spec(home, run_dir, &r->spec, &vocab, err);
    if (rc == 0)
        rc = check_memory(&r->spec, purpose, on_cpu, err);
    if (rc == 0)
        rc = checkpoint_open_newest(run_dir, &r->checkpoint, err);
    if (rc != 0)
        return rc;
    adapt(r, purpose, on_cpu);
    rc = device_choose(&r->spec, &r->device, err);
    if (rc == 0)
        rc = plan_make(&r->spec, vocab, &r->device.plan, &r->plan, err);
    if (rc == 0)
        rc = make_model(r, threads, err);
    if (rc != 0)
        loaded_run_close(r);
    return rc;
}

void loaded_run_close(struct loaded_run *r)
{
    model_destroy(r->model);
    checkpoint_close(r->checkpoint);
    plan_finish(&r->plan);
    *r = (struct loaded_run){0};
}
