/* loaded_run.c: see loaded_run.h. The plan is that of training, with the least memory for activations where nothing has
 * to stay: gradients and moments have their places, since a checkpoint holds the moments. */
#include "worker/loaded_run.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/file.h"
#include "schema/job.h"
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

static void adapt(struct loaded_run *r, const struct job *job)
{
    struct spec *s = &r->spec;
    job_adapt_spec(job, s);
    s->train.micro_batch = checkpoint_get_state(r->checkpoint)->micro_batch; /* to the bits of the run's own losses */
    s->train.recompute = RECOMPUTE_ALL;
    if (job->kind != JOB_SAMPLE)
        return;
    s->train.batch = s->train.micro_batch = 1;
    s->train.recompute = RECOMPUTE_NONE;
    s->data.reset = RESET_EPOCH;
}

/* What the device told, and if it is that it has no room, what the plan wants it for. */
static int device_failed(struct loaded_run *r, int rc, struct err *err)
{
    char told[256], needs[160];
    if (rc != -ERR_NO_MEMORY)
        return rc;
    snprintf(told, sizeof told, "%.255s", err->message);
    plan_say_needs(&r->plan, needs, sizeof needs);
    r->blame = r->device.own_memory ? END_OOM_GPU : END_OOM_HOST;
    return err_set(err, ERR_NO_MEMORY, "%s; the run needs %s", told, needs);
}

static int make_model(struct loaded_run *r, int threads, struct err *err)
{
    struct backend *b = NULL;
    const struct backend_options options = {.storage = r->device.storage,
                                            .threads = threads > 0 ? threads : (int)r->spec.resources.cpus,
                                            .workspace_bytes = r->plan.bytes.by_class[PLAN_WORKSPACE],
                                            .branch_bytes = r->plan.branch_workspace};
    r->blame = END_BACKEND_ERROR;
    int rc = device_failed(r, backend_open(r->device.backend, &options, &b, err), err);
    if (rc != 0)
        return rc;
    rc = device_failed(r, model_create(&r->spec, &r->plan, b, &r->model, err), err);
    if (rc != 0) {
        b->ops->close(b);
        return rc;
    }
    r->backend = b;
    r->blame = END_BAD_CHECKPOINT;
    return checkpoint_restore(r->checkpoint, r->model, err);
}

/* A plan that is too large is the job's fault where it asks for more than the run took, else the device has too little
 * at the moment. */
static int make_plan(struct loaded_run *r, const struct job *job, int64_t vocab, struct err *err)
{
    r->blame = END_BACKEND_ERROR;
    int rc = device_choose(&r->spec, &r->device, err);
    if (rc != 0)
        return rc;
    rc = plan_make(&r->spec, vocab, &r->device.plan, &r->plan, err);
    r->blame = rc != -ERR_TOO_LARGE || job->memory > 0 || job->cpu ? END_BAD_SPEC
               : r->device.own_memory                              ? END_OOM_GPU
                                                                   : END_OOM_HOST;
    return rc;
}

int loaded_run_open(struct loaded_run *r, const struct loaded_from *from, const struct job *job, struct err *err)
{
    int64_t vocab = 0;
    *r = (struct loaded_run){.blame = END_BAD_DATA};
    int rc = loaded_run_read_spec(from->home, from->spec_dir, &r->spec, &vocab, err);
    if (rc != 0)
        return rc;
    r->blame = END_BAD_SPEC;
    rc = job_check(job, &r->spec, err);
    if (rc != 0)
        return rc;
    r->blame = END_BAD_CHECKPOINT;
    rc = from->checkpoint ? checkpoint_open(from->run_dir, from->checkpoint, &r->checkpoint, err)
                          : checkpoint_open_newest(from->run_dir, &r->checkpoint, err);
    if (rc != 0)
        return rc;
    adapt(r, job);
    rc = make_plan(r, job, vocab, err);
    if (rc == 0)
        rc = make_model(r, from->threads, err);
    if (rc != 0) {
        enum journal_end_reason blame = r->blame;
        loaded_run_close(r);
        r->blame = blame;
    }
    return rc;
}

void loaded_run_close(struct loaded_run *r)
{
    model_destroy(r->model);
    checkpoint_close(r->checkpoint);
    plan_finish(&r->plan);
    *r = (struct loaded_run){0};
}
