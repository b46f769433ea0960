#include "kernels/cuda/health.h"

#include <stddef.h>

/* As many events as one sample takes, so that a flood of them cannot hold it up. */
enum { EVENTS_MAX = 64 };

/* nvmlClocksEventReason...; gpu_idle (1) is left out: it is no fault. */
static const struct {
    unsigned long long bit;
    enum gpu_throttle reason;
} reasons[] = {
    {0x2, GPU_APPLICATION_CLOCKS}, {0x4, GPU_SW_POWER_CAP}, {0x8, GPU_HW_SLOWDOWN},     {0x10, GPU_SYNC_BOOST},
    {0x20, GPU_SW_THERMAL},        {0x40, GPU_HW_THERMAL},  {0x80, GPU_HW_POWER_BRAKE}, {0x100, GPU_DISPLAY_CLOCKS},
};

static void watch_xids(struct cuda_health *h)
{
    const struct nvml_library *lib = &h->library;
    if (!lib->event_set_create || !lib->event_set_free || !lib->register_events || !lib->event_wait ||
        lib->event_set_create(&h->events) != 0) {
        h->events = NULL;
        return;
    }
    if (lib->register_events(h->device, NVML_EVENT_XID, h->events) != 0) {
        lib->event_set_free(h->events);
        h->events = NULL;
    }
}

void cuda_health_open(struct cuda_health *h, const char *pci_bus_id)
{
    *h = (struct cuda_health){0};
    if (nvml_open(&h->library, NULL) != 0)
        return;
    if (h->library.handle_by_pci_bus_id(pci_bus_id, &h->device) != 0) {
        h->library.shutdown();
        return;
    }
    h->open = true;
    if (h->library.energy && h->library.energy(h->device, &h->energy_mj) != 0)
        h->library.energy = NULL;
    watch_xids(h);
}

void cuda_health_close(struct cuda_health *h)
{
    if (!h->open)
        return;
    if (h->events)
        h->library.event_set_free(h->events);
    h->library.shutdown();
    h->open = false;
}

static int64_t read_throttle(const struct cuda_health *h)
{
    unsigned long long bits;
    int64_t out = 0;
    if (!h->library.throttle || h->library.throttle(h->device, &bits) != 0)
        return GPU_UNKNOWN;
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (bits & reasons[i].bit)
            out |= INT64_C(1) << reasons[i].reason;
    return out;
}

static int64_t read_xid(struct cuda_health *h)
{
    struct nvml_event event;
    if (!h->events)
        return GPU_UNKNOWN;
    for (int i = 0; i < EVENTS_MAX && h->library.event_wait(h->events, &event, 0) == 0; i++)
        if (event.type == NVML_EVENT_XID)
            h->xid = (int64_t)event.data;
    return h->xid;
}

bool cuda_health_sample(struct cuda_health *h, struct gpu_health *out)
{
    const struct nvml_library *lib = &h->library;
    struct gpu_health seen = gpu_health_unknown;
    struct nvml_memory memory;
    unsigned number;
    unsigned long long count;
    if (!h->open)
        return false;
    if (lib->memory(h->device, &memory) == 0) {
        seen.memory_used = (int64_t)memory.used;
        seen.memory_total = (int64_t)memory.total;
    }
    if (lib->temperature && lib->temperature(h->device, NVML_TEMPERATURE_GPU, &number) == 0)
        seen.temperature_c = number;
    if (lib->clock && lib->clock(h->device, NVML_CLOCK_SM, &number) == 0)
        seen.sm_clock_mhz = number;
    if (lib->power && lib->power(h->device, &number) == 0)
        seen.power_w = number / 1e3;
    if (lib->energy && lib->energy(h->device, &count) == 0 && count >= h->energy_mj)
        seen.energy_j = (double)(count - h->energy_mj) / 1e3;
    if (lib->ecc_errors && lib->ecc_errors(h->device, NVML_ECC_UNCORRECTED, NVML_ECC_VOLATILE, &count) == 0)
        seen.ecc_uncorrected = (int64_t)count;
    seen.throttle = read_throttle(h);
    seen.xid = read_xid(h);
    *out = seen;
    return true;
}
