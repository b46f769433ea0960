/* spec_names.h: the nearest known name for a word that is not known. Pure. */
#ifndef BAKA_SCHEMA_SPEC_NAMES_H
#define BAKA_SCHEMA_SPEC_NAMES_H

/* Of a NULL-terminated list; NULL when none is near enough to be meant. */
const char *spec_nearest_word(const char *word, const char *const *words);

#endif
