/* device.c: see device.h. No state. */
#include "worker/device.h"

#include <unistd.h>
#include "base/err.h"

static void describe(const struct spec *spec, bool gpu, uint64_t memory_bytes, struct device *out)
{
    struct device d = {.backend = gpu ? "cuda" : "cpu", .own_memory = gpu};
    d.storage = gpu && spec->train.precision == PRECISION_BF16 ? DTYPE_BF16 : DTYPE_F32;
    d.plan = gpu ? plan_device_cuda(dtype_size(d.storage)) : plan_device_cpu;
    d.plan.memory_bytes = memory_bytes;
    d.host_threads = gpu ? (int)sysconf(_SC_NPROCESSORS_ONLN) : 0;
    uint64_t allowed = (uint64_t)spec->resources.gpu_memory << 20;
    if (gpu && allowed > 0 && (memory_bytes == 0 || allowed < memory_bytes))
        d.plan.memory_bytes = allowed;
    *out = d;
}

int device_choose(const struct spec *spec, struct device *out, struct err *err)
{
    struct backend_device found;
    bool wanted = spec->train.device == DEVICE_CUDA; /* auto without a GPU is no error */
    bool here = spec->train.device != DEVICE_CPU && backend_probe("cuda", &found, wanted ? err : NULL) == 0;
    if (!here && wanted)
        return -ERR_UNAVAILABLE;
    int rc = here ? 0 : backend_probe("cpu", &found, err);
    if (rc == 0)
        describe(spec, here, found.memory_bytes, out);
    return rc;
}

void device_imagine(const struct spec *spec, struct device *out)
{
    struct backend_device found;
    bool gpu = spec->train.device == DEVICE_CUDA ||
               (spec->train.device == DEVICE_AUTO && backend_probe("cuda", &found, NULL) == 0);
    describe(spec, gpu, 0, out);
}
