/* separator.h: a stream of text cut at each occurrence of a string, from left to right; the string itself is dropped.
 */
#ifndef BAKA_TEXT_SEPARATOR_H
#define BAKA_TEXT_SEPARATOR_H

#include <stdbool.h>
#include <stddef.h>

struct err;
struct separator;

/* A piece of a document; ends: the document ends with it, it may be empty then. Not 0: stop, returned on. */
typedef int separator_sink(void *arg, const unsigned char *text, size_t size, bool ends, struct err *err);

struct separator *separator_create(const char *string); /* not empty; aborts when out of memory */
void separator_destroy(struct separator *s);            /* NULL is fine */
int separator_feed(struct separator *s, const unsigned char *text, size_t size, separator_sink *sink, void *arg,
                   struct err *err);
/* The text has ended, and with it its last document. */
int separator_end(struct separator *s, separator_sink *sink, void *arg, struct err *err);

#endif
