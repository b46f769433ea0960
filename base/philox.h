/* philox.h: counter-based random numbers, Philox4x32-10 (Salmon et al., SC'11). A stream is keyed by (seed, purpose,
 * name or epoch), so equal names draw equal numbers whatever else a program draws. */
#ifndef BAKA_BASE_PHILOX_H
#define BAKA_BASE_PHILOX_H

#include <stdint.h>

struct philox {
    uint32_t key[2];
    uint32_t counter[4];
    uint32_t block[4];
    int used; /* of block */
};

void philox_block(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);
/* Stream for (seed, purpose, name): key = seed, counter's upper half = 64-bit hash of purpose and name. */
void philox_init(struct philox *p, uint64_t seed, const char *purpose, const char *name);
/* To the beginning of block n of four u32: what follows is as if 4 n of them had been drawn. */
void philox_seek(struct philox *p, uint64_t n);
uint32_t philox_u32(struct philox *p);
uint64_t philox_u64(struct philox *p);
/* Unbiased integer in [0, bound), bound >= 1 (Lemire 2019). */
uint64_t philox_below(struct philox *p, uint64_t bound);
double philox_uniform(struct philox *p); /* [0,1), 53 bits */
double philox_normal(struct philox *p);  /* N(0,1), Box-Muller in double, one number a call, of one block */

#endif
