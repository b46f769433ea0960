/* download.c: see download.h. */
#include "cli/download.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/path.h"
#include "base/sha256.h"
#include "cli/http_get.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"

enum { URL_SIZE = 2048, STATE_MAX_BYTES = 16384, HASH_BUFFER_BYTES = 1 << 20, BACKOFF_MAX_S = 60, REASONS_SIZE = 480 };

struct part {
    char path[PATH_SIZE], state_path[PATH_SIZE], bad_path[PATH_SIZE], dir[PATH_SIZE];
    int fd;
    int64_t size, total; /* total 0: not known */
    char url[URL_SIZE], validator[HTTP_VALIDATOR_SIZE];
};

struct job {
    const struct download *d;
    const char *url; /* being tried */
    struct part part;
    struct progress *progress;
    int64_t received, start_us;
};

static int set_paths(struct part *p, const char *path, struct err *err)
{
    int rc = path_format(p->path, err, "%s.part", path);
    if (!rc)
        rc = path_format(p->state_path, err, "%s.part.json", path);
    if (!rc)
        rc = path_format(p->bad_path, err, "%s.bad", path);
    if (!rc)
        rc = path_format(p->dir, err, "%.*s", (int)(strrchr(path, '/') - path), path);
    return rc;
}

static bool copy_text(const cJSON *state, const char *key, char *out, size_t size)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(state, key));
    if (!text || strlen(text) >= size)
        return false;
    memcpy(out, text, strlen(text) + 1);
    return true;
}

/* Of what the part's bytes are. False: not known, or of another file than the one wanted. */
static bool read_state(struct part *p, const struct download *d)
{
    static const struct json_limits limits = {.max_bytes = STATE_MAX_BYTES, .max_depth = 4};
    char *text, sha256[SHA256_HEX_SIZE];
    size_t size;
    cJSON *state;
    if (file_read_all(p->state_path, STATE_MAX_BYTES, &text, &size, NULL))
        return false;
    int rc = json_parse(text, size, &limits, p->state_path, &state, NULL);
    free(text);
    if (rc)
        return false;
    bool known = copy_text(state, "sha256", sha256, sizeof sha256) && strcmp(sha256, d->sha256) == 0 &&
                 copy_text(state, "url", p->url, sizeof p->url) &&
                 copy_text(state, "validator", p->validator, sizeof p->validator) &&
                 json_read_int64(cJSON_GetObjectItemCaseSensitive(state, "bytes"), &p->total) && p->total >= 0;
    cJSON_Delete(state);
    return known;
}

static int write_state(const struct part *p, const struct download *d, struct err *err)
{
    cJSON *state = cJSON_CreateObject();
    cJSON_AddStringToObject(state, "url", p->url);
    cJSON_AddStringToObject(state, "validator", p->validator);
    json_add_int64(state, "bytes", p->total);
    cJSON_AddStringToObject(state, "sha256", d->sha256);
    char *text = json_canonical(state);
    cJSON_Delete(state);
    int rc = file_write_atomic(p->state_path, text, strlen(text), 0600, err);
    free(text);
    return rc;
}

/* Of the file when it is all there; 0: not known. */
static int64_t whole_bytes(const struct download *d, const struct part *p)
{
    return d->bytes ? d->bytes : p->total;
}

/* From the first byte again. */
static int part_empty(struct part *p, struct err *err)
{
    p->size = p->total = 0;
    *p->url = *p->validator = '\0';
    if (ftruncate(p->fd, 0) != 0 || lseek(p->fd, 0, SEEK_SET) != 0)
        return err_set_errno(err, errno, "cannot write %s", p->path);
    return 0;
}

