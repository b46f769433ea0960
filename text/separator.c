/* separator.c: Knuth, Morris and Pratt's automaton. What is held back between two pieces is always a prefix of the
 * string, so its length is all that is kept. */
#include "text/separator.h"

#include <stdlib.h>
#include <string.h>

struct separator {
    unsigned char *string;
    size_t size, matched;
    size_t *fall; /* fall[n]: length of the longest proper prefix of the first n bytes that is their suffix too */
};

struct separator *separator_create(const char *string)
{
    struct separator *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->size = strlen(string);
    s->string = (unsigned char *)strdup(string);
    s->fall = calloc(s->size + 1, sizeof *s->fall);
    if (!s->string || !s->fall)
        abort();
    for (size_t n = 1, k = 0; n < s->size; n++) {
        while (k && s->string[n] != s->string[k])
            k = s->fall[k];
        k += s->string[n] == s->string[k];
        s->fall[n + 1] = k;
    }
    return s;
}

void separator_destroy(struct separator *s)
{
    if (!s)
        return;
    free(s->string);
    free(s->fall);
    free(s);
}

int separator_feed(struct separator *s, const unsigned char *text, size_t size, separator_sink *sink, void *arg,
                   struct err *err)
{
    size_t begin = 0, at = 0; /* [begin, at) of this piece is text that was not given on yet */
    size_t held = s->matched; /* of what is matched, the bytes that came before this piece */
    int rc = 0;
    while (!rc && at < size) {
        if (s->matched == 0) {
            const unsigned char *first = memchr(text + at, s->string[0], size - at);
            at = first ? (size_t)(first - text) : size;
            if (!first)
                break;
        }
        if (text[at] == s->string[s->matched]) {
            at++;
            if (++s->matched < s->size)
                continue;
            size_t end = at - (s->size - held);
            rc = sink(arg, text + begin, end - begin, true, err);
            begin = at;
            s->matched = held = 0;
            continue;
        }
        size_t kept = s->fall[s->matched], dropped = s->matched - kept, old = dropped < held ? dropped : held;
        if (old)
            rc = sink(arg, s->string, old, false, err);
        held -= old;
        s->matched = kept;
    }
    size_t end = at - (s->matched - held);
    if (!rc && end > begin)
        rc = sink(arg, text + begin, end - begin, false, err);
    return rc;
}

int separator_end(struct separator *s, separator_sink *sink, void *arg, struct err *err)
{
    size_t held = s->matched;
    s->matched = 0;
    return sink(arg, s->string, held, true, err);
}
