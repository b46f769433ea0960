/* numerics.h: the identity of an arithmetic. Two attempts with equal numerics ids give equal losses, bit for bit. */
#ifndef BAKA_WORKER_NUMERICS_H
#define BAKA_WORKER_NUMERICS_H

#include <stdint.h>
#include "base/sha256.h"

struct err;
struct backend;

struct numerics {
    char spec_hash[SHA256_HEX_SIZE], data_hash[SHA256_HEX_SIZE], build[SHA256_HEX_SIZE];
    const char *backend, *device, *libraries; /* as the backend names them */
    int64_t micro_batch;
    const char *init; /* SHA-256 of the parameters that the run began from; "": they were drawn */
};

/* SHA-256 of the running executable, backends included. */
int numerics_build_id(char hex[SHA256_HEX_SIZE], struct err *err);
/* SHA-256 over the canonical JSON of n, a world size of 1 and the C library's version (its mathematical functions). */
int numerics_id(const struct numerics *n, char hex[SHA256_HEX_SIZE], struct err *err);

#endif
