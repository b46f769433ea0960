/* http_request.c: one request, from its headers to its answer.
 *
 * libmicrohttpd calls http_on_request once with the headers (the only moment at which an answer may be refused before
 * the body), then for each piece of the body, then without a piece when all is there, and once more after a connection
 * was resumed with its answer ready. A request that its handler does not answer at once is suspended.
 */
#include "daemon/http.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/err.h"
#include "base/spare.h"
#include "base/log.h"
#include "base/path.h"
#include "daemon/http_internal.h"
#include "daemon/jsonw.h"

enum { BODY_RATE = 512 << 10 }; /* bytes a second that a sender must reach, beyond HTTP_REQUEST_MS */

static unsigned status_of(enum err_code code)
{
    switch (code) {
    case ERR_INVALID:
        return MHD_HTTP_BAD_REQUEST;
    case ERR_NOT_FOUND:
        return MHD_HTTP_NOT_FOUND;
    case ERR_CONFLICT:
    case ERR_BUSY:
        return MHD_HTTP_CONFLICT;
    case ERR_TOO_LARGE:
        return MHD_HTTP_CONTENT_TOO_LARGE;
    case ERR_NO_SPACE:
    case ERR_NO_MEMORY:
    case ERR_UNAVAILABLE:
        return MHD_HTTP_SERVICE_UNAVAILABLE;
    default:
        return MHD_HTTP_INTERNAL_SERVER_ERROR;
    }
}

void http_request_answered(struct http_request *r)
{
    if (!r->suspended)
        return;
    r->suspended = false;
    r->http->waiting--;
    MHD_resume_connection(r->mhd);
    http_kick(r->http);
}

void http_reply(struct http_request *r, unsigned status, char *body, size_t size)
{
    r->status = status;
    r->response = MHD_create_response_from_buffer_with_free_callback(size, body, free);
    if (r->response == NULL)
        free(body);
    else
        MHD_add_response_header(r->response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    http_request_answered(r);
}

static void reply_error_with(struct http_request *r, unsigned status, const struct err *err)
{
    struct jsonw w = {0};
    char *text = NULL;
    size_t size = 0;
    jsonw_begin_object(&w, NULL);
    jsonw_begin_object(&w, "error");
    jsonw_string(&w, "code", err_code_word(err->code));
    jsonw_string(&w, "message", err->message);
    jsonw_string(&w, "path", err->path);
    jsonw_end_object(&w);
    jsonw_end_object(&w);
    if (jsonw_take(&w, &text, &size, NULL) != 0) {
        r->response = NULL; /* the connection is closed without an answer */
        r->status = status;
        http_request_answered(r);
        return;
    }
    if (status >= 500)
        log_event(LOG_LEVEL_WARN, "request_failed", "path=\"%s\" error=\"%s\"", r->route != NULL ? r->route->path : "",
                  err->message);
    http_reply(r, status, text, size);
}

void http_reply_error(struct http_request *r, const struct err *err)
{
    reply_error_with(r, status_of(err->code), err);
}

/* --- the address ---------------------------------------------------------------------------------------------
 */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Called for the path, and for each key and value behind it, before the headers are read. A NUL would cut the text
 * short for all who read it as a string, so it is as wrong as an escape that is none. */
size_t http_on_unescape(void *cls, struct MHD_Connection *mhd, char *text)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_connection *c = info != NULL ? info->socket_context : NULL;
    char *to = text;
    (void)cls;
    for (const char *from = text; *from != '\0'; to++) {
        int high = *from == '%' ? hex_digit(from[1]) : -1, low = high >= 0 ? hex_digit(from[2]) : -1;
        bool escape = low >= 0 && (high > 0 || low > 0);
        if (*from == '%' && !escape && c != NULL)
            c->bad_escape = true;
        *to = escape ? (char)(high << 4 | low) : *from;
        from += escape ? 3 : 1;
    }
    *to = '\0';
    return (size_t)(to - text);
}

/* True when url has the pattern's segments; "@" takes one, *ref is "" where it is too long for a name. */
static bool path_matches(const char *pattern, const char *url, char ref[NAME_SIZE])
{
    ref[0] = '\0';
    while (*pattern != '\0' && *url != '\0') {
        if (*pattern == '@') {
            size_t n = strcspn(url, "/");
            size_t kept = n < NAME_SIZE ? n : 0;
            if (n == 0)
                return false;
            memcpy(ref, url, kept);
            ref[kept] = '\0';
            pattern++;
            url += n;
        } else if (*pattern++ != *url++)
            return false;
    }
    return *pattern == '\0' && *url == '\0';
}

