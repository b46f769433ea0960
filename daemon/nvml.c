/* nvml.c: the few prototypes of libnvidia-ml.so.1 that are needed, declared here because a machine that builds baka
 * need not have nvml.h. Signatures as in NVIDIA's NVML API reference; all return 0 for success. The library is left
 * loaded: unloading it trips sanitizers, and it is one for the life of the process. */
#include "daemon/nvml.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

struct nvml_memory {
    unsigned long long total, free, used;
};

struct library {
    int (*init)(void);
    int (*shutdown)(void);
    int (*count)(unsigned *count);
    int (*handle)(unsigned index, void **device);
    int (*uuid)(void *device, char *text, unsigned size);
    int (*name)(void *device, char *text, unsigned size);
    int (*memory)(void *device, struct nvml_memory *memory);
};

/* ISO C has no conversion from void * to a function pointer; POSIX asks for this copy. */
static int load(void *handle, const char *symbol, void *function)
{
    void *address = dlsym(handle, symbol);
    memcpy(function, &address, sizeof address);
    return address != NULL ? 0 : -1;
}

void nvml_discover(struct nvml *out, const char **why)
{
    struct library lib;
    unsigned count = 0;
    memset(out, 0, sizeof *out);
    void *handle = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle == NULL) {
        *why = "no libnvidia-ml.so.1";
        return;
    }
    if (load(handle, "nvmlInit_v2", &lib.init) != 0 || load(handle, "nvmlShutdown", &lib.shutdown) != 0 ||
        load(handle, "nvmlDeviceGetCount_v2", &lib.count) != 0 ||
        load(handle, "nvmlDeviceGetHandleByIndex_v2", &lib.handle) != 0 ||
        load(handle, "nvmlDeviceGetUUID", &lib.uuid) != 0 || load(handle, "nvmlDeviceGetName", &lib.name) != 0 ||
        load(handle, "nvmlDeviceGetMemoryInfo", &lib.memory) != 0) {
        *why = "libnvidia-ml.so.1 lacks a function";
        return;
    }
    if (lib.init() != 0) {
        *why = "the driver does not answer";
        return;
    }
    *why = "found";
    if (lib.count(&count) != 0)
        count = 0;
    for (unsigned i = 0; i < count && out->gpu_count < (int)(sizeof out->gpus / sizeof *out->gpus); i++) {
        struct nvml_gpu *gpu = &out->gpus[out->gpu_count];
        struct nvml_memory memory;
        void *device;
        if (lib.handle(i, &device) != 0 || lib.uuid(device, gpu->uuid, sizeof gpu->uuid) != 0 ||
            lib.name(device, gpu->name, sizeof gpu->name) != 0 || lib.memory(device, &memory) != 0)
            continue; /* fallen off the bus: it is not there for us */
        gpu->memory_bytes = memory.total;
        out->gpu_count++;
    }
    lib.shutdown();
}
