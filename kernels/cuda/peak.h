/* peak.h: what a GPU computes at most, by its data sheet. Pure; needs no CUDA. */
#ifndef BAKA_KERNELS_CUDA_PEAK_H
#define BAKA_KERNELS_CUDA_PEAK_H

#include <stdbool.h>

/* Dense FLOPs a second: bf16 products with fp32 accumulation on the tensor cores, or fp32 on the CUDA cores. name,
 * capability (90 for 9.0), multiprocessors and the maximum SM clock are as the runtime tells them. 0 for a GPU that is
 * not in the table. */
double cuda_peak_flops(const char *name, int capability, int multiprocessors, int clock_khz, bool bf16);

#endif
