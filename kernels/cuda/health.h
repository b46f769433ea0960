/* health.h: the GPU that computes, as the driver's management library (base/nvml.h) sees it. Needs no CUDA. Thread: the
 * backend's. */
#ifndef BAKA_KERNELS_CUDA_HEALTH_H
#define BAKA_KERNELS_CUDA_HEALTH_H

#include <stdbool.h>
#include <stdint.h>
#include "base/gpu_health.h"
#include "base/nvml.h"

struct cuda_health {
    bool open;
    struct nvml_library library;
    struct nvml_device *device;
    struct nvml_event_set *events; /* NULL: Xids are not to be seen */
    unsigned long long energy_mj;  /* the GPU's counter at the start */
    int64_t xid;                   /* the newest one, 0: none */
};

/* By its PCI bus id: CUDA_VISIBLE_DEVICES numbers GPUs anew, and the library does not know of that. Energy and Xids
 * count from here. Where the library or the device is not to be had, samples tell nothing, and that is no error. */
void cuda_health_open(struct cuda_health *h, const char *pci_bus_id);
void cuda_health_close(struct cuda_health *h); /* one that is zeroed or was never opened is fine */
/* False: nothing is known. What the driver refuses is unknown. */
bool cuda_health_sample(struct cuda_health *h, struct gpu_health *out);

#endif
