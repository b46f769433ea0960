/* checkpoint_format.h: the two small JSON files of a checkpoint. Both are printed in one exact form, and a reader
 * accepts that form only, so that no damage to them can pass. Pure. */
#ifndef BAKA_WORKER_CHECKPOINT_FORMAT_H
#define BAKA_WORKER_CHECKPOINT_FORMAT_H

#include <stddef.h>
#include "worker/checkpoint.h"

enum { CHECKPOINT_FILES = 2, CHECKPOINT_TEXT_MAX = 4096 };

struct checkpoint_file {
    const char *name; /* "model.safetensors", "state.json" */
    int64_t bytes;
    char sha256[SHA256_HEX_SIZE];
};

extern const char *const checkpoint_file_names[CHECKPOINT_FILES];

/* Returns the length without the NUL. Always fits. */
size_t checkpoint_print_state(const struct checkpoint_state *s, char out[CHECKPOINT_TEXT_MAX]);
size_t checkpoint_print_manifest(const struct checkpoint_file files[CHECKPOINT_FILES], char out[CHECKPOINT_TEXT_MAX]);
/* ERR_DAMAGED for any other text than printing the result would give. */
int checkpoint_parse_state(const char *text, size_t size, struct checkpoint_state *out, struct err *err);
int checkpoint_parse_manifest(const char *text, size_t size, struct checkpoint_file out[CHECKPOINT_FILES],
                              struct err *err);

#endif
