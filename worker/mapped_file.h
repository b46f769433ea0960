/* mapped_file.h: a whole file in memory, read only. */
#ifndef BAKA_WORKER_MAPPED_FILE_H
#define BAKA_WORKER_MAPPED_FILE_H

#include <stddef.h>

struct err;

struct mapped_file {
    void *bytes;
    size_t size;
};

/* A file without bytes is ERR_DAMAGED. Errors name it by `what`. */
int mapped_file_open(struct mapped_file *f, const char *path, const char *what, struct err *err);
void mapped_file_close(struct mapped_file *f); /* a zeroed one is fine */

#endif
