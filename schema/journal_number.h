/* journal_number.h: decimal text to double, bit for bit as strtod in the "C" locale does it, but fast for what a
 * journal holds. Pure; any thread. */
#ifndef BAKA_SCHEMA_JOURNAL_NUMBER_H
#define BAKA_SCHEMA_JOURNAL_NUMBER_H

#include <stdbool.h>

/* Reads a JSON number at *at, before `end`, and moves *at behind it. False, with *at unmoved, when there is none, when
 * it has more than 63 characters, or when no double can hold it. */
bool journal_number_read(const char **at, const char *end, double *out);

#endif
