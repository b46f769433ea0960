/* verbs.c: the registry of bakactl's verbs, in the order of the help. Each stands in a file of its own. */
#include "cli/verb.h"

extern const struct verb verb_data;

const struct verb *const verbs[] = {
    &verb_data,
    NULL,
};