static int part_open(struct part *p, const struct download *d, struct err *err)
{
    struct stat st;
    p->fd = open(p->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
    if (p->fd < 0 || fstat(p->fd, &st) != 0)
        return err_set_errno(err, errno, "cannot open %s", p->path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is no regular file", p->path);
    p->size = st.st_size;
    if (p->size == 0 || !read_state(p, d) || (whole_bytes(d, p) && p->size > whole_bytes(d, p)))
        return part_empty(p, err);
    if (lseek(p->fd, 0, SEEK_END) < 0)
        return err_set_errno(err, errno, "cannot read %s", p->path);
    return 0;
}

/* By what this call received: what an earlier one did took none of its time. */
static double eta_s(const struct job *j, int64_t whole)
{
    double elapsed_s = (double)(clock_monotonic_us() - j->start_us) / 1e6;
    bool early = elapsed_s < 0.5 || j->received == 0;
    return early ? (double)NAN : elapsed_s * (double)(whole - j->part.size) / (double)j->received;
}

static void show(struct job *j, const char *what)
{
    const struct part *p = &j->part;
    char have[32], all[32];
    int64_t whole = whole_bytes(j->d, p);
    output_format_bytes((double)p->size, have);
    output_format_bytes((double)whole, all);
    if (whole)
        progress_update_eta(j->progress, (double)p->size / (double)whole, eta_s(j, whole), "%s of %s%s", have, all,
                            what);
    else
        progress_update(j->progress, (double)NAN, "%s%s", have, what);
}

static int on_begin(void *arg, bool resumed, const char *validator, int64_t total, struct err *err)
{
    struct job *j = arg;
    struct part *p = &j->part;
    int rc = resumed ? 0 : part_empty(p, err);
    if (rc)
        return rc;
    if (total)
        p->total = total;
    snprintf(p->url, sizeof p->url, "%s", j->url);
    snprintf(p->validator, sizeof p->validator, "%s", validator);
    return write_state(p, j->d, err);
}

static int on_data(void *arg, const void *data, size_t size, struct err *err)
{
    struct job *j = arg;
    int rc = file_write_all(j->part.fd, data, size, j->part.path, err);
    if (rc)
        return rc;
    j->part.size += (int64_t)size;
    j->received += (int64_t)size;
    return 0;
}

static void on_tick(void *arg)
{
    show(arg, "");
}

/* Hashes a file from the beginning; leaves the descriptor's position. */
static int hash_file(struct job *j, int fd, const char *path, char hex[SHA256_HEX_SIZE], int64_t *bytes,
                     struct err *err)
{
    unsigned char *buffer = malloc(HASH_BUFFER_BYTES);
    struct sha256 *s = sha256_create();
    int rc = 0;
    if (!buffer)
        abort();
    for (*bytes = 0; !rc;) {
        ssize_t n = pread(fd, buffer, HASH_BUFFER_BYTES, *bytes);
        if (interrupt_caught())
            rc = err_set(err, ERR_IO, "interrupted");
        else if (n < 0 && errno != EINTR)
            rc = err_set_errno(err, errno, "cannot read %s", path);
        else if (n == 0)
            break;
        else if (n > 0) {
            sha256_update(s, buffer, (size_t)n);
            *bytes += n;
        }
        progress_update(j->progress, (double)NAN, "checking the SHA-256");
    }
    free(buffer);
    if (rc)
        sha256_destroy(s);
    else
        sha256_finish(s, hex);
    return rc;
}

/* ERR_DAMAGED: it is another file, and is called PATH.bad now. */
static int verify(struct job *j, int fd, const char *path, int64_t *bytes, struct err *err)
{
    char hex[SHA256_HEX_SIZE];
    int rc = hash_file(j, fd, path, hex, bytes, err);
    if (rc || strcmp(hex, j->d->sha256) == 0)
        return rc;
    if (rename(path, j->part.bad_path) != 0)
        return err_set_errno(err, errno, "cannot rename %s", path);
    return err_set(err, ERR_DAMAGED, "its SHA-256 is %s, %s is expected; it is kept as %s", hex, j->d->sha256,
                   j->part.bad_path);
}

/* The part is whole, says the server: under its name if it is what was wanted. */
static int publish(struct job *j, struct err *err)
{
    struct part *p = &j->part;
    int64_t bytes;
    struct err why = {0};
    int rc = fsync(p->fd) == 0 ? verify(j, p->fd, p->path, &bytes, &why)
                               : err_set_errno(&why, errno, "cannot sync %s", p->path);
    if (rc == -ERR_DAMAGED)
        return err_set(err, ERR_DAMAGED, "what came is another file: %s", why.message);
    if (!rc && rename(p->path, j->d->path) != 0)
        rc = err_set_errno(&why, errno, "cannot rename %s", p->path);
    if (!rc)
        rc = file_fsync_dir(p->dir, &why);
    if (rc) {
        *err = why;
        return rc;
    }
    (void)unlink(p->state_path);
    return 0;
}

static void wait_s(struct job *j, int seconds)
{
    for (int left = 10 * seconds; left > 0 && !interrupt_caught(); left--) {
        char text[64];
        snprintf(text, sizeof text, ", the connection broke, again in %d s", (left + 9) / 10);
        show(j, text);
        (void)nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
}

static enum http_get_end get(struct job *j, struct err *err)
{
    const struct download *d = j->d;
    const struct part *p = &j->part;
    /* What another address said of its file is no condition for this one: there the length and the SHA-256 decide. */
    bool same = strcmp(p->url, j->url) == 0;
    const struct http_get g = {
        .url = j->url,
        .from = p->size,
        .bytes = d->bytes,
        .from_bytes = p->total,
        .max_bytes = d->max_bytes,
        .validator = same ? p->validator : "",
        .timeout_s = d->timeout_s,
        .begin = on_begin,
        .data = on_data,
        .tick = on_tick,
        .arg = j,
    };
    return p->size > 0 && p->size == whole_bytes(d, p) ? HTTP_DONE : http_get(&g, err);
}

/* One address until it has given all, or is given up: then *next says whether another one may do better. */
static int from_url(struct job *j, bool *next, struct err *err)
{
    struct part *p = &j->part;
    int64_t most = p->size;
    bool came = false, anew = false;
    for (int tries = 0;;) {
        int64_t before = j->received;
        enum http_get_end end = get(j, err);
        came |= j->received > before;
        *next = end != HTTP_FAILED;
        if (p->size > most) {
            most = p->size;
            tries = 0;
        }
        switch (end) {
        case HTTP_DONE:
            *next = true;
            return publish(j, err);
        case HTTP_CHANGED:
            if (anew)
                return -(int)err->code;
            anew = true;
            if (part_empty(p, err)) {
                *next = false;
                return -(int)err->code;
            }
            continue;
        case HTTP_AGAIN:
            break;
        case HTTP_UNREACHABLE:
            if (!came)
                return -(int)err->code;
            break;
        case HTTP_REFUSED:
        case HTTP_FAILED:
            return -(int)err->code;
        }
        if (tries >= j->d->retries)
            return -(int)err->code;
        wait_s(j, tries > 5 ? BACKOFF_MAX_S : 1 << tries);
        tries++;
    }
}

/* Is there PATH already, from an earlier call or put there by hand? */
static int take_present(struct job *j, bool *present, int64_t *bytes, struct err *err)
{
    const char *path = j->d->path;
    struct err why;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), rc = 0;
    *present = false;
    if (fd < 0)
        return errno == ENOENT ? 0 : err_set_errno(err, errno, "%s", path);
    rc = verify(j, fd, path, bytes, &why);
    close(fd);
    if (rc == -ERR_DAMAGED)
        return err_set(err, ERR_DAMAGED, "%s: %s; the same command again downloads it", path, why.message);
    if (rc)
        *err = why;
    *present = !rc;
    return rc;
}

static int all_failed(const struct download *d, const char *reasons, enum err_code code, struct err *err)
{
    if (code == ERR_DAMAGED) /* the network is not what is missing */
        return err_set(err, code, "cannot download %s: %s", d->name, reasons);
    return err_set(err, code,
                   "cannot download %s: %s. Without a network get %s by another way, put it at %s and type the same "
                   "command: it is checked and used",
                   d->name, reasons, d->urls[0], d->path);
}

static int from_any(struct job *j, struct download_result *out, struct err *err)
{
    const struct download *d = j->d;
    char reasons[REASONS_SIZE] = "";
    enum err_code code = ERR_OK;
    for (const char *const *url = d->urls; *url; url++) {
        bool next;
        struct err why = {0};
        j->url = *url;
        int rc = part_open(&j->part, d, err);
        if (rc)
            return rc;
        rc = from_url(j, &next, &why);
        close(j->part.fd);
        j->part.fd = -1;
        if (!rc) {
            *out = (struct download_result){*url, j->part.size, j->received};
            return 0;
        }
        if (!next) {
            *err = why;
            return rc;
        }
        size_t used = strlen(reasons);
        snprintf(reasons + used, sizeof reasons - used, "%s%.380s", used ? "; " : "", why.message);
        code = code ? code : why.code; /* the first address is the one that is meant */
    }
    return all_failed(d, reasons, code, err);
}

int download_run(const struct download *d, struct download_result *out, struct err *err)
{
    struct job *j = calloc(1, sizeof *j);
    if (!j)
        abort();
    j->d = d;
    j->part.fd = -1;
    j->start_us = clock_monotonic_us();
    j->progress = progress_create(d->name);
    bool present = false;
    int64_t bytes = 0;
    int rc = set_paths(&j->part, d->path, err);
    if (!rc)
        rc = take_present(j, &present, &bytes, err);
    if (!rc && present)
        *out = (struct download_result){NULL, bytes, 0};
    else if (!rc)
        rc = from_any(j, out, err);
    if (rc && interrupt_caught() && j->part.size > 0) {
        char have[32];
        output_format_bytes((double)j->part.size, have);
        rc = err_set(err, ERR_IO, "interrupted; %s of %s are kept, the same command goes on from there", have, d->name);
    }
    if (j->part.fd >= 0)
        close(j->part.fd);
    progress_destroy(j->progress);
    free(j);
    return rc;
}
