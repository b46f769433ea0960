/* text_cut.h: where a text may be cut so that its pieces, each tokenized by itself, give the ids of the whole.
 *
 * A safe cut stands before a space that follows a character X that is not white space. Nothing reaches across it:
 *   - NFC: a space is a starter and the second of no composition, so the form of the text is the forms of the two
 * sides, and no canonical mapping turns X into white space: what is behind the cut still follows a character that is
 * none.
 *   - Added tokens: files with a token that has a safe cut inside are refused (text/bpe_model_read.c), so no occurrence
 *     of any token spans the cut; as tokens are searched from left to right, each side then finds its own ones. Tokens
 *     with lstrip, rstrip or single_word, which look at what is beside them, are refused as well.
 *   - Words: split_pattern.h (2): no word spans the cut, none looks back, and the look-ahead of `\s+(?!\S)` sees the
 *     character behind white space, while X is none. Behind the cut a run of white space is whole, for X ends it.
 *   - add_prefix_space adds a space where a stretch between tokens does not begin with one; behind the cut one stands.
 * A newline may take the space's place where the pattern's newline_ends_word says so and no prefix is added.
 */
#ifndef BAKA_TEXT_TEXT_CUT_H
#define BAKA_TEXT_TEXT_CUT_H

#include <stdbool.h>
#include <stddef.h>

/* The text is valid UTF-8; 0 < at < size. */
bool text_cut_is_safe(const unsigned char *text, size_t at, bool newline_too);
/* The last safe cut in [from, size), from > 0; 0: none. */
size_t text_cut_last(const unsigned char *text, size_t from, size_t size, bool newline_too);

#endif
