/* json_check.c: one pass over the text with a stack of open containers of its own. Keys of open objects wait on a
 * second stack until their object closes; there they are sorted by hash, so that an object with a million keys costs n
 * log n. */
#include "base/json_check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"

struct key {
    uint64_t hash;  /* of the decoded text */
    const char *at; /* behind the opening quote */
};

struct frame {
    char close;       /* '}' or ']' */
    size_t first_key; /* in keys */
    const char *key;  /* of the member being read; NULL in arrays and before the first */
    size_t index;     /* of the element being read */
};

struct check {
    const char *begin, *at, *end, *what;
    struct frame *frames;
    int depth, max_depth;
    struct key *keys;
    size_t key_count, key_capacity;
    struct err *err;
};

static const char hex_digits[] = "0123456789abcdefABCDEF";

static void place_of(const struct check *c, const char *at, size_t *line, size_t *column)
{
    *line = *column = 1;
    for (const char *p = c->begin; p < at; p++) {
        if (*p == '\n') {
            ++*line;
            *column = 1;
        } else if (((unsigned char)*p & 0xc0) != 0x80) {
            ++*column;
        }
    }
}

/* The dotted path of the member that is being read: "model.ffn.type", "runs[3].name"; cut when too long. */
static void path_of(const struct check *c, char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; i < c->depth && used + 1 < size; i++) {
        const struct frame *f = &c->frames[i];
        int n = 0;
        if (f->close == ']') {
            n = snprintf(out + used, size - used, "[%zu]", f->index);
        } else if (f->key) {
            size_t length = 0;
            while (f->key + length < c->end && f->key[length] != '"' && (unsigned char)f->key[length] >= 0x20)
                length += f->key[length] == '\\' && f->key + length + 1 < c->end ? 2 : 1;
            n = snprintf(out + used, size - used, "%s%.*s", used ? "." : "", (int)(length < 64 ? length : 64), f->key);
        }
        used += n > 0 ? (size_t)n : 0;
    }
    /* a cut inside a character would make the path itself broken UTF-8 */
    for (unsigned char *p = (unsigned char *)out; *p; p++) {
        if (*p < 0x20 || *p >= 0x7f)
            *p = '?';
    }
}

__attribute__((format(printf, 3, 4))) static int refuse(const struct check *c, const char *at, const char *format, ...)
{
    char reason[400], path[160];
    va_list ap;
    va_start(ap, format);
    vsnprintf(reason, sizeof reason, format, ap);
    va_end(ap);
    size_t line, column;
    place_of(c, at, &line, &column);
    path_of(c, path, sizeof path);
    return err_set_at(c->err, ERR_INVALID, path, "%s: line %zu, column %zu: %s", c->what, line, column, reason);
}

/* A short printable piece of the text for a message. */
static const char *excerpt(const struct check *c, const char *at, char out[24])
{
    size_t n = 0;
    while (n < 16 && at + n < c->end && (unsigned char)at[n] > 0x20 && (unsigned char)at[n] < 0x7f &&
           !(n && strchr(",]}\"", at[n])))
        n++;
    if (n == 0 && at < c->end)
        snprintf(out, 24, "byte 0x%02x", (unsigned char)*at);
    else
        snprintf(out, 24, "\"%.*s\"", (int)n, at);
    return out;
}

static int hex4(const char *at, const char *end, uint32_t *out)
{
    if (end - at < 4)
        return -1;
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        const char *digit = at[i] ? strchr(hex_digits, at[i]) : NULL;
        if (!digit)
            return -1;
        uint32_t d = (uint32_t)(digit - hex_digits);
        value = value << 4 | (d > 15 ? d - 6 : d);
    }
    *out = value;
    return 0;
}

