/* spare.h: a piece of memory that a daemon keeps for the moment when there is none: given back to the allocator, it
 * lets small allocations succeed that have no way to fail, in code that is shared with programs which may end then.
 * Whoever keeps none, ends. Thread: any. */
#ifndef BAKA_BASE_SPARE_H
#define BAKA_BASE_SPARE_H

#include <stdbool.h>
#include <stddef.h>

enum { SPARE_BYTES = 256 << 10 };

/* Keeps one from here on, or again; does nothing while there is one, or no memory for it. */
void spare_keep(void);
/* False when there was none: nothing has changed, and another try would fail too. */
bool spare_give(void);
/* malloc and a second try; abort. */
void *spare_malloc(size_t size);
void *spare_realloc(void *block, size_t size);

#endif
