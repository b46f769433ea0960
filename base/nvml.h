/* nvml.h: the part of NVIDIA's management library that baka uses, opened at run time: a machine that builds baka need
 * not have nvml.h, one that runs it need not have the library. Signatures and numbers as in NVIDIA's NVML API
 * reference; every function returns 0 for success. Thread: any; the library locks by itself.
 */
#ifndef BAKA_BASE_NVML_H
#define BAKA_BASE_NVML_H

struct err;
struct nvml_device;    /* the library's own */
struct nvml_event_set; /* the library's own */

struct nvml_memory {
    unsigned long long total, free, used;
};

struct nvml_event {
    struct nvml_device *device;
    unsigned long long type;
    unsigned long long data; /* of NVML_EVENT_XID: the Xid */
    unsigned gpu_instance, compute_instance;
};

enum { NVML_TEMPERATURE_GPU = 0, NVML_CLOCK_SM = 1, NVML_ECC_UNCORRECTED = 1, NVML_ECC_VOLATILE = 0 };
#define NVML_EVENT_XID 0x8ull

struct nvml_library {
    int (*init)(void);
    int (*shutdown)(void);
    int (*count)(unsigned *count);
    int (*handle_by_index)(unsigned index, struct nvml_device **device);
    int (*handle_by_pci_bus_id)(const char *id, struct nvml_device **device);
    int (*uuid)(struct nvml_device *device, char *text, unsigned size);
    int (*name)(struct nvml_device *device, char *text, unsigned size);
    int (*memory)(struct nvml_device *device, struct nvml_memory *memory);
    /* An older driver may lack any of these: NULL then. */
    int (*temperature)(struct nvml_device *device, int sensor, unsigned *celsius);
    int (*clock)(struct nvml_device *device, int type, unsigned *mhz);
    int (*power)(struct nvml_device *device, unsigned *milliwatts);
    int (*throttle)(struct nvml_device *device, unsigned long long *reasons);
    int (*energy)(struct nvml_device *device, unsigned long long *millijoules);
    int (*ecc_errors)(struct nvml_device *device, int type, int counter, unsigned long long *count);
    int (*event_set_create)(struct nvml_event_set **set);
    int (*event_set_free)(struct nvml_event_set *set);
    int (*register_events)(struct nvml_device *device, unsigned long long types, struct nvml_event_set *set);
    int (*event_wait)(struct nvml_event_set *set, struct nvml_event *event, unsigned timeout_ms);
};

/* Loads the library and calls its init; the caller calls `shutdown` when done with it. It stays loaded: unloading it
 * trips sanitizers. ERR_UNAVAILABLE, and why, where there is none or no driver. */
int nvml_open(struct nvml_library *out, struct err *err);

#endif
