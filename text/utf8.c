/* utf8.c: see utf8.h. */
#include "text/utf8.h"

#include <string.h>

#include "base/json_check.h"

static size_t length_of(unsigned char lead)
{
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* Completes the held character from the text; returns how many bytes of it were taken. */
static size_t complete(struct utf8_check *u, const unsigned char *text, size_t size)
{
    size_t missing = length_of(u->held[0]) - u->held_size, taken = missing < size ? missing : size;
    memcpy(u->held + u->held_size, text, taken);
    u->held_size += taken;
    return taken;
}

bool utf8_check_feed(struct utf8_check *u, const unsigned char *text, size_t size)
{
    size_t at = 0;
    if (u->held_size) {
        at = complete(u, text, size);
        if (u->held_size < length_of(u->held[0]))
            return true;
        if (!json_utf8_length(u->held, u->held + u->held_size))
            return false;
        u->valid += u->held_size;
        u->held_size = 0;
    }
    size_t begin = at;
    bool valid = true;
    while (at < size) {
        uint64_t word;
        for (; at + 8 <= size; at += 8) {
            memcpy(&word, text + at, 8);
            if (word & UINT64_C(0x8080808080808080))
                break;
        }
        if (at == size)
            break;
        size_t length = json_utf8_length(text + at, text + size);
        if (length) {
            at += length;
            continue;
        }
        valid = size - at < length_of(text[at]);
        if (valid) {
            u->held_size = size - at;
            memcpy(u->held, text + at, u->held_size);
        }
        break;
    }
    u->valid += at - begin;
    return valid;
}

bool utf8_check_end(const struct utf8_check *u)
{
    return u->held_size == 0;
}
