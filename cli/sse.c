/* sse.c: see sse.h. Comment lines, id and retry fields are skipped; an event without data is none. */
#include "cli/sse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

void sse_init(struct sse *s, sse_on_event *on_event, void *arg)
{
    *s = (struct sse){.on_event = on_event, .arg = arg};
}

void sse_finish(struct sse *s)
{
    free(s->line);
    free(s->data);
    *s = (struct sse){0};
}

/* Keeps one byte of room for a NUL. */
static int append(char **text, size_t *size, size_t *capacity, const char *bytes, size_t n)
{
    if (n > SSE_EVENT_MAX_BYTES - *size)
        return -ERR_TOO_LARGE;
    if (*size + n + 1 > *capacity) {
        *capacity = 2 * (*size + n + 1);
        *text = realloc(*text, *capacity);
        if (!*text)
            abort();
    }
    if (n)
        memcpy(*text + *size, bytes, n);
    *size += n;
    (*text)[*size] = '\0';
    return 0;
}

static int dispatch(struct sse *s)
{
    int rc = 0;
    if (s->has_data)
        rc = s->on_event(s->arg, *s->event ? s->event : "message", s->data, s->data_size);
    s->event[0] = '\0';
    s->data_size = 0;
    s->has_data = 0;
    return rc;
}

static int on_line(struct sse *s)
{
    const char *line = s->line_size ? s->line : "";
    size_t size = s->line_size;
    s->line_size = 0;
    if (size == 0)
        return dispatch(s);
    const char *colon = memchr(line, ':', size);
    size_t name_size = colon ? (size_t)(colon - line) : size;
    const char *value = colon ? colon + 1 : line + size;
    if (colon && *value == ' ')
        value++;
    size_t value_size = (size_t)(line + size - value);
    if (name_size == 5 && memcmp(line, "event", 5) == 0) {
        snprintf(s->event, sizeof s->event, "%.*s", (int)(value_size < 63 ? value_size : 63), value);
    } else if (name_size == 4 && memcmp(line, "data", 4) == 0) {
        int rc = s->has_data ? append(&s->data, &s->data_size, &s->data_capacity, "\n", 1) : 0;
        if (!rc)
            rc = append(&s->data, &s->data_size, &s->data_capacity, value, value_size);
        s->has_data = 1;
        return rc;
    }
    return 0;
}

int sse_feed(struct sse *s, const char *bytes, size_t size)
{
    size_t start = 0;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '\n' && s->after_cr) { /* the second half of "\r\n" */
            s->after_cr = 0;
            start = i + 1;
            continue;
        }
        s->after_cr = bytes[i] == '\r';
        if (bytes[i] != '\n' && bytes[i] != '\r')
            continue;
        int rc = append(&s->line, &s->line_size, &s->line_capacity, bytes + start, i - start);
        if (!rc)
            rc = on_line(s);
        if (rc)
            return rc;
        start = i + 1;
    }
    return append(&s->line, &s->line_size, &s->line_capacity, bytes + start, size - start);
}
