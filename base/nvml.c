#include "base/nvml.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>
#include "base/err.h"

#define SLOT(member) offsetof(struct nvml_library, member)

static const struct {
    size_t slot;
    const char *symbol;
    const char *older; /* the same under its older name */
    int required;
} symbols[] = {
    {SLOT(init), "nvmlInit_v2", NULL, 1},
    {SLOT(shutdown), "nvmlShutdown", NULL, 1},
    {SLOT(count), "nvmlDeviceGetCount_v2", NULL, 1},
    {SLOT(handle_by_index), "nvmlDeviceGetHandleByIndex_v2", NULL, 1},
    {SLOT(handle_by_pci_bus_id), "nvmlDeviceGetHandleByPciBusId_v2", NULL, 1},
    {SLOT(uuid), "nvmlDeviceGetUUID", NULL, 1},
    {SLOT(name), "nvmlDeviceGetName", NULL, 1},
    {SLOT(memory), "nvmlDeviceGetMemoryInfo", NULL, 1},
    {SLOT(temperature), "nvmlDeviceGetTemperature", NULL, 0},
    {SLOT(clock), "nvmlDeviceGetClockInfo", NULL, 0},
    {SLOT(power), "nvmlDeviceGetPowerUsage", NULL, 0},
    {SLOT(throttle), "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons", 0},
    {SLOT(energy), "nvmlDeviceGetTotalEnergyConsumption", NULL, 0},
    {SLOT(ecc_errors), "nvmlDeviceGetTotalEccErrors", NULL, 0},
    {SLOT(event_set_create), "nvmlEventSetCreate", NULL, 0},
    {SLOT(event_set_free), "nvmlEventSetFree", NULL, 0},
    {SLOT(register_events), "nvmlDeviceRegisterEvents", NULL, 0},
    {SLOT(event_wait), "nvmlEventSetWait_v2", NULL, 0},
};

int nvml_open(struct nvml_library *out, struct err *err)
{
    struct nvml_library lib;
    void *handle = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle)
        return err_set(err, ERR_UNAVAILABLE, "no libnvidia-ml.so.1");
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *address = dlsym(handle, symbols[i].symbol);
        if (!address && symbols[i].older)
            address = dlsym(handle, symbols[i].older);
        if (!address && symbols[i].required)
            return err_set(err, ERR_UNAVAILABLE, "libnvidia-ml.so.1 lacks %s", symbols[i].symbol);
        /* ISO C has no conversion from void * to a function pointer; POSIX asks for this copy. */
        memcpy((char *)&lib + symbols[i].slot, &address, sizeof address);
    }
    if (lib.init() != 0)
        return err_set(err, ERR_UNAVAILABLE, "the NVIDIA driver does not answer");
    *out = lib;
    return 0;
}
