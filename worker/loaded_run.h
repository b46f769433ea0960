/* loaded_run.h: the model of a run as its newest good checkpoint has it, for what is no training. Its spec, plan and
 * device are the run's, or the CPU's in fp32 where that was asked for. Thread: one at a time. */
#ifndef BAKA_WORKER_LOADED_RUN_H
#define BAKA_WORKER_LOADED_RUN_H

#include <stdbool.h>
#include "schema/plan.h"
#include "schema/spec.h"
#include "worker/checkpoint.h"
#include "worker/device.h"

struct err;
struct model;

enum loaded_for {
    LOADED_TO_EVALUATE, /* whole batches, forward only */
    LOADED_TO_READ,     /* one text, position by position: model_read */
};

struct loaded_run {
    struct spec spec;
    struct plan plan;
    struct device device;
    struct model *model;
    struct checkpoint *checkpoint;
};

/* RUN_DIR/spec.json, and the vocabulary from HOME's data set where the spec has none. */
int loaded_run_read_spec(const char *home, const char *run_dir, struct spec *spec, int64_t *vocab, struct err *err);
/* threads 0: resources.cpus of the spec. */
int loaded_run_open(struct loaded_run *r, const char *home, const char *run_dir, enum loaded_for purpose, bool on_cpu,
                    int threads, struct err *err);
void loaded_run_close(struct loaded_run *r); /* a zeroed one is fine */

#endif
