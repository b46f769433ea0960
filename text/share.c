/* share.c: see share.h. */
#include "text/share.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"

/* mantissa × 10^-places; the mantissa ends in no 0. */
struct decimal {
    uint64_t mantissa;
    long places;
    long digits; /* of the mantissa */
    long zeros;  /* read behind it and not yet part of it */
};

static bool add_digit(struct decimal *d, int digit)
{
    if (digit == 0) {
        d->zeros += d->mantissa != 0;
        return true;
    }
    d->digits += d->zeros + 1;
    if (d->digits > SHARE_PLACES)
        return false;
    for (; d->zeros > 0; d->zeros--)
        d->mantissa *= 10;
    d->mantissa = d->mantissa * 10 + (uint64_t)digit;
    return true;
}

static bool read_decimal(const char *text, struct decimal *d)
{
    bool point = false, any = false;
    for (; (*text >= '0' && *text <= '9') || (*text == '.' && !point); text++) {
        point |= *text == '.';
        if (*text == '.')
            continue;
        any = true;
        d->places += point;
        if (!add_digit(d, *text - '0'))
            return false;
    }
    d->places -= d->zeros;
    if (any && (*text == 'e' || *text == 'E')) {
        size_t sign = text[1] == '+' || text[1] == '-', n = strspn(text + 1 + sign, "0123456789");
        if (n == 0 || n > 9)
            return false;
        d->places -= strtol(text + 1, NULL, 10);
        text += 1 + sign + n;
    }
    return any && !*text;
}

int share_parse(const char *text, struct share *out, struct err *err)
{
    struct decimal d = {0};
    bool fine = read_decimal(text, &d);
    if (fine && d.mantissa == 0)
        d.places = 1; /* any 0 */
    struct share share = {.part = d.mantissa, .whole = 1};
    for (long i = 0; fine && i < d.places && i < SHARE_PLACES; i++)
        share.whole *= 10;
    if (!fine || d.places > SHARE_PLACES || share.part >= share.whole)
        return err_set(err, ERR_INVALID,
                       "%.64s: a decimal number of at least 0 and below 1 is needed, with at most %d places (0.05 for "
                       "5 %%)",
                       text, SHARE_PLACES);
    *out = share;
    return 0;
}

uint64_t share_of(struct share share, uint64_t n)
{
    return share.part == 0 ? 0 : (uint64_t)((unsigned __int128)share.part * n / share.whole);
}
