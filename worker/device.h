/* device.h: from the spec's train.device to the backend's name and what the plan needs to know of its device. */
#ifndef BAKA_WORKER_DEVICE_H
#define BAKA_WORKER_DEVICE_H

#include "kernels/backend.h"
#include "schema/plan.h"
#include "schema/spec.h"

struct device {
    const char *backend; /* for backend_open */
    enum dtype storage;
    struct plan_device plan;
};

/* auto is the CPU. memory_bytes is resources.gpu_memory for a GPU; for the CPU the machine's memory when `limited`,
 * else none. */
void device_choose(const struct spec *spec, bool limited, struct device *out);

#endif
