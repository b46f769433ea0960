#include "base/spare.h"

#include <stdatomic.h>
#include <stdlib.h>

static _Atomic(void *) spare;

void spare_keep(void)
{
    if (atomic_load(&spare))
        return;
    void *none = NULL, *block = malloc(SPARE_BYTES);
    if (block && !atomic_compare_exchange_strong(&spare, &none, block))
        free(block);
}

bool spare_give(void)
{
    void *block = atomic_exchange(&spare, NULL);
    free(block);
    return block != NULL;
}

void *spare_malloc(size_t size)
{
    return spare_realloc(NULL, size);
}

void *spare_realloc(void *block, size_t size)
{
    void *larger = realloc(block, size);
    if (!larger && spare_give())
        larger = realloc(block, size);
    if (!larger)
        abort();
    return larger;
}
