/* client.h: HTTP to bakad over HOME/bakad.sock (libcurl), JSON in and out, event streams.
 *
 * Failures: ERR_UNAVAILABLE when no daemon answers (the message says how to start one) or it goes away in mid-request;
 * an error answer of the daemon becomes its code, message and path; ERR_TOO_LARGE for a socket path that does not fit.
 * Thread: one at a time.
 */
#ifndef BAKA_CLI_CLIENT_H
#define BAKA_CLI_CLIENT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cjson/cJSON.h>

struct err;
struct client;

/* sun_path holds 108 bytes with its NUL. */
enum { CLIENT_SOCKET_PATH_MAX = 107 };

/* Does not connect yet. */
int client_create(const char *home, struct client **out, struct err *err);
void client_destroy(struct client *c); /* NULL is fine */

/* An address: client_url_start(&u, "/v1/runs"); client_url_segment(&u, ref); client_url_param(&u, "limit", "%d", 200).
 * Segments and values are percent-encoded. client_url_text ends the building; client_url_finish frees. */
struct client_url {
    FILE *stream;
    char *text;
    size_t size;
    int params;
};
void client_url_start(struct client_url *u, const char *path);
void client_url_segment(struct client_url *u, const char *segment);
void client_url_param(struct client_url *u, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
const char *client_url_text(struct client_url *u);
void client_url_finish(struct client_url *u);

/* method "GET" or "POST"; body may be NULL; *out (out may be NULL) is the answer, to be deleted by the caller. Waits up
 * to five minutes for the whole answer. */
int client_request(struct client *c, const char *method, const char *url, const cJSON *body, cJSON **out,
                   struct err *err);
int client_get(struct client *c, const char *url, cJSON **out, struct err *err);
int client_post(struct client *c, const char *url, const cJSON *body, cJSON **out, struct err *err);

enum client_stream_end {
    CLIENT_STREAM_ENDED = 0,     /* the daemon closed it */
    CLIENT_STREAM_STOPPED = 1,   /* a callback returned not 0 */
    CLIENT_STREAM_TIMED_OUT = 2, /* timeout_ms is over */
};

struct client_stream {
    /* One event; data is owned by the reader. Return 0 to go on. */
    int (*on_event)(void *arg, const char *event, const cJSON *data);
    /* May be NULL; called about once a second and more often while bytes come. Return 0 to go on. */
    int (*on_tick)(void *arg);
    void *arg;
    int64_t timeout_ms; /* 0: none */
};

/* Returns one of enum client_stream_end, or a negative code. A daemon that dies in mid-stream is ERR_UNAVAILABLE. */
int client_stream(struct client *c, const char *url, const struct client_stream *stream, struct err *err);

#endif
