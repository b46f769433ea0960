/* http.c: the listening socket, libmicrohttpd's epoll descriptor on the libuv loop, and the life of connections.
 *
 * libmicrohttpd does its work in MHD_run only. It is called when its epoll descriptor is readable, when its own
 * time-out is due, and after whatever changes its state from outside (a resumed connection), always from the loop and
 * never from one of its own callbacks, where it would run handlers twice: those ask for a run by a timer of 0
 * (http_kick).
 *
 * When the connection limit is reached it forgets the listening socket until a run that comes after a connection has
 * ended; hence freed_slot. Its time-out counts inactivity only, so a client that sends a byte now and then would stay
 * for ever; the reaper shuts such sockets down at their deadline. Stopping with suspended connections aborts the
 * process; hence http_close waits until none is left.
 */
#include "daemon/http.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/err.h"
#include "base/log.h"
#include "daemon/http_internal.h"

enum { BACKLOG = 128, INACTIVITY_S = 30, CONNECTION_MEMORY = 32 << 10, REAP_EVERY_MS = 1000, DRAIN_EVERY_MS = 2 };

static void on_timer(uv_timer_t *timer);

static void run(struct http *h)
{
    MHD_UNSIGNED_LONG_LONG ms;
    if (h->running) {
        http_kick(h);
        return;
    }
    h->running = true;
    MHD_run(h->mhd);
    h->running = false;
    if (h->freed_slot) {
        h->freed_slot = false;
        http_kick(h);
    }
    if (MHD_get_timeout(h->mhd, &ms) == MHD_YES)
        uv_timer_start(&h->timeout, on_timer, ms, 0);
    else
        uv_timer_stop(&h->timeout);
}

static void on_timer(uv_timer_t *timer)
{
    run(timer->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    run(poll->data);
}

void http_kick(struct http *h)
{
    if (!uv_is_active((uv_handle_t *)&h->kick) && !uv_is_closing((uv_handle_t *)&h->kick))
        uv_timer_start(&h->kick, on_timer, 0, 0);
}

static void on_reap(uv_timer_t *timer)
{
    struct http *h = timer->data;
    uint64_t now = uv_now(h->loop);
    bool more = false;
    for (struct http_connection *c = h->connections; c != NULL; c = c->next) {
        if (c->deadline == 0)
            continue;
        if (c->deadline <= now) {
            log_event(LOG_LEVEL_INFO, "client_too_slow", "fd=%d", c->fd);
            shutdown(c->fd, SHUT_RDWR); /* libmicrohttpd sees the end and closes */
            c->deadline = 0;
        } else
            more = true;
    }
    if (!more)
        uv_timer_stop(&h->reaper);
}

void http_deadline(struct http_connection *c, uint64_t ms)
{
    struct http *h = c->http;
    c->deadline = ms == 0 ? 0 : uv_now(h->loop) + ms;
    if (ms != 0 && !uv_is_active((uv_handle_t *)&h->reaper) && !uv_is_closing((uv_handle_t *)&h->reaper))
        uv_timer_start(&h->reaper, on_reap, REAP_EVERY_MS, REAP_EVERY_MS);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http *h = cls;
    struct http_connection *c = *context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        c = calloc(1, sizeof *c);
        *context = c; /* NULL: its requests are refused */
        if (c == NULL)
            return;
        c->http = h;
        c->fd = info->connect_fd;
        c->next = h->connections;
        c->link = &h->connections;
        if (c->next != NULL)
            c->next->link = &c->next;
        h->connections = c;
        http_deadline(c, HTTP_REQUEST_MS);
        return;
    }
    h->freed_slot = true;
    if (c == NULL)
        return;
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    if (h->connections == NULL)
        uv_timer_stop(&h->reaper);
    free(c);
}

static void on_mhd_log(void *cls, const char *format, va_list ap) __attribute__((format(printf, 2, 0)));
static void on_mhd_log(void *cls, const char *format, va_list ap)
{
    char text[512];
    (void)cls;
    vsnprintf(text, sizeof text, format, ap);
    text[strcspn(text, "\n")] = '\0';
    log_event(LOG_LEVEL_DEBUG, "http", "text=\"%s\"", text);
}

int http_check_path(const char *path, struct err *err)
{
    size_t most = sizeof((struct sockaddr_un){0}).sun_path - 1;
    if (strlen(path) <= most)
        return 0;
    return err_set(err, ERR_TOO_LARGE,
                   "the socket's path is %zu bytes long and the system allows %zu: %.300s; choose a shorter --home",
                   strlen(path), most, path);
}

