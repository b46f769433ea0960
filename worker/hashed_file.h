/* hashed_file.h: a new file on its way to the disk, hashed as it goes. Thread: one at a time. */
#ifndef BAKA_WORKER_HASHED_FILE_H
#define BAKA_WORKER_HASHED_FILE_H

#include <stddef.h>
#include <stdint.h>
#include "base/path.h"
#include "base/sha256.h"

struct err;

struct hashed_file {
    int fd;
    char path[PATH_SIZE];
    int64_t bytes;
    struct sha256 *hash;
};

/* Makes DIR/NAME; one that exists is an error. */
int hashed_file_open(struct hashed_file *f, const char *dir, const char *name, struct err *err);
int hashed_file_write(struct hashed_file *f, const void *data, size_t size, struct err *err);
/* Syncs and closes, and tells the hash; with rc already set only closes. Returns rc, or its own failure. */
int hashed_file_close(struct hashed_file *f, int rc, char sha256[SHA256_HEX_SIZE], struct err *err);

#endif
