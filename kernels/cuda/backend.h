/* backend.h: the CUDA backend's own struct, for device.c, memory.c and step.c only; operators see device.h. */
#ifndef BAKA_KERNELS_CUDA_BACKEND_H
#define BAKA_KERNELS_CUDA_BACKEND_H

#include "kernels/cuda/device.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/health.h"
#include "kernels/cuda/step.h"

struct cuda_backend {
    struct backend base;
    struct backend_ops ops; /* base.ops points here */
    cudaStream_t stream;    /* lane 0 of branch 0 */
    cudaStream_t lanes[CUDA_BRANCHES][CUDA_LANES];
    cudaEvent_t forked[CUDA_BRANCHES], joined[CUDA_BRANCHES][CUDA_LANES];
    int branch, lane;
    char kind[128], libraries[160];
    int multiprocessors, capability;
    double peak_flops;
    struct cuda_health health;

    void *arena;
    unsigned char *workspace; /* cuBLASLt's, a lane, then what is kept, the operators', a branch, the step's values */
    uint64_t kept_key;
    size_t kept_bytes;                     /* 0: nothing is kept yet */
    unsigned char *scratch[CUDA_BRANCHES]; /* the operators', a branch */
    size_t scratch_bytes[CUDA_BRANCHES];   /* the second's may be 0: then there is one branch */
    struct cuda_step_values *values;
    struct cuda_gemm_state *gemms;
    struct cuda_steps steps;

    int64_t step;              /* named in errors */
    const char *operator_name; /* the operator that is enqueued now */
    bool failed;
    struct err error; /* the first one */
};

/* Keeps `code` (cudaSuccess: nothing happens) as the sticky error; false when there is one now. */
bool cuda_ok(struct cuda_backend *c, cudaError_t code, const char *what);

#endif
