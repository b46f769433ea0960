/* device.h: the GPU as a device: opening, memory, and what every operator shares.
 *
 * One backend has one stream. Operators only enqueue on it: they never allocate, synchronise or read host memory beyond
 * their args, so that a step can be captured into a CUDA graph (step.c). A backend is used from the thread that
 * opened it. After the first CUDA error nothing is enqueued any more: the context is not trusted again.
 */
#ifndef BAKA_KERNELS_CUDA_DEVICE_H
#define BAKA_KERNELS_CUDA_DEVICE_H

#include <cuda_runtime_api.h>
#include "base/err.h"
#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What changes from step to step, in device memory, where captured kernels read it. */
struct cuda_step_values {
    double lr, loss_scale;
};

/* The stream to enqueue on: the backend's one, or the lane that was chosen. */
cudaStream_t cuda_stream(struct backend *b);
/* Asked at the top of each operator, which returns at once when there was an error before. */
bool cuda_failed(const struct backend *b);
/* Device memory for one operator call, 256-byte aligned, not cleared; NULL (and a sticky error) when it does not fit.
 * A second call in the same operator returns the same memory. */
void *cuda_workspace(struct backend *b, size_t bytes);
size_t cuda_workspace_size(const struct backend *b); /* what cuda_workspace can give at most */
/* Device memory of up to CUDA_KEPT_BYTES that lives as long as the backend, for what operators need again and again. It
 * belongs to the first key; NULL for others, and for more than fits. *fresh: nobody has filled it yet, which cannot be
 * in a capture: what is captured ran before. */
enum { CUDA_KEPT_BYTES = 4 << 20 };
void *cuda_keep(struct backend *b, uint64_t key, size_t bytes, bool *fresh);
/* After an operator's launches: cudaGetLastError becomes the sticky error, named after operator and step. */
void cuda_check(struct backend *b, const char *operator_name);
/* Makes `text` the sticky error. */
void cuda_fail(struct backend *b, enum err_code code, const char *operator_name, const char *text);
const struct cuda_step_values *cuda_values(struct backend *b); /* device memory */

/* Lanes: for parts of one operator that do not wait for each other and are too small to fill the GPU alone. Lane 0 is
 * the stream in work. fork: all lanes wait for what was enqueued so far; lane: what follows goes there; join: lane 0
 * waits for the others and is chosen again. An operator that forks joins before it returns. Matrix products go to lanes
 * 0 and 1; cuda_workspace() is one for all lanes.
 *
 * Branches (struct backend_ops): each has lanes and a workspace of its own, the second those that are there anyway.
 */
enum { CUDA_LANES = 3, CUDA_GEMM_LANES = 2, CUDA_BRANCHES = 2 };
void cuda_lanes_fork(struct backend *b);
void cuda_lane(struct backend *b, int lane);
void cuda_lanes_join(struct backend *b);
/* Which of cuBLASLt's workspaces is the lane's: below CUDA_BRANCHES * CUDA_GEMM_LANES. */
int cuda_gemm_lane(const struct backend *b);
void cuda_branches_begin(struct backend *b);
void cuda_branches_next(struct backend *b);
void cuda_branches_end(struct backend *b);
int cuda_multiprocessors(const struct backend *b);
int cuda_compute_capability(const struct backend *b); /* 90 for 9.0 */

static inline bool cuda_is_bf16(const struct backend *b)
{
    return b->storage == DTYPE_BF16;
}

#ifdef __cplusplus
}
#endif

#endif
