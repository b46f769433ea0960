/* utf8.h: is a stream of bytes valid UTF-8 (RFC 3629)? Fed in any pieces; says where it is not. */
#ifndef BAKA_TEXT_UTF8_H
#define BAKA_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct utf8_check {        /* zeroed at first */
    unsigned char held[4]; /* a character that began at the end of the piece before */
    size_t held_size;
    uint64_t valid; /* bytes known to be whole valid characters; when false is returned: where the first other one is */
};

bool utf8_check_feed(struct utf8_check *u, const unsigned char *text, size_t size);
/* The stream has ended: false when it did inside a character. */
bool utf8_check_end(const struct utf8_check *u);

#endif