size_t json_utf8_length(const unsigned char *at, const unsigned char *end)
{
    size_t left = (size_t)(end - at);
    if (at[0] < 0x80)
        return 1;
    if (at[0] >= 0xc2 && at[0] <= 0xdf)
        return left >= 2 && (at[1] & 0xc0) == 0x80 ? 2 : 0;
    if ((at[0] & 0xf0) == 0xe0) {
        if (left < 3 || (at[1] & 0xc0) != 0x80 || (at[2] & 0xc0) != 0x80)
            return 0;
        return (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ? 0 : 3;
    }
    if (at[0] >= 0xf0 && at[0] <= 0xf4) {
        if (left < 4 || (at[1] & 0xc0) != 0x80 || (at[2] & 0xc0) != 0x80 || (at[3] & 0xc0) != 0x80)
            return 0;
        return (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f) ? 0 : 4;
    }
    return 0;
}

/* Next decoded character of a checked string that ends at its quote; false at the quote. */
static bool next_character(const char **at, uint32_t *out)
{
    const char *p = *at;
    if (*p == '"')
        return false;
    if (*p != '\\') {
        *out = (unsigned char)*p;
        *at = p + 1;
        return true;
    }
    static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (p[1] != 'u') {
        *out = (unsigned char)meanings[strchr(escapes, p[1]) - escapes];
        *at = p + 2;
        return true;
    }
    /* escaped characters beyond ASCII are given above the byte range: equal keys written once escaped and once not are
     * made comparable by encode_key below */
    uint32_t c = 0, low = 0;
    hex4(p + 2, p + 6, &c);
    *at = p + 6;
    if (c >= 0xd800 && c < 0xdc00) {
        hex4(p + 8, p + 12, &low);
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        *at = p + 12;
    }
    *out = c < 0x80 ? c : c | 0x80000000u;
    return true;
}

/* Decoded bytes of a key, one call a byte: an escaped character beyond ASCII yields its UTF-8 bytes in turn. */
struct key_reader {
    const char *at;
    unsigned char pending[4];
    int pending_count, pending_used;
};

static int next_byte(struct key_reader *r)
{
    if (r->pending_used < r->pending_count)
        return r->pending[r->pending_used++];
    uint32_t c;
    if (!next_character(&r->at, &c))
        return -1;
    if (!(c & 0x80000000u))
        return (int)c;
    c &= 0x7fffffffu;
    int n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--) {
        r->pending[i] = (unsigned char)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    r->pending[0] = (unsigned char)((n == 2 ? 0xc0u : n == 3 ? 0xe0u : 0xf0u) | c);
    r->pending_count = n;
    r->pending_used = 1;
    return r->pending[0];
}

static uint64_t hash_key(const char *at)
{
    struct key_reader r = {.at = at};
    uint64_t h = 0xcbf29ce484222325u;
    for (int c; (c = next_byte(&r)) >= 0;)
        h = (h ^ (uint64_t)c) * 0x100000001b3u;
    return h;
}

static int compare_decoded(const char *a, const char *b)
{
    struct key_reader ra = {.at = a}, rb = {.at = b};
    for (;;) {
        int ca = next_byte(&ra), cb = next_byte(&rb);
        if (ca != cb)
            return ca < cb ? -1 : 1;
        if (ca < 0)
            return 0;
    }
}

/* By hash, then text (so crafted collisions cost no more than a sort), then place. */
static int compare_keys(const void *a, const void *b)
{
    const struct key *ka = a, *kb = b;
    if (ka->hash != kb->hash)
        return ka->hash < kb->hash ? -1 : 1;
    int order = compare_decoded(ka->at, kb->at);
    if (order)
        return order;
    return ka->at < kb->at ? -1 : ka->at > kb->at;
}

static int check_duplicates(struct check *c, const struct frame *f)
{
    struct key *keys = c->keys + f->first_key;
    size_t n = c->key_count - f->first_key;
    if (n < 2)
        return 0;
    qsort(keys, n, sizeof *keys, compare_keys);
    const struct key *first = NULL, *second = NULL;
    for (size_t i = 1; i < n; i++) {
        bool same = keys[i].hash == keys[i - 1].hash && compare_decoded(keys[i].at, keys[i - 1].at) == 0;
        if (same && (!second || keys[i].at < second->at)) {
            first = &keys[i - 1];
            second = &keys[i];
        }
    }
    if (!second)
        return 0;
    size_t line, column;
    char text[24];
    place_of(c, first->at - 1, &line, &column);
    c->frames[c->depth - 1].key = second->at;
    return refuse(c, second->at - 1, "the key %s stands twice in one object (first at line %zu, column %zu)",
                  excerpt(c, second->at, text), line, column);
}

/* at is behind the opening quote; leaves c->at behind the closing one. */
static int check_string(struct check *c)
{
    for (;;) {
        if (c->at >= c->end)
            return refuse(c, c->at, "the text ends inside a string");
        unsigned char ch = (unsigned char)*c->at;
        if (ch == '"') {
            c->at++;
            return 0;
        }
        if (ch < 0x20)
            return refuse(c, c->at, "the control byte 0x%02x must be escaped in a string", ch);
        if (ch != '\\') {
            size_t n = json_utf8_length((const unsigned char *)c->at, (const unsigned char *)c->end);
            if (n == 0)
                return refuse(c, c->at, "byte 0x%02x is not valid UTF-8", ch);
            c->at += n;
            continue;
        }
        char escape = c->at + 1 < c->end ? c->at[1] : 0;
        if (escape && strchr("\"\\/bfnrt", escape)) {
            c->at += 2;
            continue;
        }
        if (escape != 'u')
            return refuse(c, c->at, "a backslash is followed by none of \" \\ / b f n r t u");
        uint32_t high, low;
        if (hex4(c->at + 2, c->end, &high) < 0)
            return refuse(c, c->at, "\\u is not followed by four hexadecimal digits");
        if (high == 0)
            return refuse(c, c->at, "\\u0000 is not accepted in strings");
        if (high >= 0xdc00 && high < 0xe000)
            return refuse(c, c->at, "\\u%04x is the second half of a pair without the first", high);
        if (high >= 0xd800 && high < 0xdc00) {
            bool pair = c->end - c->at >= 12 && c->at[6] == '\\' && c->at[7] == 'u' &&
                        hex4(c->at + 8, c->end, &low) == 0 && low >= 0xdc00 && low < 0xe000;
            if (!pair)
                return refuse(c, c->at, "\\u%04x is the first half of a pair without the second", high);
            c->at += 6;
        }
        c->at += 6;
    }
}

static size_t skip_digits(const struct check *c, const char **at)
{
    const char *from = *at;
    while (*at < c->end && **at >= '0' && **at <= '9')
        ++*at;
    return (size_t)(*at - from);
}

static int check_number(struct check *c)
{
    const char *from = c->at, *at = from;
    char text[24], copy[JSON_NUMBER_LENGTH + 1];
    if (*at == '-')
        at++;
    if (at < c->end && *at == '0' && at + 1 < c->end && at[1] >= '0' && at[1] <= '9')
        return refuse(c, from, "%s: a number does not begin with 0 and another digit", excerpt(c, from, text));
    if (skip_digits(c, &at) == 0)
        return refuse(c, from, "%s is not a JSON number", excerpt(c, from, text));
    if (at < c->end && *at == '.') {
        at++;
        if (skip_digits(c, &at) == 0)
            return refuse(c, from, "%s: digits must follow the decimal point", excerpt(c, from, text));
    }
    if (at < c->end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < c->end && (*at == '+' || *at == '-'))
            at++;
        if (skip_digits(c, &at) == 0)
            return refuse(c, from, "%s: digits must follow the exponent's e", excerpt(c, from, text));
    }
    if (at - from > JSON_NUMBER_LENGTH)
        return refuse(c, from, "a number of %zu characters; at most %d are read", (size_t)(at - from),
                      (int)JSON_NUMBER_LENGTH);
    memcpy(copy, from, (size_t)(at - from));
    copy[at - from] = 0;
    double value;
    if (json_number_read(copy, &value) < 0)
        return refuse(c, from, "%s is beyond the range of a double (about 4.9e-324 to 1.8e308)", copy);
    c->at = at;
    return 0;
}

