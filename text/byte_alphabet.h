/* byte_alphabet.h: the 256 characters in which byte-level tokenizers write bytes (GPT-2's bytes_to_unicode): printable
 * Latin-1 stands for itself, the other 68 bytes are U+0100 and up in order, so that a space is U+0120. */
#ifndef BAKA_TEXT_BYTE_ALPHABET_H
#define BAKA_TEXT_BYTE_ALPHABET_H

#include <stdbool.h>
#include <stddef.h>

/* Writes the UTF-8 of each byte's character, at most 2 * size bytes; returns how many. */
size_t byte_alphabet_encode(const unsigned char *bytes, size_t size, char *out);
/* The bytes that a text in the alphabet stands for, at most `size`; false, and *out_size untouched, when any of its
 * characters is not of the alphabet. */
bool byte_alphabet_decode(const char *text, size_t size, unsigned char *out, size_t *out_size);

#endif
