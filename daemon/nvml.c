#include "daemon/nvml.h"

#include <string.h>
#include "base/nvml.h"

void nvml_discover(struct nvml *out, struct err *why)
{
    struct nvml_library lib;
    unsigned count = 0;
    memset(out, 0, sizeof *out);
    if (nvml_open(&lib, why) != 0)
        return;
    if (lib.count(&count) != 0)
        count = 0;
    for (unsigned i = 0; i < count && out->gpu_count < (int)(sizeof out->gpus / sizeof *out->gpus); i++) {
        struct nvml_gpu *gpu = &out->gpus[out->gpu_count];
        struct nvml_memory memory;
        struct nvml_device *device;
        if (lib.handle_by_index(i, &device) != 0 || lib.uuid(device, gpu->uuid, sizeof gpu->uuid) != 0 ||
            lib.name(device, gpu->name, sizeof gpu->name) != 0 || lib.memory(device, &memory) != 0)
            continue; /* fallen off the bus: it is not there for us */
        gpu->memory_bytes = memory.total;
        out->gpu_count++;
    }
    lib.shutdown();
}
