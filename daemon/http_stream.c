/* http_stream.c: answers without an end. libmicrohttpd asks for bytes when the socket can take some; when there are
 * none the connection is suspended, and http_stream_wake resumes it. A suspended connection does not notice that its
 * client has gone, so a uv_poll of our own watches the socket for that. The stream ends when libmicrohttpd frees its
 * response: because the client left, because the server stops, or because the connection failed. */
#include "daemon/http.h"

#include <stdlib.h>
#include <sys/types.h>
#include "base/err.h"
#include "daemon/http_internal.h"

enum { BLOCK = 16 << 10 };

struct http_stream {
    struct http *http;
    struct http_stream *next, **link;
    struct MHD_Connection *mhd;
    uv_poll_t watch;
    bool watching, suspended, gone, ending;
    size_t (*pull)(void *arg, char *buf, size_t max);
    void (*closed)(void *arg);
    void *arg;
};

void http_stream_wake(struct http_stream *s)
{
    if (!s->suspended)
        return;
    s->suspended = false;
    MHD_resume_connection(s->mhd);
    http_kick(s->http);
}

static void on_disconnect(uv_poll_t *watch, int status, int events)
{
    struct http_stream *s = watch->data;
    (void)status;
    (void)events;
    uv_poll_stop(watch);
    s->gone = true;
    http_stream_wake(s);
}

static ssize_t on_pull(void *cls, uint64_t position, char *buf, size_t max)
{
    struct http_stream *s = cls;
    (void)position;
    if (s->gone)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (s->ending)
        return MHD_CONTENT_READER_END_OF_STREAM;
    size_t n = s->pull(s->arg, buf, max);
    if (n == 0) {
        s->suspended = true;
        MHD_suspend_connection(s->mhd);
    }
    return (ssize_t)n;
}

static void on_watch_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* The response is freed: the last that libmicrohttpd knows of the stream, and the descriptor is still open. */
static void on_response_freed(void *cls)
{
    struct http_stream *s = cls;
    *s->link = s->next;
    if (s->next != NULL)
        s->next->link = s->link;
    s->http->streams--;
    s->closed(s->arg);
    if (s->watching)
        uv_close((uv_handle_t *)&s->watch, on_watch_closed);
    else
        free(s);
}

struct http_stream *http_reply_stream(struct http_request *r, size_t (*pull)(void *arg, char *buf, size_t max),
                                      void (*closed)(void *arg), void *arg)
{
    struct http *h = r->http;
    struct http_stream *s = NULL;
    struct err err;
    if (h->stopping || h->streams >= HTTP_MAX_STREAMS)
        err_set(&err, ERR_UNAVAILABLE, h->stopping ? "the daemon is ending" : "%d event streams are open already",
                HTTP_MAX_STREAMS);
    else if ((s = calloc(1, sizeof *s)) == NULL)
        err_set(&err, ERR_NO_MEMORY, "out of memory");
    if (s == NULL) {
        http_reply_error(r, &err);
        return NULL;
    }
    *s = (struct http_stream){.http = h, .mhd = r->mhd, .pull = pull, .closed = closed, .arg = arg};
    r->response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, on_pull, s, on_response_freed);
    if (r->response == NULL) {
        free(s);
        err_set(&err, ERR_NO_MEMORY, "out of memory");
        http_reply_error(r, &err);
        return NULL;
    }
    MHD_add_response_header(r->response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream");
    MHD_add_response_header(r->response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    s->watch.data = s;
    s->watching = uv_poll_init(h->loop, &s->watch, r->connection->fd) == 0;
    if (s->watching)
        uv_poll_start(&s->watch, UV_DISCONNECT, on_disconnect);
    s->next = h->stream_list;
    s->link = &h->stream_list;
    if (s->next != NULL)
        s->next->link = &s->next;
    h->stream_list = s;
    h->streams++;
    http_deadline(r->connection, 0);
    r->status = MHD_HTTP_OK;
    http_request_answered(r);
    return s;
}

void http_streams_end(struct http *h)
{
    for (struct http_stream *s = h->stream_list; s != NULL; s = s->next) {
        s->ending = true;
        http_stream_wake(s);
    }
}
