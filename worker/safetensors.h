/* safetensors.h: the safetensors file format (https://github.com/huggingface/safetensors, "Format"): eight bytes of
 * header length (little-endian), a JSON header {"NAME":{"dtype","shape","data_offsets":[begin,end]},...}, and one block
 * of data without holes. Pure functions over bytes: no I/O. Thread: any.
 */
#ifndef BAKA_WORKER_SAFETENSORS_H
#define BAKA_WORKER_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>
#include "kernels/backend.h"

struct err;

struct safetensors_tensor {
    char name[72];
    enum dtype dtype;
    int rank; /* 1 or 2 */
    int64_t shape[2];
    size_t offset, bytes; /* within the data block */
};

/* Gives each tensor its offset and size, one after the other, and returns the size of the data block.
 * ERR_INVALID for a shape below 1 or a name that JSON would have to escape, ERR_TOO_LARGE on overflow. */
int safetensors_layout(struct safetensors_tensor *tensors, int count, size_t *data_bytes, struct err *err);
/* Length prefix and header for tensors that were laid out, padded with spaces so that the data starts at a multiple of
 * 8 bytes. Caller frees *out. ERR_NO_MEMORY. */
int safetensors_print_header(const struct safetensors_tensor *tensors, int count, char **out, size_t *size,
                             struct err *err);

/* A file in memory, parsed; it points into the caller's bytes. */
struct safetensors {
    struct safetensors_tensor *tensors; /* in the order of their data */
    int count;
    const unsigned char *data;
    size_t data_bytes;
};

/* Every length, shape and offset is checked against `size`: the tensors tile the data block exactly. ERR_DAMAGED
 * otherwise, `what` names the file in messages. */
int safetensors_parse(const void *bytes, size_t size, const char *what, struct safetensors *out, struct err *err);
void safetensors_finish(struct safetensors *s);
/* NULL when there is none of that name. */
const struct safetensors_tensor *safetensors_find(const struct safetensors *s, const char *name);

#endif
