/* bakad.c: see bakad.h. */
#include "daemon/bakad.h"

#include <stddef.h>

void bakad_enter(struct bakad *b)
{
    b->pending++;
}

void bakad_leave(struct bakad *b)
{
    if (--b->pending == 0 && b->stopping && b->settled != NULL)
        b->settled(b);
}
