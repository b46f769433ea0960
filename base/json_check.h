/* json_check.h: is a text JSON that baka accepts? Strict RFC 8259 grammar, valid UTF-8, numbers that a double can hold,
 * no key twice in an object, nesting and size within limits. Touches no heap for shallow texts beyond one small block;
 * the depth of the text never becomes depth of the C stack. */
#ifndef BAKA_BASE_JSON_CHECK_H
#define BAKA_BASE_JSON_CHECK_H

#include <stddef.h>
#include "base/json.h"

struct err;

enum {
    JSON_DEPTH_LIMIT = 900,  /* cJSON itself gives up at 1000 */
    JSON_NUMBER_LENGTH = 63, /* cJSON reads no more characters of a number */
};

/* Length of the valid UTF-8 sequence that begins at `at` < end (RFC 3629: no overlong forms, no surrogates), or 0. */
size_t json_utf8_length(const unsigned char *at, const unsigned char *end);
/* ERR_INVALID with the JSON path of the place in err->path and line and column (both from 1, columns in characters) in
 * the message; ERR_TOO_LARGE over limits->max_bytes. */
int json_check(const char *text, size_t size, const struct json_limits *limits, const char *what, struct err *err);

#endif