static int check_word(struct check *c)
{
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(c->end - c->at) >= n && memcmp(c->at, words[i], n) == 0) {
            c->at += n;
            return 0;
        }
    }
    char text[24];
    if (!(*c->at >= 0x21 && *c->at < 0x7f) &&
        json_utf8_length((const unsigned char *)c->at, (const unsigned char *)c->end) == 0)
        return refuse(c, c->at, "byte 0x%02x is not valid UTF-8", (unsigned char)*c->at);
    return refuse(c, c->at, "found %s where a value must stand (object, array, string, number, true, false or null)",
                  excerpt(c, c->at, text));
}

static void skip_space(struct check *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r'))
        c->at++;
}

/* Reads `"key" :` of the innermost object. */
static int check_key(struct check *c)
{
    struct frame *f = &c->frames[c->depth - 1];
    char text[24];
    skip_space(c);
    if (c->at >= c->end)
        return refuse(c, c->at, "the text ends inside an object");
    if (*c->at != '"')
        return refuse(c, c->at, "found %s where a key in double quotes must stand", excerpt(c, c->at, text));
    const char *key = ++c->at;
    int rc = check_string(c);
    if (rc < 0)
        return rc;
    f->key = key;
    if (c->key_count == c->key_capacity) {
        size_t capacity = c->key_capacity ? c->key_capacity * 2 : 64;
        struct key *larger = realloc(c->keys, capacity * sizeof *larger);
        if (!larger)
            return err_set(c->err, ERR_NO_MEMORY, "no memory to check %s", c->what);
        c->keys = larger;
        c->key_capacity = capacity;
    }
    c->keys[c->key_count++] = (struct key){.hash = hash_key(key), .at = key};
    skip_space(c);
    if (c->at >= c->end || *c->at != ':')
        return refuse(c, c->at, "a colon must follow the key");
    c->at++;
    return 0;
}

