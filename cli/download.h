/* download.h: a file from the network, whole and of the expected SHA-256, or not at all under its name.
 *
 * PATH is the file; while it comes, PATH.part has its first bytes and PATH.part.json says of what, so that the next
 * call goes on where this one was interrupted or killed, if the server has still the same file (If-Range by its ETag or
 * date, and the total length); otherwise from the beginning. A file of another SHA-256 is kept as PATH.bad and never
 * used. The caller sees to it that nobody else works on PATH.
 *
 * Failures: no network, no such file there, a stalled or broken connection (tried again after 1, 2, 4, ... s as long as
 * bytes come in between), a wrong length or SHA-256 (each of these: the next address is tried); a full disk, a signal.
 */
#ifndef BAKA_CLI_DOWNLOAD_H
#define BAKA_CLI_DOWNLOAD_H

#include <stdint.h>

struct err;

struct download {
    const char *name, *path;
    const char *const *urls; /* tried in this order; ends with NULL */
    const char *sha256;
    int64_t bytes;     /* 0: not known */
    int64_t max_bytes; /* where they are not known */
    int retries;       /* in a row without a new byte */
    int timeout_s;     /* without a byte */
};

struct download_result {
    const char *url; /* that gave it; NULL: it was there */
    int64_t bytes, received /* by this call */;
};

/* Signals must be caught (interrupt.h). An error of ERR_IO after a signal says how much is kept. */
int download_run(const struct download *d, struct download_result *out, struct err *err);

#endif
