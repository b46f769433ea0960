/* nvml.h: the machine's GPUs, through NVIDIA's management library (base/nvml.h): where it is missing there are no GPUs
 * and nothing fails. Loop thread. */
#ifndef BAKA_DAEMON_NVML_H
#define BAKA_DAEMON_NVML_H

#include <stdint.h>

struct err;

enum { NVML_TEXT_SIZE = 96 };

struct nvml_gpu {
    char uuid[NVML_TEXT_SIZE], name[NVML_TEXT_SIZE];
    uint64_t memory_bytes;
};

struct nvml {
    int gpu_count;
    struct nvml_gpu gpus[64];
};

/* Fills out; gpu_count 0 when there is no library, no driver or no GPU. `why` is filled in the first two cases. */
void nvml_discover(struct nvml *out, struct err *why);

#endif
