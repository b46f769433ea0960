/* safetensors_file.h: a safetensors file on its way to the disk, one tensor in memory at a time. */
#ifndef BAKA_WORKER_SAFETENSORS_FILE_H
#define BAKA_WORKER_SAFETENSORS_FILE_H

#include "worker/safetensors.h"

struct err;
struct hashed_file;

/* Fills `out` with the bytes of tensor `index`. */
typedef int safetensors_source(void *arg, int index, void *out, struct err *err);

/* Lays the tensors out and writes header and data. Errors: those of the source, of the layout, of the disk. */
int safetensors_write(struct hashed_file *f, struct safetensors_tensor *tensors, int count, safetensors_source *source,
                      void *arg, struct err *err);

#endif
