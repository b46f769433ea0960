/* share.h: a part of a whole number, exactly. A typed 0.29 is 29/100 and not the nearest double, whose part of 100
 * would be rounded down to 28. Pure. */
#ifndef BAKA_TEXT_SHARE_H
#define BAKA_TEXT_SHARE_H

#include <stdint.h>

struct err;

enum { SHARE_PLACES = 18 };

/* part ÷ whole, at least 0 and below 1; all zero is no share. */
struct share {
    uint64_t part, whole; /* whole is a power of ten */
};

/* "0.05", ".05", "5e-2": a decimal number of at least 0 and below 1, with at most SHARE_PLACES decimal places. Else
 * ERR_INVALID, with the text. */
int share_parse(const char *text, struct share *out, struct err *err);
/* floor(share × n). */
uint64_t share_of(struct share share, uint64_t n);

#endif
