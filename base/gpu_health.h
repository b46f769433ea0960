/* gpu_health.h: one look at a GPU, in the words in which worker, journal, daemon and API hand it on. Pure. */
#ifndef BAKA_BASE_GPU_HEALTH_H
#define BAKA_BASE_GPU_HEALTH_H

#include <stdint.h>

/* Why a GPU runs slower than it could. An idle GPU's low clock is none of these. */
enum gpu_throttle {
    GPU_SW_POWER_CAP,   /* its power limit */
    GPU_SW_THERMAL,     /* the driver keeps it below its temperature limit */
    GPU_HW_SLOWDOWN,    /* the hardware halves its clock or more: heat or power, the two below say which */
    GPU_HW_THERMAL,     /* much too hot */
    GPU_HW_POWER_BRAKE, /* the server's power supply asked for it */
    GPU_SYNC_BOOST,     /* tied to the clock of a slower one */
    GPU_APPLICATION_CLOCKS,
    GPU_DISPLAY_CLOCKS,
    GPU_THROTTLES
};

/* "sw_power_cap", "sw_thermal", ... */
const char *gpu_throttle_word(enum gpu_throttle reason);
/* GPU_THROTTLES for a word that is none. */
enum gpu_throttle gpu_throttle_parse(const char *word);

enum { GPU_UNKNOWN = -1 };

/* What this GPU or its driver does not tell is GPU_UNKNOWN, or NaN in doubles. */
struct gpu_health {
    int64_t memory_used, memory_total; /* bytes of the whole GPU, by whomever */
    int64_t temperature_c, sm_clock_mhz;
    double power_w;
    double energy_j;         /* of the whole GPU since the attempt opened it */
    int64_t throttle;        /* bit 1 << enum gpu_throttle each */
    int64_t ecc_uncorrected; /* since the driver was loaded */
    int64_t xid;             /* number of the newest critical error since the attempt opened it, 0: none */
};

extern const struct gpu_health gpu_health_unknown;

#endif
