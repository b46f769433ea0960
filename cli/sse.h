/* sse.h: reader of text/event-stream (WHATWG HTML, "Server-sent events"), fed with any pieces of bytes. */
#ifndef BAKA_CLI_SSE_H
#define BAKA_CLI_SSE_H

#include <stddef.h>

enum { SSE_EVENT_MAX_BYTES = 16 << 20 };

/* data: the event's data lines joined by '\n', NUL-terminated. Not 0: stop. */
typedef int sse_on_event(void *arg, const char *event, const char *data, size_t size);

struct sse {
    sse_on_event *on_event;
    void *arg;
    char event[64];
    char *line, *data;
    size_t line_size, line_capacity, data_size, data_capacity;
    int has_data, after_cr;
};

void sse_init(struct sse *s, sse_on_event *on_event, void *arg);
/* Calls on_event for each event that ends in these bytes. Returns what on_event returned when not 0, -ERR_TOO_LARGE for
 * a line or event over the limit, else 0. */
int sse_feed(struct sse *s, const char *bytes, size_t size);
void sse_finish(struct sse *s);

#endif