static int open_container(struct check *c)
{
    char open = *c->at;
    if (c->depth == c->max_depth)
        return refuse(c, c->at, "nested deeper than %d levels", c->max_depth);
    c->frames[c->depth++] = (struct frame){.close = open == '{' ? '}' : ']', .first_key = c->key_count};
    c->at++;
    return 0;
}

/* After a value: commas and closings up to the place where the next value begins, or the end (*done). */
static int after_value(struct check *c, bool *done)
{
    char text[24];
    for (;;) {
        skip_space(c);
        if (c->depth == 0) {
            *done = true;
            return c->at < c->end
                       ? refuse(c, c->at, "%s stands behind the end of the JSON text", excerpt(c, c->at, text))
                       : 0;
        }
        struct frame *f = &c->frames[c->depth - 1];
        if (c->at >= c->end)
            return refuse(c, c->at, "the text ends inside an %s", f->close == '}' ? "object" : "array");
        if (*c->at == ',') {
            c->at++;
            f->index++;
            return f->close == '}' ? check_key(c) : 0;
        }
        if (*c->at != f->close)
            return refuse(c, c->at, "found %s where a comma or %c must stand", excerpt(c, c->at, text), f->close);
        int rc = f->close == '}' ? check_duplicates(c, f) : 0;
        if (rc < 0)
            return rc;
        c->key_count = f->first_key;
        c->depth--;
        c->at++;
    }
}

static int check_text(struct check *c)
{
    bool done = false;
    int rc = 0;
    while (rc == 0 && !done) {
        skip_space(c);
        if (c->at >= c->end)
            return refuse(c, c->at, "the text ends where a value must stand");
        char ch = *c->at;
        if (ch == '{' || ch == '[') {
            rc = open_container(c);
            if (rc < 0)
                break;
            skip_space(c);
            if (c->at < c->end && *c->at == c->frames[c->depth - 1].close) {
                c->depth--;
                c->at++;
            } else {
                rc = ch == '{' ? check_key(c) : 0;
                continue;
            }
        } else if (ch == '"') {
            c->at++;
            rc = check_string(c);
        } else if (ch == '-' || (ch >= '0' && ch <= '9')) {
            rc = check_number(c);
        } else {
            rc = check_word(c);
        }
        if (rc == 0)
            rc = after_value(c, &done);
    }
    return rc;
}

int json_check(const char *text, size_t size, const struct json_limits *limits, const char *what, struct err *err)
{
    if (size > limits->max_bytes)
        return err_set(err, ERR_TOO_LARGE, "%s has %zu bytes; at most %zu are read", what, size, limits->max_bytes);
    struct check c = {.begin = text, .at = text, .end = text + size, .what = what, .err = err};
    c.max_depth = limits->max_depth < JSON_DEPTH_LIMIT ? limits->max_depth : JSON_DEPTH_LIMIT;
    skip_space(&c);
    if (c.at == c.end)
        return err_set(err, ERR_INVALID, "%s is empty", what);
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        return err_set(err, ERR_INVALID, "%s begins with a byte order mark, which JSON does not allow", what);
    c.frames = malloc((size_t)(c.max_depth > 0 ? c.max_depth : 1) * sizeof *c.frames);
    if (!c.frames)
        return err_set(err, ERR_NO_MEMORY, "no memory to check %s", what);
    int rc = check_text(&c);
    free(c.frames);
    free(c.keys);
    return rc;
}
