/* sha256.h: SHA-256 (FIPS 180-4) through OpenSSL's libcrypto, streaming and in one call. */
#ifndef BAKA_BASE_SHA256_H
#define BAKA_BASE_SHA256_H

#include <stddef.h>

enum { SHA256_HEX_SIZE = 65 };

struct sha256;

struct sha256 *sha256_create(void); /* aborts when out of memory */
void sha256_update(struct sha256 *s, const void *data, size_t size);
/* Writes 64 lower-case hex digits and a NUL, and frees s. */
void sha256_finish(struct sha256 *s, char hex[SHA256_HEX_SIZE]);
void sha256_destroy(struct sha256 *s); /* without a result; NULL is fine */
void sha256_hex(const void *data, size_t size, char hex[SHA256_HEX_SIZE]);

#endif
