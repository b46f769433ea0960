/* device.h: from the spec's train.device to the backend's name and what the plan needs to know of its device. */
#ifndef BAKA_WORKER_DEVICE_H
#define BAKA_WORKER_DEVICE_H

#include <stdbool.h>
#include "kernels/backend.h"
#include "schema/plan.h"
#include "schema/spec.h"

struct device {
    const char *backend; /* for backend_open */
    enum dtype storage;
    struct plan_device plan;
    bool own_memory;  /* apart from the host's */
    int host_threads; /* for what the host does alone before the first step; 0: those of the run */
};

/* auto is a GPU where one is there, else the CPU. memory_bytes is what the device has, on a GPU at most
 * resources.gpu_memory. Errors: ERR_UNAVAILABLE when the device that the spec names is not here. */
int device_choose(const struct spec *spec, struct device *out, struct err *err);
/* For a plan of a machine that need not be this one: a device that is absent is taken as asked for, and its memory is
 * resources.gpu_memory or without limit. */
void device_imagine(const struct spec *spec, struct device *out);

#endif
