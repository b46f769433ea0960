/* loaded_run.h: the model of a run as a checkpoint has it, for what is no training. Its spec, plan and device are the
 * run's, as the job changes them: the CPU's in fp32, another length of memory. Thread: one at a time. */
#ifndef BAKA_WORKER_LOADED_RUN_H
#define BAKA_WORKER_LOADED_RUN_H

#include "schema/journal.h"
#include "schema/plan.h"
#include "schema/spec.h"
#include "worker/checkpoint.h"
#include "worker/device.h"

struct err;
struct model;

struct job;

struct loaded_from {
    const char *home, *spec_dir; /* holds spec.json */
    const char *run_dir;         /* holds checkpoints/ */
    const char *checkpoint;      /* "checkpoints/120-a1"; NULL: the newest that is whole */
    int threads;                 /* 0: resources.cpus of the spec */
};

struct loaded_run {
    struct spec spec;
    struct plan plan;
    struct device device;
    struct model *model;
    struct backend *backend; /* the model's */
    struct checkpoint *checkpoint;
    enum journal_end_reason blame; /* set where it failed, for an `end` whose error's code says no better */
};

/* RUN_DIR/spec.json, and the vocabulary from HOME's data set where the spec has none. */
int loaded_run_read_spec(const char *home, const char *run_dir, struct spec *spec, int64_t *vocab, struct err *err);
/* Whole batches, forward only, for an evaluation; one text, position by position (model_read), for a sample. What the
 * job asks for and the model has not is refused before its checkpoint is read. */
int loaded_run_open(struct loaded_run *r, const struct loaded_from *from, const struct job *job, struct err *err);
void loaded_run_close(struct loaded_run *r); /* a zeroed one is fine */

#endif
