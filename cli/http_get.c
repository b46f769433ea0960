/* http_get.c: see http_get.h. The answer's head is looked at when its first byte comes, or at the end where none does:
 * libcurl has then followed all redirections. */
#include "cli/http_get.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <curl/curl.h>

#include "base/clock.h"
#include "base/err.h"
#include "cli/interrupt.h"

enum { REDIRECTIONS_MAX = 10 };

struct transfer {
    const struct http_get *g;
    CURL *curl;
    struct err *err;
    bool begun, ended, stalled; /* ended: `end` and err say how */
    enum http_get_end end;
    int64_t at; /* bytes of the file that are there */
    curl_off_t seen;
    int64_t seen_us;
    char reason[CURL_ERROR_SIZE];
};

__attribute__((format(printf, 4, 5))) static void end_with(struct transfer *t, enum http_get_end end,
                                                           enum err_code code, const char *format, ...)
{
    char reason[384];
    va_list ap;
    va_start(ap, format);
    vsnprintf(reason, sizeof reason, format, ap);
    va_end(ap);
    const char *slashes = strstr(t->g->url, "//"), *host = slashes ? slashes + 2 : t->g->url;
    err_set(t->err, code, "%.*s: %s", (int)strcspn(host, "/"), host, reason);
    t->end = end;
    t->ended = true;
}

static const char *header(const struct transfer *t, const char *name)
{
    struct curl_header *h;
    return curl_easy_header(t->curl, name, 0, CURLH_HEADER, -1, &h) == CURLHE_OK ? h->value : "";
}

