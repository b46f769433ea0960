/* json.h: the door for JSON text that baka did not write, and exact numbers on the way out.
 *
 * cJSON is lenient (trailing text, overflowing numbers, duplicate keys, any bytes); json_parse checks the text against
 * RFC 8259 first: valid UTF-8, strict grammar, finite numbers, no duplicate keys, nesting and size within limits.
 */
#ifndef BAKA_BASE_JSON_H
#define BAKA_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cjson/cJSON.h>

struct err;

struct json_limits {
    size_t max_bytes;
    int max_depth;
};

enum { JSON_NUMBER_SIZE = 32 };

/* Caller frees *out with cJSON_Delete. Errors name line and column, and err->path the JSON path; `what` names the text
 * ("spec.json"). ERR_INVALID, ERR_TOO_LARGE over max_bytes, ERR_NO_MEMORY. max_depth is capped at 900. */
int json_parse(const char *text, size_t size, const struct json_limits *limits, const char *what, cJSON **out,
               struct err *err);
/* Numbers are printed and read with a point whatever the user's language: programs set LC_CTYPE only, never LC_NUMERIC.
 *
 * Shortest decimal that reads back as the same double ("0.1", "1e-05"); at most 17 significant digits. Non-finite
 * values give nan, inf, -inf without quotes. */
void json_number_text(double value, char out[JSON_NUMBER_SIZE]);
/* The whole text as a decimal number; more forms than JSON's are read: a plus, zeros before it, a point without digits
 * on one side. 0, -ERR_INVALID where it is none, -ERR_TOO_LARGE where a double cannot hold it: infinite, as 1e400, or
 * rounded to 0 without being 0, as 1e-400. */
int json_number_read(const char *text, double *out);
/* Exactly 17 significant digits, "%.17g". */
void json_number_text17(double value, char out[JSON_NUMBER_SIZE]);
/* Adds a number that survives exactly, also through cJSON's own printers (as raw text where they would lose digits; the
 * json_read functions read both); non-finite values become the strings "nan", "inf", "-inf". */
void json_add_double(cJSON *object, const char *key, double value);
/* 64-bit integers beyond 2^53 as strings, others as numbers without exponent. */
void json_add_int64(cJSON *object, const char *key, int64_t value);
/* Reads a number or one of the three strings. False when it is neither. */
bool json_read_double(const cJSON *item, double *out);
bool json_read_int64(const cJSON *item, int64_t *out);
/* Canonical text: keys sorted by bytes, no white space, numbers as json_number_text (integers without exponent below
 * 2^53). Caller frees. */
char *json_canonical(const cJSON *item);
/* The same exact numbers with the keys in their order, on one line or indented by two. cJSON's printers lose digits:
 * use this for whatever another program reads. Caller frees. */
char *json_print(const cJSON *item, bool indent);

#endif
