/* safetensors.h: the safetensors file format (https://github.com/huggingface/safetensors, "Format"): eight bytes of
 * header length (little-endian), a JSON header {"NAME":{"dtype","shape","data_offsets":[begin,end]},...}, and one block
 * of data without holes. Pure functions over bytes: no I/O. Thread: any.
 */
#ifndef BAKA_WORKER_SAFETENSORS_H
#define BAKA_WORKER_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

/* Those that files of others may hold; what a reader has no use for it passes over. */
enum safetensors_dtype {
    SAFETENSORS_F32,
    SAFETENSORS_F64,
    SAFETENSORS_BF16,
    SAFETENSORS_F16,
    SAFETENSORS_BOOL,
    SAFETENSORS_U8,
    SAFETENSORS_I8,
    SAFETENSORS_I16,
    SAFETENSORS_I32,
    SAFETENSORS_I64,
    SAFETENSORS_DTYPES
};

enum { SAFETENSORS_MAX_RANK = 8, SAFETENSORS_NAME_SIZE = 128, SAFETENSORS_HEADER_MAX = 64 << 20 };

struct safetensors_tensor {
    char name[SAFETENSORS_NAME_SIZE];
    enum safetensors_dtype dtype;
    int rank; /* 0: one number */
    int64_t shape[SAFETENSORS_MAX_RANK];
    size_t offset, bytes; /* within the data block */
};

/* "F32" */
const char *safetensors_dtype_word(enum safetensors_dtype dtype);
/* "[384, 128]" */
void safetensors_say_shape(const struct safetensors_tensor *t, char out[64]);

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
/* The numbers of an F32, F16 or BF16 tensor, exactly. False for another type; `out` has room for bytes / size of one.
 */
bool safetensors_read_floats(const struct safetensors *s, const struct safetensors_tensor *t, float *out);

#endif