static long status_of(const struct transfer *t)
{
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

/* A weak ETag says that two files are as good as each other, not that their bytes are equal. */
static const char *validator_of(const struct transfer *t)
{
    const char *etag = header(t, "ETag"), *found = *etag == '"' ? etag : header(t, "Last-Modified");
    return strlen(found) < HTTP_VALIDATOR_SIZE ? found : "";
}

/* The total of "bytes FROM-TO/TOTAL"; 0 where it is not said. False when it is not of what was asked for. */
static bool read_range(const struct transfer *t, int64_t *total)
{
    int64_t from, to;
    int n = 0;
    const char *text = header(t, "Content-Range");
    if (sscanf(text, "bytes %" SCNd64 "-%" SCNd64 "/%n", &from, &to, &n) != 2 || n == 0 || from != t->g->from)
        return false;
    *total = strcmp(text + n, "*") == 0 ? 0 : strtoll(text + n, NULL, 10);
    return *total >= 0;
}

static void check_status(struct transfer *t, long status)
{
    if (status == 416 && t->g->from > 0)
        end_with(t, HTTP_CHANGED, ERR_IO, "the file is shorter than the part of it that is here");
    else if (status == 408 || status == 425 || status == 429 || status >= 500)
        end_with(t, HTTP_AGAIN, ERR_IO, "the server answered with status %ld", status);
    else if (status != 200 && status != 206)
        end_with(t, HTTP_REFUSED, status == 404 || status == 410 ? ERR_NOT_FOUND : ERR_IO,
                 "the server answered with status %ld%s", status,
                 status == 404 || status == 410 ? ", it has no such file" : "");
}

static void begin(struct transfer *t)
{
    const struct http_get *g = t->g;
    curl_off_t length = -1;
    int64_t total;
    long status = status_of(t);
    const char *validator = validator_of(t);
    t->begun = true;
    check_status(t, status);
    if (t->ended)
        return;
    curl_easy_getinfo(t->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    total = length < 0 ? 0 : length;
    bool resumed = status == 206;
    if (resumed && (!read_range(t, &total) || (*g->validator && *validator && strcmp(g->validator, validator) != 0) ||
                    (g->from_bytes && total && total != g->from_bytes)))
        end_with(t, g->from > 0 ? HTTP_CHANGED : HTTP_REFUSED, ERR_IO, "the server has another file than before");
    else if (g->bytes && total && total != g->bytes)
        end_with(t, HTTP_REFUSED, ERR_DAMAGED, "the file there has %" PRId64 " bytes, %" PRId64 " are expected", total,
                 g->bytes);
    if (t->ended)
        return;
    t->at = resumed ? g->from : 0;
    if (g->begin(g->arg, resumed, validator, total, t->err)) {
        t->end = HTTP_FAILED;
        t->ended = true;
    }
}

static size_t on_data(char *data, size_t one, size_t n, void *arg)
{
    struct transfer *t = arg;
    const struct http_get *g = t->g;
    int64_t most = g->bytes ? g->bytes : g->max_bytes;
    n *= one;
    if (!t->begun)
        begin(t);
    if (t->ended)
        return 0;
    if ((int64_t)n > most - t->at) {
        end_with(t, HTTP_REFUSED, ERR_TOO_LARGE, "the server sends more than %" PRId64 " bytes", most);
        return 0;
    }
    if (g->data(g->arg, data, n, t->err)) {
        t->end = HTTP_FAILED;
        t->ended = true;
        return 0;
    }
    t->at += (int64_t)n;
    return n;
}

/* libcurl calls this about once a second also while nothing comes, and while it connects. */
static int on_tick(void *arg, curl_off_t total, curl_off_t now, curl_off_t upload_total, curl_off_t upload_now)
{
    (void)total, (void)upload_total, (void)upload_now;
    struct transfer *t = arg;
    int64_t us = clock_monotonic_us();
    if (now != t->seen) {
        t->seen = now;
        t->seen_us = us;
    }
    t->stalled = us - t->seen_us > (int64_t)t->g->timeout_s * 1000000;
    t->g->tick(t->g->arg);
    return t->stalled || interrupt_caught();
}

static void set_options(struct transfer *t, struct curl_slist *headers)
{
    const struct http_get *g = t->g;
    CURL *c = t->curl;
    bool https = strncasecmp(g->url, "https:", 6) == 0;
    curl_easy_setopt(c, CURLOPT_URL, g->url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, https ? "https" : "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, (long)REDIRECTIONS_MAX);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "baka/" BAKA_VERSION);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)g->timeout_s);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->reason);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_tick);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
}

static struct curl_slist *range_headers(const struct http_get *g)
{
    char text[HTTP_VALIDATOR_SIZE + 32];
    struct curl_slist *list = NULL;
    if (g->from == 0)
        return NULL;
    snprintf(text, sizeof text, "Range: bytes=%" PRId64 "-", g->from);
    list = curl_slist_append(list, text);
    if (*g->validator) {
        snprintf(text, sizeof text, "If-Range: %s", g->validator);
        list = curl_slist_append(list, text);
    }
    return list;
}

/* The transfer ended, and no callback of ours ended it. */
static void judge(struct transfer *t, CURLcode code)
{
    const char *reason = *t->reason ? t->reason : curl_easy_strerror(code);
    switch (code) {
    case CURLE_OK:
        if (t->g->bytes && t->at < t->g->bytes)
            end_with(t, HTTP_REFUSED, ERR_DAMAGED, "the file ended after %" PRId64 " of %" PRId64 " bytes", t->at,
                     t->g->bytes);
        else
            t->end = HTTP_DONE;
        break;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT: /* of the connection: others are ours */
        end_with(t, HTTP_UNREACHABLE, ERR_IO, "%s", reason);
        break;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        end_with(t, HTTP_REFUSED, ERR_IO, "%s (Debian's package ca-certificates has the authorities)", reason);
        break;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_TOO_MANY_REDIRECTS:
        end_with(t, HTTP_REFUSED, ERR_IO, "%s", reason);
        break;
    case CURLE_PARTIAL_FILE:
        end_with(t, HTTP_AGAIN, ERR_IO, "the connection ended after %" PRId64 " bytes", t->at);
        break;
    default:
        end_with(t, HTTP_AGAIN, ERR_IO, "%s", reason);
    }
}

enum http_get_end http_get(const struct http_get *g, struct err *err)
{
    struct transfer t = {.g = g, .curl = curl_easy_init(), .err = err, .at = g->from, .seen_us = clock_monotonic_us()};
    if (!t.curl)
        abort();
    struct curl_slist *headers = range_headers(g);
    set_options(&t, headers);
    CURLcode code = curl_easy_perform(t.curl);
    if (code == CURLE_OK && !t.begun)
        begin(&t); /* an empty body */
    if (!t.ended && interrupt_caught())
        end_with(&t, HTTP_FAILED, ERR_IO, "interrupted");
    else if (!t.ended && t.stalled)
        end_with(&t, HTTP_AGAIN, ERR_IO, "not a byte came in %d s", g->timeout_s);
    else if (!t.ended)
        judge(&t, code);
    curl_slist_free_all(headers);
    curl_easy_cleanup(t.curl);
    return t.end;
}