/* Fills r->route and r->ref; else the status that says why not. */
static unsigned find_route(struct http_request *r, const char *method, const char *url, char *allow, size_t allow_size)
{
    size_t used = 0;
    allow[0] = '\0';
    for (const struct http_route *const *table = r->http->tables; *table != NULL; table++)
        for (const struct http_route *route = *table; route->method != NULL; route++) {
            if (!path_matches(route->path, url, r->ref))
                continue;
            if (strcmp(route->method, method) == 0) {
                r->route = route;
                return MHD_HTTP_OK;
            }
            int n = snprintf(allow + used, allow_size - used, "%s%s", used > 0 ? ", " : "", route->method);
            used = used + (size_t)n < allow_size ? used + (size_t)n : allow_size - 1;
        }
    return used > 0 ? MHD_HTTP_METHOD_NOT_ALLOWED : MHD_HTTP_NOT_FOUND;
}

/* --- query parameters ----------------------------------------------------------------------------------------------
 */

struct query_walk {
    struct http_request *r;
    struct err *err;
    int rc;
};

static enum MHD_Result on_query(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_size, const char *value,
                                size_t value_size)
{
    struct query_walk *walk = cls;
    struct http_request *r = walk->r;
    const char *p = r->route->query != NULL ? r->route->query : "";
    bool known = false, several = false;
    (void)kind;
    while (*p != '\0' && !known) {
        size_t n = strcspn(p, " *");
        known = n == key_size && memcmp(p, key, n) == 0;
        several = p[n] == '*';
        p += n + strspn(p + n, " *");
    }
    if (!known)
        walk->rc = err_set_at(walk->err, ERR_INVALID, "", "unknown query parameter \"%.64s\"; this takes: %s", key,
                              r->route->query != NULL ? r->route->query : "none");
    else if (value == NULL || strlen(value) != value_size)
        walk->rc = err_set_at(walk->err, ERR_INVALID, key, "the query parameter has no value");
    else if (!several && http_request_query(r, key) != NULL)
        walk->rc = err_set_at(walk->err, ERR_INVALID, key, "the query parameter is given twice");
    else if (r->query_count == HTTP_MAX_QUERY)
        walk->rc = err_set_at(walk->err, ERR_TOO_LARGE, key, "at most %d query parameters", HTTP_MAX_QUERY);
    else {
        if ((r->query_count & 15) == 0) {
            struct http_query *more = realloc(r->queries, (r->query_count + 16) * sizeof *more);
            if (more == NULL) {
                walk->rc = err_set(walk->err, ERR_NO_MEMORY, "out of memory");
                return MHD_NO;
            }
            r->queries = more;
        }
        r->queries[r->query_count++] = (struct http_query){key, value};
    }
    return walk->rc == 0 ? MHD_YES : MHD_NO;
}

const char *http_request_query_nth(const struct http_request *r, const char *key, size_t n)
{
    for (size_t i = 0; i < r->query_count; i++)
        if (strcmp(r->queries[i].key, key) == 0 && n-- == 0)
            return r->queries[i].value;
    return NULL;
}

const char *http_request_query(const struct http_request *r, const char *key)
{
    return http_request_query_nth(r, key, 0);
}

int http_request_query_int(const struct http_request *r, const char *key, long long min, long long max, long long *out,
                           struct err *err)
{
    const char *text = http_request_query(r, key);
    char *end;
    if (text == NULL)
        return 0;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || strchr(" \t\n\v\f\r+", *text) != NULL || value < min ||
        value > max)
        return err_set_at(err, ERR_INVALID, key, "\"%.40s\" is not a whole number from %lld to %lld", text, min, max);
    *out = value;
    return 0;
}

const char *http_request_ref(const struct http_request *r)
{
    return r->ref;
}

const char *http_request_body(const struct http_request *r, size_t *size)
{
    *size = r->body_size;
    return r->body != NULL ? r->body : "";
}

/* --- libmicrohttpd's side ------------------------------------------------------------------------------------------
 */

static bool is_trusted(struct http_connection *c)
{
    if (!c->checked) {
        struct ucred peer;
        socklen_t size = sizeof peer;
        c->checked = true;
        c->trusted =
            getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == geteuid() || peer.uid == 0);
    }
    return c->trusted;
}

static void refuse(struct http_request *r, unsigned status, enum err_code code, const char *message)
{
    struct err err;
    err_set(&err, code, "%s", message);
    reply_error_with(r, status, &err);
}

