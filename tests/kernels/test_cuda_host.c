/* test_cuda_host.c: what the CUDA backend knows of a GPU without CUDA: its health through NVML, and its peak. Run once
 * with each library that may be met: "new", "old" (lacks most), "none". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dlfcn.h>
#include <math.h>
#include <string.h>
#include <cmocka.h>

#include "fake_nvml.h"
#include "kernels/cuda/health.h"
#include "kernels/cuda/peak.h"

static const char bus_id[] = "0000:0a:00.0";
static struct fake_nvml *fake;
static bool old;

static int set_up(void **state)
{
    (void)state;
    *fake = (struct fake_nvml){.memory = {.total = 80ull << 30, .free = 60ull << 30, .used = 20ull << 30},
                               .celsius = 64,
                               .mhz = 1755,
                               .milliwatts = 312345,
                               .reasons = 0,
                               .millijoules = 5000000,
                               .ecc = 0};
    return 0;
}

static void check_nothing_left(void)
{
    assert_int_equal(fake->opened, 0);
    assert_int_equal(fake->sets, 0);
}

static void test_all_is_told(void **state)
{
    struct cuda_health h;
    struct gpu_health seen;
    (void)state;
    cuda_health_open(&h, bus_id);
    fake->millijoules += 1234500;
    assert_true(cuda_health_sample(&h, &seen));
    assert_int_equal(seen.memory_used, INT64_C(20) << 30);
    assert_int_equal(seen.memory_total, INT64_C(80) << 30);
    assert_int_equal(seen.temperature_c, 64);
    assert_int_equal(seen.throttle, 0);
    if (old) {
        assert_int_equal(seen.sm_clock_mhz, GPU_UNKNOWN);
        assert_true(isnan(seen.power_w) && isnan(seen.energy_j));
        assert_int_equal(seen.ecc_uncorrected, GPU_UNKNOWN);
        assert_int_equal(seen.xid, GPU_UNKNOWN);
    } else {
        assert_int_equal(seen.sm_clock_mhz, 1755);
        assert_true(seen.power_w == 312.345 && seen.energy_j == 1234.5);
        assert_int_equal(seen.ecc_uncorrected, 0);
        assert_int_equal(seen.xid, 0);
    }
    cuda_health_close(&h);
    check_nothing_left();
}

static void test_throttle_reasons(void **state)
{
    static const struct {
        unsigned long long bits;
        const char *word;
    } cases[] = {{0x2, "application_clocks"}, {0x4, "sw_power_cap"},    {0x8, "hw_slowdown"},
                 {0x10, "sync_boost"},        {0x20, "sw_thermal"},     {0x40, "hw_thermal"},
                 {0x80, "hw_power_brake"},    {0x100, "display_clocks"}};
    struct cuda_health h;
    struct gpu_health seen;
    (void)state;
    cuda_health_open(&h, bus_id);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake->reasons = cases[i].bits | 1; /* an idle GPU is not throttled */
        assert_true(cuda_health_sample(&h, &seen));
        enum gpu_throttle reason = gpu_throttle_parse(cases[i].word);
        assert_int_not_equal(reason, GPU_THROTTLES);
        assert_string_equal(gpu_throttle_word(reason), cases[i].word);
        assert_int_equal(seen.throttle, INT64_C(1) << reason);
    }
    fake->reasons = 0xffffffffffffffffull;
    assert_true(cuda_health_sample(&h, &seen));
    assert_int_equal(seen.throttle, (INT64_C(1) << GPU_THROTTLES) - 1);
    cuda_health_close(&h);
}

static void test_xids(void **state)
{
    struct cuda_health h;
    struct gpu_health seen;
    (void)state;
    cuda_health_open(&h, bus_id);
    fake->events[1] = (struct nvml_event){.type = NVML_EVENT_XID, .data = 48};
    fake->events[0] = (struct nvml_event){.type = 1, .data = 99};
    fake->waiting = 2;
    assert_true(cuda_health_sample(&h, &seen));
    if (old) {
        assert_int_equal(seen.xid, GPU_UNKNOWN);
        cuda_health_close(&h);
        return;
    }
    assert_int_equal(seen.xid, 48);
    assert_int_equal(fake->waiting, 0);
    assert_true(cuda_health_sample(&h, &seen));
    assert_int_equal(seen.xid, 48); /* stays known */
    fake->events[0] = (struct nvml_event){.type = NVML_EVENT_XID, .data = 79};
    fake->waiting = 1;
    assert_true(cuda_health_sample(&h, &seen));
    assert_int_equal(seen.xid, 79);
    cuda_health_close(&h);
    check_nothing_left();
}

/* A GPU that has no such sensor, and one that fell off the bus. */
static void test_refused(void **state)
{
    struct cuda_health h;
    struct gpu_health seen;
    (void)state;
    fake->not_supported = 1;
    cuda_health_open(&h, bus_id);
    assert_true(cuda_health_sample(&h, &seen));
    assert_int_equal(seen.memory_used, GPU_UNKNOWN);
    assert_int_equal(seen.temperature_c, GPU_UNKNOWN);
    assert_int_equal(seen.sm_clock_mhz, GPU_UNKNOWN);
    assert_true(isnan(seen.power_w) && isnan(seen.energy_j));
    assert_int_equal(seen.throttle, GPU_UNKNOWN);
    assert_int_equal(seen.ecc_uncorrected, GPU_UNKNOWN);
    assert_int_equal(seen.xid, GPU_UNKNOWN);
    cuda_health_close(&h);
    check_nothing_left();
}

