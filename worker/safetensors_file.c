/* safetensors_file.c: see safetensors_file.h. */
#include "worker/safetensors_file.h"

#include <stdlib.h>
#include "base/err.h"
#include "worker/hashed_file.h"

static int write_data(struct hashed_file *f, const struct safetensors_tensor *tensors, int count,
                      safetensors_source *source, void *arg, struct err *err)
{
    size_t largest = 1;
    int rc = 0;
    for (int i = 0; i < count; i++)
        largest = tensors[i].bytes > largest ? tensors[i].bytes : largest;
    void *bytes = malloc(largest);
    if (!bytes)
        return err_set(err, ERR_NO_MEMORY, "no memory to write a tensor of %zu bytes", largest);
    for (int i = 0; i < count && rc == 0; i++) {
        rc = source(arg, i, bytes, err);
        if (rc == 0)
            rc = hashed_file_write(f, bytes, tensors[i].bytes, err);
    }
    free(bytes);
    return rc;
}

int safetensors_write(struct hashed_file *f, struct safetensors_tensor *tensors, int count, safetensors_source *source,
                      void *arg, struct err *err)
{
    size_t data_bytes = 0, header_bytes = 0;
    char *header = NULL;
    int rc = safetensors_layout(tensors, count, &data_bytes, err);
    if (rc == 0)
        rc = safetensors_print_header(tensors, count, &header, &header_bytes, err);
    if (rc == 0)
        rc = hashed_file_write(f, header, header_bytes, err);
    free(header);
    return rc ? rc : write_data(f, tensors, count, source, arg, err);
}