/* A listening unix socket of mode 0600; the directory is 0700, and the umask covers the moment between. */
static int listen_on(const char *path, int *out, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int rc = http_check_path(path, err);
    if (rc != 0)
        return rc;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set_errno(err, errno, "cannot make a socket");
    if (unlink(path) != 0 && errno != ENOENT) {
        rc = err_set_errno(err, errno, "cannot remove the old socket %s", path);
        close(fd);
        return rc;
    }
    mode_t mask = umask(0177);
    int bound = bind(fd, (struct sockaddr *)&address, sizeof address);
    int error = errno;
    umask(mask);
    if (bound != 0 || listen(fd, BACKLOG) != 0) {
        rc = err_set_errno(err, bound != 0 ? error : errno, "cannot listen on %s", path);
        close(fd);
        return rc;
    }
    *out = fd;
    return 0;
}

int http_open(uv_loop_t *loop, const char *path, const struct http_route *const *tables, struct bakad *b,
              struct http **out, struct err *err)
{
    struct http *h = calloc(1, sizeof *h);
    if (h == NULL)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    h->loop = loop;
    h->bakad = b;
    h->tables = tables;
    h->socket_path = strdup(path);
    int rc =
        h->socket_path == NULL ? err_set(err, ERR_NO_MEMORY, "out of memory") : listen_on(path, &h->listen_fd, err);
    if (rc != 0) {
        free(h->socket_path);
        free(h);
        return rc;
    }
    h->mhd = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, http_on_request, h,
        MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, NULL, MHD_OPTION_LISTEN_SOCKET, h->listen_fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_MAX_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)INACTIVITY_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_NOTIFY_COMPLETED, http_on_request_completed, h,
        MHD_OPTION_UNESCAPE_CALLBACK, http_on_unescape, NULL, MHD_OPTION_END);
    const union MHD_DaemonInfo *info = h->mhd != NULL ? MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (info == NULL) {
        if (h->mhd != NULL)
            MHD_stop_daemon(h->mhd);
        else
            close(h->listen_fd);
        unlink(path);
        free(h->socket_path);
        free(h);
        return err_set(err, ERR_INTERNAL, "libmicrohttpd does not start");
    }
    uv_poll_init(loop, &h->poll, info->epoll_fd);
    uv_timer_init(loop, &h->timeout);
    uv_timer_init(loop, &h->kick);
    uv_timer_init(loop, &h->reaper);
    uv_timer_init(loop, &h->drain);
    h->poll.data = h->timeout.data = h->kick.data = h->reaper.data = h->drain.data = h;
    uv_poll_start(&h->poll, UV_READABLE, on_poll);
    http_kick(h);
    *out = h;
    return 0;
}

void http_stop_listening(struct http *h)
{
    if (h->stopping)
        return;
    h->stopping = true;
    unlink(h->socket_path);
    MHD_socket fd = MHD_quiesce_daemon(h->mhd);
    if (fd != MHD_INVALID_SOCKET)
        close(fd);
    http_streams_end(h);
    http_kick(h);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct http *h = handle->data;
    if (--h->handles > 0)
        return;
    void (*closed)(void *arg) = h->closed;
    void *arg = h->closed_arg;
    free(h->socket_path);
    free(h);
    if (closed != NULL)
        closed(arg);
}

/* From the loop, outside MHD_run. */
static void finish(struct http *h)
{
    uv_handle_t *handles[] = {(uv_handle_t *)&h->poll, (uv_handle_t *)&h->timeout, (uv_handle_t *)&h->kick,
                              (uv_handle_t *)&h->reaper, (uv_handle_t *)&h->drain};
    uv_poll_stop(&h->poll); /* before libmicrohttpd closes the descriptor */
    MHD_stop_daemon(h->mhd);
    h->handles = sizeof handles / sizeof *handles;
    for (int i = 0; i < (int)(sizeof handles / sizeof *handles); i++)
        uv_close(handles[i], on_handle_closed);
}

static void on_drain(uv_timer_t *timer)
{
    struct http *h = timer->data;
    run(h);
    if (h->waiting == 0 && h->streams == 0)
        finish(h);
}

void http_close(struct http *h, void (*closed)(void *arg), void *arg)
{
    http_stop_listening(h);
    h->closing = true;
    h->closed = closed;
    h->closed_arg = arg;
    uv_timer_start(&h->drain, on_drain, 0, DRAIN_EVERY_MS);
}
