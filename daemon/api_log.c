/* api_log.c: GET /v1/runs/REF/log: a page of an attempt's worker.log, straight from the run directory. */
#include "daemon/api.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "daemon/config.h"
#include "daemon/store_attempt.h"

enum { LOG_PAGE_BYTES = 256 * 1024 };

struct log_page {
    long long attempt; /* 0: the newest */
    long long offset;  /* negative: that many bytes before the end */
};

/* The bytes of path from offset on, at most a page; *end says that nothing follows. An attempt that has not begun its
 * log gives an empty page. */
static int read_page(const char *path, long long *offset, char **out, size_t *size, bool *end, struct err *err)
{
    struct stat st;
    int rc = 0;
    char *data;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno != ENOENT)
        return err_set_errno(err, errno, "%s", path);
    if (fd < 0 || fstat(fd, &st) != 0)
        st.st_size = 0;
    if (*offset > st.st_size) /* it was shortened */
        *offset = 0;
    if (*offset < 0)
        *offset = st.st_size + *offset > 0 ? st.st_size + *offset : 0;

    size_t want = *offset < st.st_size ? (size_t)(st.st_size - *offset) : 0;
    *end = want <= LOG_PAGE_BYTES;
    if (want > LOG_PAGE_BYTES)
        want = LOG_PAGE_BYTES;
    data = malloc(want + 1);
    if (data == NULL)
        rc = err_set(err, ERR_NO_MEMORY, "out of memory");
    size_t have = 0;
    while (rc == 0 && have < want) {
        ssize_t n = pread(fd, data + have, want - have, (off_t)*offset + (off_t)have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = err_set_errno(err, errno, "%s", path);
        if (n <= 0)
            break;
        have += (size_t)n;
    }
    if (fd >= 0)
        close(fd);
    if (rc != 0) {
        free(data);
        return rc;
    }
    *out = data;
    *size = have;
    return 0;
}

static int run_log(struct store_conn *c, struct api_call *call, struct err *err)
{
    struct log_page *page = call->arg;
    struct store_run run;
    struct jsonw *w = &call->out;
    char path[PATH_SIZE], id_text[STORE_ID_SIZE], *text = NULL;
    size_t size = 0;
    bool end = true;
    int64_t id;
    int rc = store_resolve(c, call->ref, &id, err);
    if (rc == 0)
        rc = store_run_get(c, id, &run, err);
    if (rc != 0)
        return rc;
    int64_t attempts = run.attempts;
    store_run_finish(&run);
    store_id_text(id, id_text);

    if (page->attempt > attempts)
        return err_set_at(err, ERR_NOT_FOUND, "attempt", "%s has %lld attempt%s", id_text, (long long)attempts,
                          attempts == 1 ? "" : "s");
    if (page->attempt == 0)
        page->attempt = attempts;
    if (page->attempt > 0) {
        rc = path_format(path, err, "%s/runs/%s/attempts/%lld/worker.log", call->bakad->config->home, id_text,
                         page->attempt);
        if (rc == 0)
            rc = read_page(path, &page->offset, &text, &size, &end, err);
        if (rc != 0)
            return rc;
    } else {
        page->offset = 0;
    }

    jsonw_begin_object(w, NULL);
    jsonw_int(w, "attempt", page->attempt);
    jsonw_int(w, "offset", page->offset);
    jsonw_int(w, "next", page->offset + (long long)size);
    jsonw_bytes(w, "text", text == NULL ? "" : text, size);
    jsonw_bool(w, "end", end);
    jsonw_end_object(w);
    free(text);
    return 0;
}

static void handle_log(struct bakad *b, struct http_request *r)
{
    struct log_page page = {0};
    struct err err;
    if (http_request_query_int(r, "attempt", 1, INT32_MAX, &page.attempt, &err) != 0 ||
        http_request_query_int(r, "offset", INT64_MIN / 2, INT64_MAX / 2, &page.offset, &err) != 0) {
        http_reply_error(r, &err);
        return;
    }
    struct api_call *call = api_call_create(b, r, &page, sizeof page);
    if (call == NULL)
        return;
    call->run = run_log;
    api_call_read(call);
}

const struct http_route api_log_routes[] = {
    {.method = "GET", .path = "/v1/runs/@/log", .query = "attempt offset", .handle = handle_log},
    {.method = NULL},
};
