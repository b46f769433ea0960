/* store_gpu.h: what runs' journals said of their GPU. Rules as in store_run.h. */
#ifndef BAKA_DAEMON_STORE_GPU_H
#define BAKA_DAEMON_STORE_GPU_H

#include "daemon/store_run.h"
#include "schema/journal.h"

struct store_gpu {
    int64_t attempt;
    struct journal_gpu sample;
};

/* A second one of the same step and millisecond replaces the first. The run's energy is kept by ingest. */
int store_gpu_add(struct store_conn *c, int64_t run, int64_t attempt, const struct journal_gpu *sample,
                  struct err *err);
/* All of them, by attempt, step and time. Caller frees. */
int store_gpu_list(struct store_conn *c, int64_t run, struct store_gpu **out, size_t *n, struct err *err);
/* The newest of each attempt that has one, by attempt. Caller frees. */
int store_gpu_newest(struct store_conn *c, int64_t run, struct store_gpu **out, size_t *n, struct err *err);

#endif
