/* jsonw.h: JSON text written straight into one growing buffer, for answers of many rows. Numbers survive exactly:
 * 64-bit integers as they are, doubles in the shortest form that reads back the same, non-finite ones as "nan", "inf",
 * "-inf".
 *
 * Out of memory is sticky: later calls do nothing, jsonw_take fails. Keys are the program's own and are not escaped.
 * Thread: a struct jsonw belongs to one thread at a time. Zeroed is empty.
 */
#ifndef BAKA_DAEMON_JSONW_H
#define BAKA_DAEMON_JSONW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct jsonw {
    char *data;
    size_t size, capacity;
    bool comma;  /* a value stands before the next one */
    bool failed; /* out of memory */
};

/* key NULL: an element of an array, or the top. */
void jsonw_begin_object(struct jsonw *w, const char *key);
void jsonw_end_object(struct jsonw *w);
void jsonw_begin_array(struct jsonw *w, const char *key);
void jsonw_end_array(struct jsonw *w);
void jsonw_null(struct jsonw *w, const char *key);
void jsonw_bool(struct jsonw *w, const char *key, bool value);
void jsonw_int(struct jsonw *w, const char *key, int64_t value);
void jsonw_real(struct jsonw *w, const char *key, double value);
/* NaN is not known: null. */
void jsonw_known(struct jsonw *w, const char *key, double value);
/* value NULL gives null. */
void jsonw_string(struct jsonw *w, const char *key, const char *value);
/* Any bytes: what is not UTF-8 becomes U+FFFD. */
void jsonw_bytes(struct jsonw *w, const char *key, const char *bytes, size_t size);
/* A value that is JSON text already. */
void jsonw_raw(struct jsonw *w, const char *key, const char *json);
/* Bytes between values, as an event stream needs; no comma is kept. */
void jsonw_text(struct jsonw *w, const char *text);
/* The text, NUL-terminated; the caller frees it and w is empty again. ERR_NO_MEMORY. */
int jsonw_take(struct jsonw *w, char **out, size_t *size, struct err *err);
void jsonw_finish(struct jsonw *w);

#endif
