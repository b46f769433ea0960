/* client.c: see client.h. One libcurl handle is kept for the life of the client, so that requests share a connection.
 */
#include "cli/client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <curl/curl.h>

#include "base/err.h"
#include "base/json.h"
#include "base/path.h"
#include "cli/sse.h"

enum { REQUEST_TIMEOUT_MS = 300000, CONNECT_TIMEOUT_MS = 5000, ANSWER_MAX_BYTES = 1 << 30 };

struct client {
    CURL *curl;
    struct curl_slist *json_headers;
    char home[PATH_SIZE];
    char socket[PATH_SIZE];
};

int client_create(const char *home, struct client **out, struct err *err)
{
    struct client *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    int rc = path_format(c->home, err, "%s", home);
    if (!rc)
        rc = path_format(c->socket, err, "%s/bakad.sock", home);
    if (!rc && strlen(c->socket) > CLIENT_SOCKET_PATH_MAX)
        rc = err_set(err, ERR_TOO_LARGE,
                     "the socket path %s has %zu bytes, a Unix socket allows %d: use a shorter --home", c->socket,
                     strlen(c->socket), CLIENT_SOCKET_PATH_MAX);
    if (rc) {
        free(c);
        return rc;
    }
    c->curl = curl_easy_init();
    c->json_headers = curl_slist_append(curl_slist_append(NULL, "Content-Type: application/json"), "Expect:");
    if (!c->curl || !c->json_headers)
        abort();
    *out = c;
    return 0;
}

void client_destroy(struct client *c)
{
    if (!c)
        return;
    curl_easy_cleanup(c->curl);
    curl_slist_free_all(c->json_headers);
    free(c);
}

static void url_escape_into(FILE *stream, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c))
            putc(c, stream);
        else
            fprintf(stream, "%%%02X", c);
    }
}

void client_url_start(struct client_url *u, const char *path)
{
    *u = (struct client_url){0};
    u->stream = open_memstream(&u->text, &u->size);
    if (!u->stream)
        abort();
    fputs(path, u->stream);
}

void client_url_segment(struct client_url *u, const char *segment)
{
    putc('/', u->stream);
    /* "." and ".." would be folded away by the library before they reach the daemon. */
    if (strcmp(segment, ".") == 0 || strcmp(segment, "..") == 0)
        fputs(segment[1] ? "%2E%2E" : "%2E", u->stream);
    else
        url_escape_into(u->stream, segment);
}

void client_url_param(struct client_url *u, const char *key, const char *format, ...)
{
    char *value;
    va_list ap;
    va_start(ap, format);
    if (vasprintf(&value, format, ap) < 0)
        abort();
    va_end(ap);
    putc(u->params++ ? '&' : '?', u->stream);
    url_escape_into(u->stream, key);
    putc('=', u->stream);
    url_escape_into(u->stream, value);
    free(value);
}

const char *client_url_text(struct client_url *u)
{
    if (u->stream && fclose(u->stream) != 0)
        abort();
    u->stream = NULL;
    return u->text;
}

void client_url_finish(struct client_url *u)
{
    client_url_text(u);
    free(u->text);
    *u = (struct client_url){0};
}

static int no_daemon(const struct client *c, struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE, "no daemon is serving %s: start one with `bakad --home %s`", c->home, c->home);
}

/* What a failed transfer means. */
static int transfer_error(const struct client *c, CURLcode code, struct err *err)
{
    long os_errno = 0;
    curl_easy_getinfo(c->curl, CURLINFO_OS_ERRNO, &os_errno);
    switch (code) {
    case CURLE_COULDNT_CONNECT:
        if (os_errno == EACCES || os_errno == EPERM)
            return err_set_errno(err, (int)os_errno, "%s", c->socket);
        return no_daemon(c, err);
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_PARTIAL_FILE:
        return err_set(err, ERR_UNAVAILABLE, "the daemon of %s went away before it had answered", c->home);
    case CURLE_OPERATION_TIMEDOUT:
        return err_set(err, ERR_BUSY, "the daemon of %s did not answer in time", c->home);
    default:
        return err_set(err, ERR_IO, "talking to the daemon of %s: %s", c->home, curl_easy_strerror(code));
    }
}

static enum err_code code_of_word(const char *word)
{
    for (int code = ERR_INVALID; code <= ERR_INTERNAL; code++)
        if (strcmp(err_code_word((enum err_code)code), word) == 0)
            return (enum err_code)code;
    return ERR_INTERNAL;
}

/* {"error":{"code","message","path"}} with an HTTP status of 400 and above. */
static int answer_error(long status, const char *body, size_t size, struct err *err)
{
    cJSON *answer = cJSON_ParseWithLength(body, size);
    const cJSON *e = cJSON_GetObjectItemCaseSensitive(answer, "error");
    const char *code = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(e, "code"));
    const char *message = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(e, "message"));
    const char *path = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(e, "path"));
    enum err_code word = code ? code_of_word(code) : ERR_INTERNAL;
    /* ERR_UNAVAILABLE means "no daemon" on this side, and one has just answered. */
    if (word == ERR_UNAVAILABLE)
        word = ERR_BUSY;
    int rc = message ? err_set_at(err, word, path ? path : "", "%s", message)
                     : err_set(err, ERR_INTERNAL, "the daemon answered with status %ld and no explanation", status);
    cJSON_Delete(answer);
    return rc;
}

struct answer {
    char *text;
    size_t size, capacity;
    bool too_large;
};

