/* jsonw.c: see jsonw.h. */
#include "daemon/jsonw.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"

/* Room for n more bytes and a NUL. */
static bool reserve(struct jsonw *w, size_t n)
{
    if (w->failed)
        return false;
    if (w->size + n + 1 <= w->capacity)
        return true;
    size_t capacity = w->capacity ? w->capacity * 2 : 1024;
    while (capacity < w->size + n + 1)
        capacity *= 2;
    char *data = realloc(w->data, capacity);
    if (data == NULL) {
        w->failed = true;
        return false;
    }
    w->data = data;
    w->capacity = capacity;
    return true;
}

static void put(struct jsonw *w, const char *bytes, size_t n)
{
    if (!reserve(w, n))
        return;
    memcpy(w->data + w->size, bytes, n);
    w->size += n;
}

static void put_key(struct jsonw *w, const char *key)
{
    if (w->comma)
        put(w, ",", 1);
    w->comma = true;
    if (key != NULL) {
        put(w, "\"", 1);
        put(w, key, strlen(key));
        put(w, "\":", 2);
    }
}

static void put_value(struct jsonw *w, const char *key, const char *text)
{
    put_key(w, key);
    put(w, text, strlen(text));
}

void jsonw_begin_object(struct jsonw *w, const char *key)
{
    put_value(w, key, "{");
    w->comma = false;
}

void jsonw_end_object(struct jsonw *w)
{
    put(w, "}", 1);
    w->comma = true;
}

void jsonw_begin_array(struct jsonw *w, const char *key)
{
    put_value(w, key, "[");
    w->comma = false;
}

void jsonw_end_array(struct jsonw *w)
{
    put(w, "]", 1);
    w->comma = true;
}

void jsonw_null(struct jsonw *w, const char *key)
{
    put_value(w, key, "null");
}

void jsonw_bool(struct jsonw *w, const char *key, bool value)
{
    put_value(w, key, value ? "true" : "false");
}

void jsonw_int(struct jsonw *w, const char *key, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    put_value(w, key, text);
}

void jsonw_real(struct jsonw *w, const char *key, double value)
{
    char text[JSON_NUMBER_SIZE];
    if (!isfinite(value)) {
        put_value(w, key, isnan(value) ? "\"nan\"" : value > 0 ? "\"inf\"" : "\"-inf\"");
        return;
    }
    json_number_text(value, text);
    put_value(w, key, text);
}

/* Length of the UTF-8 sequence at s (no overlong forms, no surrogates, at most U+10FFFF); 0 when there is none. */
static size_t sequence_length(const unsigned char *s, size_t n)
{
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        return n >= 2 && (s[1] & 0xc0) == 0x80 ? 2 : 0;
    if (s[0] >= 0xe0 && s[0] <= 0xef) {
        if (n < 3 || (s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80 || (s[0] == 0xe0 && s[1] < 0xa0) ||
            (s[0] == 0xed && s[1] > 0x9f))
            return 0;
        return 3;
    }
    if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        if (n < 4 || (s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80 || (s[3] & 0xc0) != 0x80 ||
            (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
            return 0;
        return 4;
    }
    return 0;
}

void jsonw_bytes(struct jsonw *w, const char *key, const char *bytes, size_t size)
{
    const unsigned char *s = (const unsigned char *)bytes;
    put_key(w, key);
    put(w, "\"", 1);
    for (size_t i = 0; i < size;) {
        size_t plain = 0; /* a run of plain characters is copied in one piece */
        while (i + plain < size && s[i + plain] >= 0x20 && s[i + plain] < 0x7f && s[i + plain] != '"' &&
               s[i + plain] != '\\')
            plain++;
        put(w, bytes + i, plain);
        i += plain;
        if (i == size)
            break;
        char escape[8];
        size_t n = sequence_length(s + i, size - i);
        if (n == 0) {
            put(w, "\xef\xbf\xbd", 3);
            i++;
        } else if (n > 1) {
            put(w, bytes + i, n);
            i += n;
        } else {
            switch (s[i]) {
            case '"':
                put(w, "\\\"", 2);
                break;
            case '\\':
                put(w, "\\\\", 2);
                break;
            case '\n':
                put(w, "\\n", 2);
                break;
            case '\t':
                put(w, "\\t", 2);
                break;
            default:
                snprintf(escape, sizeof escape, "\\u%04x", s[i]);
                put(w, escape, 6);
            }
            i++;
        }
    }
    put(w, "\"", 1);
}

void jsonw_known(struct jsonw *w, const char *key, double value)
{
    if (isnan(value))
        jsonw_null(w, key);
    else
        jsonw_real(w, key, value);
}

void jsonw_string(struct jsonw *w, const char *key, const char *value)
{
    if (value == NULL)
        jsonw_null(w, key);
    else
        jsonw_bytes(w, key, value, strlen(value));
}

void jsonw_raw(struct jsonw *w, const char *key, const char *json)
{
    put_value(w, key, json);
}

void jsonw_text(struct jsonw *w, const char *text)
{
    put(w, text, strlen(text));
    w->comma = false;
}

int jsonw_take(struct jsonw *w, char **out, size_t *size, struct err *err)
{
    reserve(w, 0);
    if (w->failed) {
        jsonw_finish(w);
        return err_set(err, ERR_NO_MEMORY, "out of memory for the answer");
    }
    w->data[w->size] = '\0';
    *out = w->data;
    *size = w->size;
    memset(w, 0, sizeof *w);
    return 0;
}

void jsonw_finish(struct jsonw *w)
{
    free(w->data);
    memset(w, 0, sizeof *w);
}