/* The headers are here. Answers the request if it can go no further. */
static void examine(struct http_request *r, const char *url, const char *method)
{
    char allow[64];
    unsigned long long length = 0;
    const char *text = MHD_lookup_connection_value(r->mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    if (text != NULL)
        length = strtoull(text, NULL, 10); /* libmicrohttpd has refused what is no number */
    http_deadline(r->connection, HTTP_REQUEST_MS);
    if (!is_trusted(r->connection)) {
        refuse(r, MHD_HTTP_FORBIDDEN, ERR_INVALID, "this daemon serves its own user only");
        return;
    }
    if (r->connection->bad_escape) {
        r->connection->bad_escape = false;
        refuse(r, MHD_HTTP_BAD_REQUEST, ERR_INVALID,
               "a % in the address is not followed by two hexadecimal digits other than 00");
        return;
    }
    unsigned status = find_route(r, method, url, allow, sizeof allow);
    if (status == MHD_HTTP_NOT_FOUND) {
        refuse(r, status, ERR_NOT_FOUND, "there is nothing at this address");
        return;
    }
    if (status != MHD_HTTP_OK) {
        refuse(r, status, ERR_INVALID, "this address does not take that method");
        if (r->response != NULL)
            MHD_add_response_header(r->response, MHD_HTTP_HEADER_ALLOW, allow);
        return;
    }
    if (strchr(r->route->path, '@') != NULL && !name_is_valid(r->ref)) {
        refuse(r, MHD_HTTP_BAD_REQUEST, ERR_INVALID, "what stands in the address is neither a run's id nor a name");
        return;
    }
    if (MHD_lookup_connection_value(r->mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING) != NULL) {
        refuse(r, MHD_HTTP_LENGTH_REQUIRED, ERR_INVALID, "a body must come with its Content-Length");
        return;
    }
    if (length > r->route->max_body) {
        struct err err;
        err_set(&err, ERR_TOO_LARGE, "the body is %llu bytes long; at most %zu are allowed here", length,
                r->route->max_body);
        reply_error_with(r, MHD_HTTP_CONTENT_TOO_LARGE, &err);
        return;
    }
    http_deadline(r->connection, HTTP_REQUEST_MS + 1000 * length / BODY_RATE);
    struct err err;
    struct query_walk walk = {.r = r, .err = &err};
    MHD_get_connection_values_n(r->mhd, MHD_GET_ARGUMENT_KIND, on_query, &walk);
    if (walk.rc != 0)
        http_reply_error(r, &err);
}

static enum MHD_Result send_response(struct http_request *r)
{
    struct MHD_Response *response = r->response;
    if (response == NULL)
        return MHD_NO; /* no memory for an answer: the connection is closed */
    r->response = NULL;
    if (r->http->stopping)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    enum MHD_Result result = MHD_queue_response(r->mhd, r->status, response);
    MHD_destroy_response(response);
    return result;
}

static bool body_add(struct http_request *r, const char *bytes, size_t size)
{
    if (r->body_size + size > r->route->max_body)
        return false;
    if (r->body_size + size + 1 > r->body_capacity) {
        size_t capacity = r->body_capacity ? r->body_capacity * 2 : 4096;
        while (capacity < r->body_size + size + 1)
            capacity *= 2;
        char *body = realloc(r->body, capacity);
        if (body == NULL)
            return false;
        r->body = body;
        r->body_capacity = capacity;
    }
    memcpy(r->body + r->body_size, bytes, size);
    r->body_size += size;
    r->body[r->body_size] = '\0';
    return true;
}

enum MHD_Result http_on_request(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                                const char *version, const char *upload, size_t *upload_size, void **con_cls)
{
    struct http *h = cls;
    struct http_request *r = *con_cls;
    (void)version;
    if (r == NULL) {
        spare_keep(); /* again, where the last request took it */
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        if (info == NULL || info->socket_context == NULL || (r = calloc(1, sizeof *r)) == NULL)
            return MHD_NO;
        *con_cls = r;
        r->http = h;
        r->mhd = mhd;
        r->connection = info->socket_context;
        if (h->stopping)
            refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, ERR_UNAVAILABLE, "the daemon is ending");
        else
            examine(r, url, method);
        return r->status != 0 ? send_response(r) : MHD_YES;
    }
    if (*upload_size > 0) {
        if (!body_add(r, upload, *upload_size))
            return MHD_NO;
        *upload_size = 0;
        return MHD_YES;
    }
    if (!r->handled) {
        r->handled = true;
        http_deadline(r->connection, HTTP_ANSWER_MS);
        r->route->handle(h->bakad, r);
        if (r->status == 0) {
            r->suspended = true;
            h->waiting++;
            MHD_suspend_connection(mhd);
            return MHD_YES;
        }
    }
    return r->status != 0 ? send_response(r) : MHD_YES;
}

void http_on_request_completed(void *cls, struct MHD_Connection *mhd, void **con_cls,
                               enum MHD_RequestTerminationCode code)
{
    struct http_request *r = *con_cls;
    (void)cls;
    (void)mhd;
    (void)code;
    if (r == NULL)
        return;
    *con_cls = NULL;
    http_deadline(r->connection, HTTP_REQUEST_MS);
    if (r->response != NULL)
        MHD_destroy_response(r->response);
    free(r->queries);
    free(r->body);
    free(r);
}
