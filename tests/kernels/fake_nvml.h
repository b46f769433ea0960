/* fake_nvml.h: what the libnvidia-ml.so.1 of the tests answers. */
#ifndef BAKA_TESTS_FAKE_NVML_H
#define BAKA_TESTS_FAKE_NVML_H

#include "base/nvml.h"

struct fake_nvml {
    int refuse;        /* init fails: no driver */
    int opened;        /* inits less shutdowns */
    int not_supported; /* what a GPU need not have is refused */
    struct nvml_memory memory;
    unsigned celsius, mhz, milliwatts;
    unsigned long long reasons, millijoules, ecc;
    int waiting; /* events */
    struct nvml_event events[4];
    int sets; /* made less freed */
};

#endif
