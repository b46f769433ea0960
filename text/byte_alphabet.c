/* byte_alphabet.c: see byte_alphabet.h. All characters are below U+0144, so each is one or two bytes of UTF-8. */
#include "text/byte_alphabet.h"

enum { SHIFTED_BEGIN = 0x100, SHIFTED_COUNT = 68 };

static bool is_itself(unsigned byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

/* The bytes that are not themselves are 0 to 32, 0x7f to 0xa0, and 0xad: which of them is this one? */
static unsigned shifted_index(unsigned byte)
{
    return byte < 33 ? byte : byte < 0xad ? byte - 0x7f + 33 : 67;
}

size_t byte_alphabet_encode(const unsigned char *bytes, size_t size, char *out)
{
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned c = is_itself(bytes[i]) ? bytes[i] : SHIFTED_BEGIN + shifted_index(bytes[i]);
        if (c >= 0x80)
            out[used++] = (char)(0xc0 | c >> 6);
        out[used++] = (char)(c < 0x80 ? c : 0x80 | (c & 0x3f));
    }
    return used;
}

bool byte_alphabet_decode(const char *text, size_t size, unsigned char *out, size_t *out_size)
{
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned c = (unsigned char)text[i];
        if (c >= 0x80) {
            if ((c & 0xe0) != 0xc0 || i + 1 == size)
                return false;
            c = (c & 0x1f) << 6 | ((unsigned char)text[++i] & 0x3f);
        }
        if (c >= SHIFTED_BEGIN + SHIFTED_COUNT || (c < SHIFTED_BEGIN && !is_itself(c)))
            return false;
        if (c >= SHIFTED_BEGIN) {
            c -= SHIFTED_BEGIN;
            c = c < 33 ? c : c < 67 ? c - 33 + 0x7f : 0xad;
        }
        out[used++] = (unsigned char)c;
    }
    *out_size = used;
    return true;
}
