/* sha256.c: libcrypto's EVP interface. Its failures are exhaustion of memory only, and abort. */
#include "base/sha256.h"

#include <stdbool.h>
#include <stdlib.h>
#include <openssl/evp.h>
#include "base/spare.h"

struct sha256 {
    EVP_MD_CTX *ctx;
};

static bool begin(struct sha256 *s)
{
    s->ctx = EVP_MD_CTX_new();
    if (s->ctx && EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL) == 1)
        return true;
    EVP_MD_CTX_free(s->ctx);
    return false;
}

struct sha256 *sha256_create(void)
{
    struct sha256 *s = spare_malloc(sizeof *s);
    while (!begin(s))
        if (!spare_give())
            abort();
    return s;
}

void sha256_update(struct sha256 *s, const void *data, size_t size)
{
    if (size && EVP_DigestUpdate(s->ctx, data, size) != 1)
        abort();
}

void sha256_finish(struct sha256 *s, char hex[SHA256_HEX_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (EVP_DigestFinal_ex(s->ctx, digest, &size) != 1 || size != 32)
        abort();
    for (unsigned i = 0; i < size; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[64] = 0;
    sha256_destroy(s);
}

void sha256_destroy(struct sha256 *s)
{
    if (!s)
        return;
    EVP_MD_CTX_free(s->ctx);
    free(s);
}

void sha256_hex(const void *data, size_t size, char hex[SHA256_HEX_SIZE])
{
    struct sha256 *s = sha256_create();
    sha256_update(s, data, size);
    sha256_finish(s, hex);
}
