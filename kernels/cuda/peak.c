/* peak.c: FLOPs a clock of one multiprocessor, from NVIDIA's architecture white papers (A100, GA102, Ada, H100, RTX
 * Blackwell); times multiprocessors and clock they give the data sheets' rates, which test_cuda_host.c checks. Products
 * of one capability differ: GeForce cards accumulate in fp32 at half rate, and some rates are stated for another clock
 * than the highest (H100 SXM and H200: tensor cores at 1,830 MHz, where the card goes to 1,980). */
#include "kernels/cuda/peak.h"

#include <stddef.h>
#include <string.h>

static const struct {
    int capability;
    const char *name; /* a part of it; the first row that fits counts */
    int bf16, fp32;   /* FLOPs a clock and multiprocessor */
    int bf16_khz;     /* the clock that the data sheet's rate is for, 0: the highest */
} rows[] = {
    {80, "", 2048, 128, 0},           /* A100, A30 */
    {86, "GeForce", 512, 256, 0},     /* RTX 30 */
    {86, "", 1024, 256, 0},           /* A40, A10, A2, RTX A6000 */
    {89, "GeForce", 512, 256, 0},     /* RTX 40 */
    {89, "L40S", 1024, 256, 0},       /* twice an L40 */
    {89, "L40", 512, 256, 0},         /* after L40S, whose name holds its */
    {89, "", 1024, 256, 0},           /* L4, RTX 6000 Ada */
    {90, "PCIe", 4096, 256, 1620000}, /* H100 PCIe */
    {90, "NVL", 4096, 256, 1545000},  /* H100 NVL, H200 NVL */
    {90, "H100", 4096, 256, 1830000}, /* SXM */
    {90, "H200", 4096, 256, 1830000}, /* SXM, GH200 */
    {120, "GeForce", 512, 256, 0},    /* RTX 50 */
};

double cuda_peak_flops(const char *name, int capability, int multiprocessors, int clock_khz, bool bf16)
{
    size_t i = 0, n = sizeof rows / sizeof *rows;
    while (i < n && (rows[i].capability != capability || !strstr(name, rows[i].name)))
        i++;
    if (i == n)
        return 0;
    int khz = bf16 && rows[i].bf16_khz && rows[i].bf16_khz < clock_khz ? rows[i].bf16_khz : clock_khz;
    return 1e3 * khz * multiprocessors * (bf16 ? rows[i].bf16 : rows[i].fp32);
}
