/* philox.c: Philox4x32 with ten rounds, constants and known answers from Random123 (Salmon, Moraes, Dror, Shaw:
 * "Parallel random numbers: as easy as 1, 2, 3", SC'11). Pure arithmetic: equal on every machine. */
#include "base/philox.h"

#include <math.h>
#include <stddef.h>

static const uint32_t multiplier[2] = {0xD2511F53u, 0xCD9E8D57u};
static const uint32_t weyl[2] = {0x9E3779B9u, 0xBB67AE85u}; /* golden ratio, sqrt(3) - 1 */

void philox_block(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4])
{
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)multiplier[0] * c0, p1 = (uint64_t)multiplier[1] * c2;
        uint32_t next0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, next2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c0 = next0;
        c1 = (uint32_t)p1;
        c2 = next2;
        c3 = (uint32_t)p0;
        k0 += weyl[0];
        k1 += weyl[1];
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* FNV-1a over 64 bits, then the finaliser of MurmurHash3, for FNV's high bits are weak on short names. */
static uint64_t hash_names(const char *purpose, const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (const char *text = purpose; *text; text++)
        h = (h ^ (unsigned char)*text) * 0x100000001b3u;
    h = (h ^ 0xffu) * 0x100000001b3u; /* a byte of no UTF-8 text: ("ab","c") differs from ("a","bc") */
    for (const char *text = name; *text; text++)
        h = (h ^ (unsigned char)*text) * 0x100000001b3u;
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

void philox_init(struct philox *p, uint64_t seed, const char *purpose, const char *name)
{
    uint64_t h = hash_names(purpose ? purpose : "", name ? name : "");
    p->key[0] = (uint32_t)seed;
    p->key[1] = (uint32_t)(seed >> 32);
    p->counter[0] = p->counter[1] = 0;
    p->counter[2] = (uint32_t)h;
    p->counter[3] = (uint32_t)(h >> 32);
    for (int i = 0; i < 4; i++)
        p->block[i] = 0;
    p->used = 4;
}

void philox_seek(struct philox *p, uint64_t n)
{
    p->counter[0] = (uint32_t)n;
    p->counter[1] = (uint32_t)(n >> 32);
    p->used = 4;
}

uint32_t philox_u32(struct philox *p)
{
    if (p->used >= 4) {
        philox_block(p->key, p->counter, p->block);
        p->used = 0;
        if (++p->counter[0] == 0)
            p->counter[1]++;
    }
    return p->block[p->used++];
}

uint64_t philox_u64(struct philox *p)
{
    uint64_t low = philox_u32(p);
    return low | (uint64_t)philox_u32(p) << 32;
}

uint64_t philox_below(struct philox *p, uint64_t bound)
{
    unsigned __int128 product = (unsigned __int128)philox_u64(p) * bound;
    uint64_t low = (uint64_t)product;
    if (low < bound) {
        uint64_t reject_below = -bound % bound; /* 2^64 mod bound */
        while (low < reject_below) {
            product = (unsigned __int128)philox_u64(p) * bound;
            low = (uint64_t)product;
        }
    }
    return (uint64_t)(product >> 64);
}

double philox_uniform(struct philox *p)
{
    return (double)(philox_u64(p) >> 11) * 0x1p-53;
}

double philox_normal(struct philox *p)
{
    const double two_pi = 6.283185307179586476925286766559;
    double u = 1.0 - philox_uniform(p); /* (0,1]: its logarithm is finite */
    double v = philox_uniform(p);
    return sqrt(-2.0 * log(u)) * cos(two_pi * v);
}
