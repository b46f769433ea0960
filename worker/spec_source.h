/* spec_source.h: a spec from a file that the user names, for what needs no run directory: --plan and --tune. */
#ifndef BAKA_WORKER_SPEC_SOURCE_H
#define BAKA_WORKER_SPEC_SOURCE_H

#include <stdint.h>
#include "schema/spec.h"

struct err;

/* The spec, and the vocabulary to plan with: that of the data set below `home`, also where the spec has its own, which
 * must not be smaller. Without the data set a spec with a vocabulary serves too. Errors as spec_from_json and
 * token_file_open give them. */
int spec_source_read(const char *path, const char *home, struct spec *out, int64_t *vocab, struct err *err);

#endif
