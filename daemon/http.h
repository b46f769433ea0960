/* http.h: HTTP/1.1 on a unix socket, libmicrohttpd driven by the libuv loop. Everything here runs on the loop's thread.
 *
 * A route's handler gets a request whose body is complete, and answers it exactly once: at once, or later from another
 * callback of the loop (the connection sleeps meanwhile and costs nothing). The request lives until it is answered.
 *
 * Limits: body by route, 32 KiB of headers a connection, HTTP_MAX_CONNECTIONS connections, HTTP_MAX_STREAMS event
 * streams, HTTP_REQUEST_MS for a request to arrive whole, 30 s without a byte either way, HTTP_ANSWER_MS for an answer
 * to be taken. Who comes: only our own uid and root. Errors are JSON, as docs/architecture.md shows.
 */
#ifndef BAKA_DAEMON_HTTP_H
#define BAKA_DAEMON_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct err;
struct bakad;
struct http;
struct http_request;
struct http_stream;

enum {
    HTTP_MAX_CONNECTIONS = 280,
    HTTP_MAX_STREAMS = 200,
    HTTP_REQUEST_MS = 30000,
    HTTP_ANSWER_MS = 300000,
    HTTP_MAX_QUERY = 256
};

/* Tables of routes end with an entry whose method is NULL. A path has "@" where a REF stands: "/v1/runs/@/steps". */
struct http_route {
    const char *method, *path;
    const char *query; /* allowed parameters, separated by spaces; a trailing '*' lets one come several times */
    size_t max_body;   /* 0: no body is read */
    void (*handle)(struct bakad *b, struct http_request *r);
};

/* ERR_TOO_LARGE for what no unix socket can be called. */
int http_check_path(const char *path, struct err *err);
/* Binds and listens. `tables` ends with NULL and outlives the server. ERR_TOO_LARGE as above,
 * ERR_IO. A file at path must be gone or a socket nobody serves: the caller holds the lock of the directory. */
int http_open(uv_loop_t *loop, const char *path, const struct http_route *const *tables, struct bakad *b,
              struct http **out, struct err *err);
/* No new connections, event streams end; requests in flight go on. */
void http_stop_listening(struct http *h);
/* After http_stop_listening, when nobody will answer any more: waits for answers to leave, then closed(arg). */
void http_close(struct http *h, void (*closed)(void *arg), void *arg);

const char *http_request_ref(const struct http_request *r); /* a valid name; "" when the path has none */
/* NULL when absent. */
const char *http_request_query(const struct http_request *r, const char *key);
/* The n-th value of a key that may come several times; NULL beyond the last. */
const char *http_request_query_nth(const struct http_request *r, const char *key, size_t n);
/* A whole number in [min, max]; absent leaves *out. ERR_INVALID. */
int http_request_query_int(const struct http_request *r, const char *key, long long min, long long max, long long *out,
                           struct err *err);
const char *http_request_body(const struct http_request *r, size_t *size);

/* Takes body (malloc), JSON text. */
void http_reply(struct http_request *r, unsigned status, char *body, size_t size);
/* Status by err->code: 400, 404, 409, 413, 503, 500. */
void http_reply_error(struct http_request *r, const struct err *err);

/* Answers with an endless text/event-stream. `pull` fills buf with what is there to say now and returns the number of
 * bytes, 0 when there is nothing (then http_stream_wake when there is); it is called only when the client can take
 * more, so a slow client sees the newest state instead of a growing queue. `closed` is the last call: the client has
 * gone or the server ends. NULL (answered with 503) when there are HTTP_MAX_STREAMS already. */
struct http_stream *http_reply_stream(struct http_request *r, size_t (*pull)(void *arg, char *buf, size_t max),
                                      void (*closed)(void *arg), void *arg);
void http_stream_wake(struct http_stream *s);

#endif
