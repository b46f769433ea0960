/* device.c: see device.h. No failures, no state. */
#include "worker/device.h"

#include <unistd.h>

static uint64_t machine_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

void device_choose(const struct spec *spec, bool limited, struct device *out)
{
    static const char *const backends[] = {[DEVICE_AUTO] = "cpu", [DEVICE_CPU] = "cpu", [DEVICE_CUDA] = "cuda"};
    struct device d = {.backend = backends[spec->train.device]};
    d.storage = spec->train.precision == PRECISION_BF16 ? DTYPE_BF16 : DTYPE_F32;
    d.plan.storage_bytes = dtype_size(d.storage);
    d.plan.statistic_bytes = 4;
    if (spec->train.device == DEVICE_CUDA)
        d.plan.memory_bytes = (uint64_t)spec->resources.gpu_memory << 20;
    else if (limited)
        d.plan.memory_bytes = machine_memory();
    *out = d;
}
