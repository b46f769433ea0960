#include "base/gpu_health.h"

#include <math.h>
#include <string.h>

static const char *const words[GPU_THROTTLES] = {
    [GPU_SW_POWER_CAP] = "sw_power_cap",
    [GPU_SW_THERMAL] = "sw_thermal",
    [GPU_HW_SLOWDOWN] = "hw_slowdown",
    [GPU_HW_THERMAL] = "hw_thermal",
    [GPU_HW_POWER_BRAKE] = "hw_power_brake",
    [GPU_SYNC_BOOST] = "sync_boost",
    [GPU_APPLICATION_CLOCKS] = "application_clocks",
    [GPU_DISPLAY_CLOCKS] = "display_clocks",
};

const char *gpu_throttle_word(enum gpu_throttle reason)
{
    return words[reason];
}

enum gpu_throttle gpu_throttle_parse(const char *word)
{
    int i = 0;
    while (i < GPU_THROTTLES && strcmp(words[i], word) != 0)
        i++;
    return (enum gpu_throttle)i;
}

const struct gpu_health gpu_health_unknown = {
    .memory_used = GPU_UNKNOWN,
    .memory_total = GPU_UNKNOWN,
    .temperature_c = GPU_UNKNOWN,
    .sm_clock_mhz = GPU_UNKNOWN,
    .power_w = NAN,
    .energy_j = NAN,
    .throttle = GPU_UNKNOWN,
    .ecc_uncorrected = GPU_UNKNOWN,
    .xid = GPU_UNKNOWN,
};
