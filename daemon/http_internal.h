/* http_internal.h: what http.c (socket, loop, connections), http_request.c (routes, bodies, answers) and http_stream.c
 * share. Nobody else includes it. */
#ifndef BAKA_DAEMON_HTTP_INTERNAL_H
#define BAKA_DAEMON_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <stdint.h>
#include "daemon/http.h"

struct http {
    uv_loop_t *loop;
    struct bakad *bakad;
    const struct http_route *const *tables;
    struct MHD_Daemon *mhd;
    char *socket_path;
    int listen_fd;  /* -1 once closed */
    uv_poll_t poll; /* the epoll fd of libmicrohttpd */
    uv_timer_t timeout, kick, reaper, drain;
    int handles;     /* of the five, not closed yet */
    bool running;    /* inside MHD_run: it must not be entered again */
    bool freed_slot; /* a connection ended: the listening socket may have to be armed again, by another MHD_run */
    bool stopping, closing;
    int streams, waiting; /* open streams; suspended requests */
    struct http_connection *connections;
    struct http_stream *stream_list;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* One for each connection; its socket context. */
struct http_connection {
    struct http *http;
    struct http_connection *next, **link;
    int fd;
    uint64_t deadline; /* uv_now; 0: none */
    bool checked, trusted;
    bool bad_escape; /* in the address of the request that is being read */
};

struct http_query {
    const char *key, *value; /* libmicrohttpd's, valid as long as the request */
};

struct http_request {
    struct http *http;
    struct http_connection *connection;
    struct MHD_Connection *mhd;
    const struct http_route *route;
    char ref[65];
    struct http_query *queries;
    size_t query_count;
    char *body;
    size_t body_size, body_capacity;
    struct MHD_Response *response; /* set by the answer */
    unsigned status;
    bool suspended, handled;
};

/* Deferred MHD_run, safe from anywhere on the loop. */
void http_kick(struct http *h);
void http_deadline(struct http_connection *c, uint64_t ms); /* from now; 0: none */
void http_streams_end(struct http *h);

/* libmicrohttpd's callbacks */
enum MHD_Result http_on_request(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                                const char *version, const char *upload, size_t *upload_size, void **con_cls);
size_t http_on_unescape(void *cls, struct MHD_Connection *mhd, char *text);
void http_on_request_completed(void *cls, struct MHD_Connection *mhd, void **con_cls,
                               enum MHD_RequestTerminationCode code);
/* Hands over r->response when the request sleeps; used by all kinds of answers. */
void http_request_answered(struct http_request *r);

#endif
