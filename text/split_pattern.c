/* split_pattern.c: see split_pattern.h. Compiled by the just-in-time compiler where the machine has it; PCRE2 falls
 * back to its interpreter by itself. */
#include "text/split_pattern.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/err.h"

#define WS "\\p{White_Space}"

static const struct split_pattern patterns[] = {
    {
        .name = "GPT-2",
        .written = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
        .expression =
            "'(?:s|t|re|ve|m|ll|d)| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|" WS "+(?!\\P{White_Space})|" WS "+",
        .newline_ends_word = true,
    },
    {
        .name = "GPT-4",
        .written =
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
            "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
        .expression = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^" WS
                      "\\p{L}\\p{N}]++[\\r\\n]*|" WS "*[\\r\\n]|" WS "+(?!\\P{White_Space})|" WS "+",
    },
    {
        .name = "Llama 3",
        .written =
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
            "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
        .expression = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^" WS
                      "\\p{L}\\p{N}]+[\\r\\n]*|" WS "*[\\r\\n]+|" WS "+(?!\\P{White_Space})|" WS "+",
    },
    {
        .name = "Qwen 2",
        .written = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
                   "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
        .expression = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^" WS
                      "\\p{L}\\p{N}]+[\\r\\n]*|" WS "*[\\r\\n]+|" WS "+(?!\\P{White_Space})|" WS "+",
    },
};

const struct split_pattern *const split_pattern_gpt2 = &patterns[0];

const struct split_pattern *split_pattern_at(size_t index)
{
    return index < sizeof patterns / sizeof *patterns ? &patterns[index] : NULL;
}

const struct split_pattern *split_pattern_find(const char *written)
{
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        if (strcmp(patterns[i].written, written) == 0)
            return &patterns[i];
    return NULL;
}

struct splitter {
    pcre2_code *code;
    pcre2_match_data *match;
};

int splitter_create(const struct split_pattern *p, struct splitter **out, struct err *err)
{
    int number;
    size_t at;
    /* Anchored: by (1) a word begins where the one before ended, so nothing is to be searched. */
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)p->expression, PCRE2_ZERO_TERMINATED,
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &number, &at, NULL);
    if (!code)
        return err_set(err, ERR_UNAVAILABLE,
                       "PCRE2 error %d at %zu of the %s pattern: version 10.40 or newer is needed", number, at,
                       p->name);
    (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    struct splitter *s = calloc(1, sizeof *s);
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    if (!s || !match)
        abort();
    *s = (struct splitter){code, match};
    *out = s;
    return 0;
}

void splitter_destroy(struct splitter *s)
{
    if (!s)
        return;
    pcre2_match_data_free(s->match);
    pcre2_code_free(s->code);
    free(s);
}

int splitter_next(struct splitter *s, const unsigned char *text, size_t size, size_t start, size_t *end,
                  struct err *err)
{
    int rc = pcre2_match(s->code, text, size, start, PCRE2_NO_UTF_CHECK, s->match, NULL);
    const size_t *range = pcre2_get_ovector_pointer(s->match);
    if (rc < 0 || range[1] <= start)
        return err_set(err, ERR_INTERNAL, "PCRE2 answers %d at byte %zu of a piece of text", rc, start);
    *end = range[1];
    return 0;
}
