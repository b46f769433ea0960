/* journal_number.c: three ways to the same bits.
 * 1. Mantissa up to 2^53 and a power of ten up to 10^22: both are doubles exactly, so one multiplication or division
 *    rounds once (Clinger, "How to read floating point numbers accurately", 1990).
 * 2. Mantissa up to 19 digits over a power of ten up to 10^18, as 17-digit losses are: an integer quotient of 128 bits
 *    and its remainder, rounded once by hand to 53 bits, half to even.
 * 3. strtod. */
#include "schema/journal_number.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_LENGTH = 63 };

static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static const uint64_t integer_powers[] = {1u,
                                          10u,
                                          100u,
                                          1000u,
                                          10000u,
                                          100000u,
                                          1000000u,
                                          10000000u,
                                          100000000u,
                                          1000000000u,
                                          10000000000u,
                                          100000000000u,
                                          1000000000000u,
                                          10000000000000u,
                                          100000000000000u,
                                          1000000000000000u,
                                          10000000000000000u,
                                          100000000000000000u,
                                          1000000000000000000u};

/* mantissa / 10^scale for mantissa > 2^53 and scale <= 18: the quotient below keeps 57 bits or more, and the result is
 * between 2^53 / 10^18 and 2^64, far from subnormal numbers and infinity. */
static double divide_exactly(uint64_t mantissa, int scale)
{
    unsigned __int128 dividend = (unsigned __int128)mantissa << 64;
    unsigned __int128 quotient = dividend / integer_powers[scale];
    bool sticky = quotient * integer_powers[scale] != dividend;
    uint64_t high = (uint64_t)(quotient >> 64);
    int bits = high ? 128 - __builtin_clzll(high) : 64 - __builtin_clzll((uint64_t)quotient);
    int drop = bits - 53;
    uint64_t kept = (uint64_t)(quotient >> drop);
    unsigned __int128 rest = quotient & (((unsigned __int128)1 << drop) - 1), half = (unsigned __int128)1 << (drop - 1);
    if (rest > half || (rest == half && (sticky || kept & 1)))
        kept++;
    return ldexp((double)kept, drop - 64);
}

/* As the strict reader: what no double can hold, above or below, is refused and not read as infinity or as zero. */
static bool read_slowly(const char *text, size_t size, bool zero, double *out)
{
    char copy[NUMBER_LENGTH + 1];
    memcpy(copy, text, size);
    copy[size] = 0;
    *out = strtod(copy, NULL);
    return isfinite(*out) && (*out != 0 || zero);
}

static bool is_digit(const char *at, const char *end)
{
    return at < end && (unsigned char)(*at - '0') < 10;
}

bool journal_number_read(const char **at, const char *end, double *out)
{
    const char *from = *at, *p = from;
    uint64_t mantissa = 0;
    int digits = 0, exponent = 0; /* digits of the mantissa without leading zeros */
    bool negative = p < end && *p == '-';
    p += negative;
    if (!is_digit(p, end) || (*p == '0' && is_digit(p + 1, end)))
        return false;
    for (; is_digit(p, end); p++) {
        digits += mantissa || *p != '0';
        if (digits <= 19)
            mantissa = mantissa * 10 + (uint64_t)(*p - '0');
    }
    if (p < end && *p == '.') {
        const char *point = p++;
        if (!is_digit(p, end))
            return false;
        for (; is_digit(p, end); p++) {
            digits += mantissa || *p != '0';
            if (digits <= 19)
                mantissa = mantissa * 10 + (uint64_t)(*p - '0');
        }
        exponent = -(int)(p - point - 1 < 1000 ? p - point - 1 : 1000);
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        bool minus = p < end && *p == '-';
        p += p < end && (*p == '-' || *p == '+');
        if (!is_digit(p, end))
            return false;
        int power = 0;
        for (; is_digit(p, end); p++)
            power = power < 10000 ? power * 10 + (*p - '0') : power;
        exponent += minus ? -power : power;
    }
    if (p - from > NUMBER_LENGTH)
        return false;
    double value;
    if (digits <= 19 && mantissa <= UINT64_C(1) << 53 && exponent >= -22 && exponent <= 22)
        value = exponent < 0 ? (double)mantissa / powers[-exponent] : (double)mantissa * powers[exponent];
    else if (digits <= 19 && mantissa > UINT64_C(1) << 53 && exponent <= 0 && exponent >= -18)
        value = divide_exactly(mantissa, -exponent);
    else if (read_slowly(negative ? from + 1 : from, (size_t)(p - from) - negative, mantissa == 0, &value) == false)
        return false;
    *out = negative ? -value : value;
    *at = p;
    return true;
}
