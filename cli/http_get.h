/* http_get.h: one GET over HTTP or HTTPS (libcurl), from any byte of the file on; certificates are always checked, and
 * from https no redirection leads to http. What comes is handed on in pieces; retries are the caller's (download.h).
 * A signal that was caught (interrupt.h) ends it. Thread: the main one.
 */
#ifndef BAKA_CLI_HTTP_GET_H
#define BAKA_CLI_HTTP_GET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum { HTTP_VALIDATOR_SIZE = 256 };

enum http_get_end {
    HTTP_DONE,
    HTTP_AGAIN, /* the connection broke or stalled, or the server is busy: worth another try from where it broke */
    HTTP_UNREACHABLE, /* no such host, nobody answers */
    HTTP_CHANGED,     /* what stands there is not what the first bytes are of: begin anew */
    HTTP_REFUSED,     /* this address does not have it */
    HTTP_FAILED       /* here, not there: the caller's own failure, a signal */
};

struct http_get {
    const char *url;
    int64_t from;          /* bytes that are there already */
    int64_t bytes;         /* that the file must have; 0: not known */
    int64_t from_bytes;    /* of the file that those bytes begin; 0: not known */
    int64_t max_bytes;     /* where they are not known */
    const char *validator; /* of those there already (If-Range); "": none is known */
    int timeout_s;         /* without a byte */
    /* Once, before any data. resumed: the data follow byte `from`, else they begin the file. validator: the server's
     * strong ETag, else its Last-Modified, else "". total 0: the server does not say. */
    int (*begin)(void *arg, bool resumed, const char *validator, int64_t total, struct err *err);
    int (*data)(void *arg, const void *data, size_t size, struct err *err);
    void (*tick)(void *arg); /* now and then */
    void *arg;
};

/* err is filled unless HTTP_DONE: the host, and what is wrong. */
enum http_get_end http_get(const struct http_get *g, struct err *err);

#endif
