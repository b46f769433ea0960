/* hash.h: hashes of short keys for tables in memory; they never leave the process. */
#ifndef BAKA_TEXT_HASH_H
#define BAKA_TEXT_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* MurmurHash3's finalizer: every bit of the key reaches every bit of the result. */
static inline uint64_t hash_u64(uint64_t x)
{
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 33;
}

/* Eight bytes a round. */
static inline uint64_t hash_bytes(const void *data, size_t size)
{
    const unsigned char *p = data;
    uint64_t h = size * UINT64_C(0x9e3779b97f4a7c15), word;
    for (; size >= 8; p += 8, size -= 8) {
        memcpy(&word, p, 8);
        h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
        h ^= h >> 32;
    }
    word = 0;
    memcpy(&word, p, size);
    return hash_u64(h ^ word);
}

#endif
