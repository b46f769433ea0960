/* split_pattern.h: the regular expressions by which tokenizers cut text into words before the merges. A table: each
 * stands as tokenizer.json files spell it and as PCRE2 has to read it to match the same, with what is proved of it.
 *
 * Proved of all, by looking at every alternative: (1) every character is matched, so that the matches are the words;
 * (2) no match goes from a character that is not white space on to a space, and the look-ahead after white space sees
 * none but the character behind it. So text may be cut between the two and each side matched by itself.
 * `newline_ends_word` says that (2) holds for a newline in place of the space.
 *
 * PCRE2's \s has U+180E, Unicode's White_Space (what Oniguruma and Rust take) has not: hence \p{White_Space}.
 */
#ifndef BAKA_TEXT_SPLIT_PATTERN_H
#define BAKA_TEXT_SPLIT_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

struct err;

struct split_pattern {
    const char *name;       /* for messages */
    const char *written;    /* in tokenizer.json */
    const char *expression; /* for PCRE2 with UTF and UCP */
    bool newline_ends_word;
};

extern const struct split_pattern *const split_pattern_gpt2; /* what ByteLevel's use_regex means */

/* NULL: unknown. */
const struct split_pattern *split_pattern_find(const char *written);
const struct split_pattern *split_pattern_at(size_t index); /* NULL behind the last */

struct splitter; /* a compiled pattern with its matching state: one a thread */

int splitter_create(const struct split_pattern *p, struct splitter **out, struct err *err);
void splitter_destroy(struct splitter *s);
/* Where the word ends that begins at `start` < size of a valid UTF-8 text. */
int splitter_next(struct splitter *s, const unsigned char *text, size_t size, size_t start, size_t *end,
                  struct err *err);

#endif