static void test_energy_never_runs_back(void **state)
{
    struct cuda_health h;
    struct gpu_health seen;
    (void)state;
    cuda_health_open(&h, bus_id);
    fake->millijoules = 17; /* the driver was loaded anew */
    assert_true(cuda_health_sample(&h, &seen));
    assert_true(isnan(seen.energy_j));
    cuda_health_close(&h);
}

static void test_no_device_no_driver(void **state)
{
    struct cuda_health h = {0};
    struct gpu_health seen;
    (void)state;
    cuda_health_close(&h);
    cuda_health_open(&h, "0000:0b:00.0");
    assert_false(cuda_health_sample(&h, &seen));
    cuda_health_close(&h);
    check_nothing_left();
    fake->refuse = 1;
    cuda_health_open(&h, bus_id);
    assert_false(cuda_health_sample(&h, &seen));
    cuda_health_close(&h);
    check_nothing_left();
}

static void test_no_library(void **state)
{
    struct cuda_health h;
    struct gpu_health seen;
    (void)state;
    cuda_health_open(&h, bus_id);
    assert_false(cuda_health_sample(&h, &seen));
    cuda_health_close(&h);
}

/* Data sheets, in TFLOP/s: dense, bf16 accumulated in fp32, and fp32. Multiprocessors and clocks as the cards have. */
static void test_peaks(void **state)
{
    static const struct {
        const char *name;
        int capability, multiprocessors, clock_mhz;
        double bf16, fp32;
    } sheets[] = {
        {"NVIDIA A100-SXM4-80GB", 80, 108, 1410, 312, 19.5},
        {"NVIDIA GeForce RTX 3090", 86, 82, 1695, 71, 35.6},
        {"NVIDIA RTX A6000", 86, 84, 1800, 154.8, 38.7},
        {"NVIDIA A10", 86, 72, 1695, 125, 31.2},
        {"NVIDIA GeForce RTX 4090", 89, 128, 2520, 165.2, 82.6},
        {"NVIDIA L4", 89, 58, 2040, 121, 30.3},
        {"NVIDIA L40", 89, 142, 2490, 181, 90.5},
        {"NVIDIA L40S", 89, 142, 2520, 362, 91.6},
        {"NVIDIA H100 80GB HBM3", 90, 132, 1980, 989.4, 66.9},
        {"NVIDIA H100 PCIe", 90, 114, 1755, 756, 51.2},
        {"NVIDIA H100 NVL", 90, 132, 1785, 835, 60},
        {"NVIDIA H200", 90, 132, 1980, 989, 66.9},
        {"NVIDIA GeForce RTX 5090", 120, 170, 2407, 209.5, 104.8},
    };
    (void)state;
    for (size_t i = 0; i < sizeof sheets / sizeof *sheets; i++)
        for (int bf16 = 0; bf16 < 2; bf16++) {
            double want = bf16 ? sheets[i].bf16 : sheets[i].fp32;
            double got = cuda_peak_flops(sheets[i].name, sheets[i].capability, sheets[i].multiprocessors,
                                         1000 * sheets[i].clock_mhz, bf16) /
                         1e12;
            if (!(fabs(got - want) <= 0.015 * want))
                fail_msg("%s, %s: %.1f TFLOP/s, by its data sheet %.1f", sheets[i].name, bf16 ? "bf16" : "fp32", got,
                         want);
        }
    assert_true(cuda_peak_flops("NVIDIA Thing", 999, 100, 1000000, true) == 0);
    assert_true(cuda_peak_flops("NVIDIA H20", 90, 78, 1980000, true) == 0);
    /* a card that is slower than its sheet says is not asked for more than it can */
    assert_true(cuda_peak_flops("NVIDIA H200", 90, 132, 1000000, true) == 1e9 * 132 * 4096);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest without[] = {cmocka_unit_test(test_no_library), cmocka_unit_test(test_peaks)};
    const struct CMUnitTest with[] = {
        cmocka_unit_test_setup(test_all_is_told, set_up),
        cmocka_unit_test_setup(test_throttle_reasons, set_up),
        cmocka_unit_test_setup(test_xids, set_up),
        cmocka_unit_test_setup(test_refused, set_up),
        cmocka_unit_test_setup(test_energy_never_runs_back, set_up),
        cmocka_unit_test_setup(test_no_device_no_driver, set_up),
    };
    const char *which = argc > 1 ? argv[1] : "none";
    if (strcmp(which, "none") == 0)
        return cmocka_run_group_tests(without, NULL, NULL);
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    fake = library ? dlsym(library, "fake_nvml") : NULL;
    if (!fake) {
        print_error("the library that stands in is not met: is LD_LIBRARY_PATH set?\n");
        return 1;
    }
    old = strcmp(which, "old") == 0;
    return cmocka_run_group_tests(with, NULL, NULL);
}
