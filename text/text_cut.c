/* text_cut.c: see text_cut.h. */
#include "text/text_cut.h"

#include <string.h>

/* Is the character that ends before `at` Unicode's White_Space? */
static bool after_white_space(const unsigned char *text, size_t at)
{
    unsigned char last = text[at - 1];
    if (last < 0x80)
        return last == ' ' || (last >= '\t' && last <= '\r');
    if (at < 2)
        return false;
    const unsigned char *p = text + at - 2;
    if (p[0] == 0xc2)
        return p[1] == 0x85 || p[1] == 0xa0; /* U+0085, U+00A0 */
    if (at < 3)
        return false;
    p--;
    if (p[0] == 0xe2 && p[1] == 0x80) /* U+2000 to U+200A, U+2028, U+2029, U+202F */
        return p[2] <= 0x8a || p[2] == 0xa8 || p[2] == 0xa9 || p[2] == 0xaf;
    return memcmp(p, "\xe1\x9a\x80", 3) == 0 || memcmp(p, "\xe2\x81\x9f", 3) == 0 || /* U+1680, U+205F */
           memcmp(p, "\xe3\x80\x80", 3) == 0;                                        /* U+3000 */
}

bool text_cut_is_safe(const unsigned char *text, size_t at, bool newline_too)
{
    return (text[at] == ' ' || (newline_too && text[at] == '\n')) && !after_white_space(text, at);
}

size_t text_cut_last(const unsigned char *text, size_t from, size_t size, bool newline_too)
{
    for (size_t at = size; at-- > from;)
        if (text_cut_is_safe(text, at, newline_too))
            return at;
    return 0;
}
