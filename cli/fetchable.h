/* fetchable.h: the data sets that `bakactl data fetch` knows. */
#ifndef BAKA_CLI_FETCHABLE_H
#define BAKA_CLI_FETCHABLE_H

#include <stddef.h>
#include <stdint.h>
#include "cli/unpack.h"

enum { FETCHABLE_TRAIN, FETCHABLE_VAL, FETCHABLE_TEST, FETCHABLE_PARTS };

struct fetchable {
    const char *name, *archive; /* the file's name, on the disk and behind a --from that ends in "/" */
    int64_t bytes;
    const char *sha256;
    const char *urls[3]; /* ends with NULL */
    struct unpack_member members[FETCHABLE_PARTS];
};

extern const struct fetchable fetchables[];
extern const size_t fetchable_count;

/* NULL: not known. */
const struct fetchable *fetchable_find(const char *name);

#endif
