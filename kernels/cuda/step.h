/* step.h: holds the calls of a step back until its end, then runs them as one CUDA graph.
 *
 * The calls of a step are kept as a list of (operator, args). A list seen for the first time is run as it stands; seen
 * again, it is captured and instantiated, and from then on replayed: a step costs one launch. Two rings of pinned
 * memory carry uploads and results, so that a step can be prepared while the one before runs.
 */
#ifndef BAKA_KERNELS_CUDA_STEP_H
#define BAKA_KERNELS_CUDA_STEP_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include "kernels/backend.h"

enum { CUDA_STEPS_IN_FLIGHT = 2, CUDA_GRAPHS = 16 };

struct cuda_download {
    void *to;
    const void *from;
    size_t bytes, at; /* at: offset in the pinned memory */
};

/* Pinned memory of one step in flight. */
struct cuda_ring {
    unsigned char *pinned;
    size_t capacity, used;
    struct cuda_download *downloads;
    int download_count, download_room;
    cudaEvent_t done;
};

/* A list of calls, as one block of bytes that can be compared. */
struct cuda_calls {
    unsigned char *bytes;
    size_t used, room;
};

struct cuda_graph {
    struct cuda_calls calls; /* empty: the place is free */
    cudaGraphExec_t exec;    /* NULL until the list was seen twice */
    int64_t last_used;
};

struct cuda_steps {
    struct cuda_ring rings[CUDA_STEPS_IN_FLIGHT];
    struct cuda_calls calls; /* of the step that is being told */
    struct cuda_graph graphs[CUDA_GRAPHS];
    int64_t begun, waited;
    bool open;
};

struct cuda_backend;

/* An operator's call: at once, or, inside a step, at its end. `args` has no padding bytes that differ. */
typedef void cuda_operator_fn(struct backend *b, const void *args);
void cuda_call(struct cuda_backend *c, cuda_operator_fn *run, const char *name, const void *args, size_t bytes);

int cuda_steps_init(struct cuda_steps *s, struct err *err);
void cuda_steps_finish(struct cuda_steps *s);

/* The entries of the backend table. */
void cuda_step_begin(struct backend *b, const struct step_values *values);
void cuda_step_end(struct backend *b);
int cuda_step_wait(struct backend *b, struct err *err);
void cuda_upload(struct backend *b, void *dst, const void *host_src, size_t bytes);
void cuda_download(struct backend *b, void *host_dst, const void *src, size_t bytes);
void cuda_zero(struct backend *b, void *dst, size_t bytes);
int cuda_sync(struct backend *b, struct err *err);

#endif