static size_t on_answer_bytes(char *bytes, size_t one, size_t n, void *arg)
{
    struct answer *a = arg;
    n *= one;
    if (n > ANSWER_MAX_BYTES - a->size) {
        a->too_large = true;
        return 0;
    }
    if (a->size + n + 1 > a->capacity) {
        a->capacity = 2 * (a->size + n) + 4096;
        a->text = realloc(a->text, a->capacity);
        if (!a->text)
            abort();
    }
    memcpy(a->text + a->size, bytes, n);
    a->size += n;
    a->text[a->size] = '\0';
    return n;
}

/* The options that requests and streams share. Environment proxies would otherwise be used even for a Unix socket. */
static void prepare(struct client *c, const char *url, char **full_url)
{
    if (asprintf(full_url, "http://localhost%s", url) < 0)
        abort();
    curl_easy_reset(c->curl);
    curl_easy_setopt(c->curl, CURLOPT_URL, *full_url);
    curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, c->socket);
    curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
}

int client_request(struct client *c, const char *method, const char *url, const cJSON *body, cJSON **out,
                   struct err *err)
{
    char *full_url, *text = body ? json_canonical(body) : NULL;
    struct answer answer = {0};
    prepare(c, url, &full_url);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, (long)REQUEST_TIMEOUT_MS);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_answer_bytes);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &answer);
    if (strcmp(method, "POST") == 0) {
        curl_easy_setopt(c->curl, CURLOPT_POST, 1L);
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, text ? text : "");
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(text ? strlen(text) : 0));
        curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->json_headers);
    } else if (strcmp(method, "GET") != 0) {
        curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
    }
    CURLcode code = curl_easy_perform(c->curl);
    long status = 0;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);

    int rc = 0;
    cJSON *parsed = NULL;
    if (answer.too_large)
        rc = err_set(err, ERR_TOO_LARGE, "the daemon's answer has more than %d bytes", ANSWER_MAX_BYTES);
    else if (code != CURLE_OK && !(status >= 400 && answer.size))
        rc =
            transfer_error(c, code, err); /* an early 413 may close the connection while the body is still being sent */
    else if (status >= 400)
        rc = answer_error(status, answer.text, answer.size, err);
    else if (!(parsed = cJSON_ParseWithLength(answer.size ? answer.text : "", answer.size)))
        rc = err_set(err, ERR_DAMAGED, "the daemon's answer is not JSON");
    if (!rc && out)
        *out = parsed;
    else
        cJSON_Delete(parsed);
    free(answer.text);
    free(text);
    free(full_url);
    return rc;
}

int client_get(struct client *c, const char *url, cJSON **out, struct err *err)
{
    return client_request(c, "GET", url, NULL, out, err);
}

int client_post(struct client *c, const char *url, const cJSON *body, cJSON **out, struct err *err)
{
    return client_request(c, "POST", url, body, out, err);
}

struct stream_state {
    struct client *client;
    const struct client_stream *stream;
    struct sse sse;
    struct answer refusal; /* the body, when the status says that this is no stream */
    bool stopped;
    int error; /* negative code of a stream that cannot be read */
};

static int on_sse_event(void *arg, const char *event, const char *data, size_t size)
{
    struct stream_state *s = arg;
    cJSON *parsed = cJSON_ParseWithLength(data, size);
    if (!parsed) {
        s->error = -ERR_DAMAGED;
        return 1;
    }
    if (s->stream->on_event(s->stream->arg, event, parsed))
        s->stopped = true;
    cJSON_Delete(parsed);
    return s->stopped;
}

static size_t on_stream_bytes(char *bytes, size_t one, size_t n, void *arg)
{
    struct stream_state *s = arg;
    long status = 0;
    curl_easy_getinfo(s->client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 400)
        return on_answer_bytes(bytes, one, n, &s->refusal);
    int rc = sse_feed(&s->sse, bytes, one * n);
    if (rc < 0)
        s->error = rc;
    return rc ? 0 : one * n;
}

static int on_stream_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t d, curl_off_t e)
{
    (void)a, (void)b, (void)d, (void)e;
    struct stream_state *s = arg;
    if (s->stream->on_tick && s->stream->on_tick(s->stream->arg))
        s->stopped = true;
    return s->stopped;
}

int client_stream(struct client *c, const char *url, const struct client_stream *stream, struct err *err)
{
    char *full_url;
    struct stream_state s = {.client = c, .stream = stream};
    sse_init(&s.sse, on_sse_event, &s);
    prepare(c, url, &full_url);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_stream_bytes);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &s);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFOFUNCTION, on_stream_progress);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFODATA, &s);
    curl_easy_setopt(c->curl, CURLOPT_NOPROGRESS, 0L);
    if (stream->timeout_ms > 0)
        curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, (long)stream->timeout_ms);
    CURLcode code = curl_easy_perform(c->curl);
    long status = 0;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);

    int rc;
    if (s.stopped)
        rc = CLIENT_STREAM_STOPPED;
    else if (s.error)
        rc = err_set(err, (enum err_code) - s.error, "the daemon's event stream cannot be read");
    else if (status >= 400)
        rc = answer_error(status, s.refusal.size ? s.refusal.text : "", s.refusal.size, err);
    else if (code == CURLE_OPERATION_TIMEDOUT && stream->timeout_ms > 0)
        rc = CLIENT_STREAM_TIMED_OUT;
    else if (code != CURLE_OK)
        rc = transfer_error(c, code, err);
    else
        rc = CLIENT_STREAM_ENDED;
    sse_finish(&s.sse);
    free(s.refusal.text);
    free(full_url);
    return rc;
}
