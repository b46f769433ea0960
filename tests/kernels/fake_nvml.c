/* fake_nvml.c: a libnvidia-ml.so.1 with one GPU, at 0000:0a:00.0, that answers what the test has put into `fake_nvml`.
 * With FAKE_OLD it is one of a driver from before most of these functions. */
#include "fake_nvml.h"

#include <string.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TIMEOUT = 10 };

extern struct fake_nvml fake_nvml;
struct fake_nvml fake_nvml;
static char device;

static int answer(const void *asked)
{
    return asked != &device ? INVALID : fake_nvml.not_supported ? NOT_SUPPORTED : SUCCESS;
}

#define EXPORT(name, ...)                                                                                              \
    int name(__VA_ARGS__);                                                                                             \
    int name(__VA_ARGS__)

EXPORT(nvmlInit_v2, void)
{
    if (fake_nvml.refuse)
        return UNINITIALIZED;
    fake_nvml.opened++;
    return SUCCESS;
}

EXPORT(nvmlShutdown, void)
{
    fake_nvml.opened--;
    return SUCCESS;
}

EXPORT(nvmlDeviceGetCount_v2, unsigned *count)
{
    *count = 1;
    return SUCCESS;
}

EXPORT(nvmlDeviceGetHandleByIndex_v2, unsigned index, void **out)
{
    *out = &device;
    return index == 0 ? SUCCESS : INVALID;
}

EXPORT(nvmlDeviceGetHandleByPciBusId_v2, const char *id, void **out)
{
    if (strcmp(id, "0000:0a:00.0") != 0)
        return NOT_FOUND;
    *out = &device;
    return SUCCESS;
}

EXPORT(nvmlDeviceGetUUID, void *d, char *text, unsigned size)
{
    strncpy(text, "GPU-fake", size);
    return answer(d);
}

EXPORT(nvmlDeviceGetName, void *d, char *text, unsigned size)
{
    strncpy(text, "NVIDIA Fake", size);
    return answer(d);
}

EXPORT(nvmlDeviceGetMemoryInfo, void *d, struct nvml_memory *out)
{
    *out = fake_nvml.memory;
    return answer(d);
}

EXPORT(nvmlDeviceGetTemperature, void *d, int sensor, unsigned *out)
{
    *out = fake_nvml.celsius;
    return sensor == 0 ? answer(d) : INVALID;
}

#ifdef FAKE_OLD

EXPORT(nvmlDeviceGetCurrentClocksThrottleReasons, void *d, unsigned long long *out)
{
    *out = fake_nvml.reasons;
    return answer(d);
}

#else

static char set;

EXPORT(nvmlDeviceGetCurrentClocksEventReasons, void *d, unsigned long long *out)
{
    *out = fake_nvml.reasons;
    return answer(d);
}

EXPORT(nvmlDeviceGetClockInfo, void *d, int type, unsigned *out)
{
    *out = fake_nvml.mhz;
    return type == 1 ? answer(d) : INVALID;
}

EXPORT(nvmlDeviceGetPowerUsage, void *d, unsigned *out)
{
    *out = fake_nvml.milliwatts;
    return answer(d);
}

EXPORT(nvmlDeviceGetTotalEnergyConsumption, void *d, unsigned long long *out)
{
    *out = fake_nvml.millijoules;
    return answer(d);
}

EXPORT(nvmlDeviceGetTotalEccErrors, void *d, int type, int counter, unsigned long long *out)
{
    *out = fake_nvml.ecc;
    return type == 1 && counter == 0 ? answer(d) : INVALID;
}

EXPORT(nvmlEventSetCreate, void **out)
{
    *out = &set;
    fake_nvml.sets++;
    return SUCCESS;
}

EXPORT(nvmlEventSetFree, void *s)
{
    fake_nvml.sets--;
    return s == &set ? SUCCESS : INVALID;
}

EXPORT(nvmlDeviceRegisterEvents, void *d, unsigned long long types, void *s)
{
    return types == 8 && s == &set ? answer(d) : INVALID;
}

EXPORT(nvmlEventSetWait_v2, void *s, struct nvml_event *out, unsigned timeout_ms)
{
    if (s != &set || timeout_ms != 0)
        return INVALID;
    if (fake_nvml.waiting == 0)
        return TIMEOUT;
    *out = fake_nvml.events[--fake_nvml.waiting];
    return SUCCESS;
}

#endif
