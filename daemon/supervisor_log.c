/* supervisor_log.c: worker.log does not grow beyond bound. The worker writes to the end of a file that it has open, so
 * the file cannot be renamed away: its newest half is copied to worker.log.1, then it is made empty. What is written in
 * between is lost; the limit is for workers that write the same for ever. */
#include "daemon/supervisor_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/config.h"

struct rotation {
    uv_work_t work;
    struct bakad *bakad;
    int64_t run, attempt, limit;
    char path[PATH_SIZE], old[PATH_SIZE], temporary[PATH_SIZE];
};

static int copy_tail(const struct rotation *r, int from, off_t size, struct err *err)
{
    off_t at = size > r->limit / 2 ? size - r->limit / 2 : 0;
    int to = open(r->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (to < 0)
        return err_set_errno(err, errno, "cannot make %s", r->temporary);
    while (at < size) {
        ssize_t n = copy_file_range(from, &at, to, NULL, (size_t)(size - at), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
    }
    int rc = at < size ? err_set_errno(err, errno, "cannot copy to %s", r->temporary) : 0;
    close(to);
    if (rc == 0 && rename(r->temporary, r->old) != 0)
        rc = err_set_errno(err, errno, "cannot rename %s", r->temporary);
    if (rc != 0)
        (void)unlink(r->temporary);
    return rc;
}

static void on_rotate(uv_work_t *work)
{
    struct rotation *r = work->data;
    struct err err = {0};
    struct stat st;
    int fd = open(r->path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size <= r->limit) {
        if (fd >= 0)
            close(fd);
        return;
    }
    /* made empty in any case: where there is no room for the copy it is needed most */
    int rc = copy_tail(r, fd, st.st_size, &err);
    if (ftruncate(fd, 0) != 0)
        rc = err_set_errno(&err, errno, "cannot shorten %s", r->path);
    dprintf(fd, "bakad: this log had %lld bytes; %s\n", (long long)st.st_size,
            rc == 0 ? "the newest of them are in worker.log.1" : "they could not be kept");
    close(fd);
    log_event(LOG_LEVEL_WARN, "log_shortened", "file=%s bytes=%lld error=\"%s\"", r->path, (long long)st.st_size,
              err.message);
}

static void on_rotated(uv_work_t *work, int status)
{
    struct rotation *r = work->data;
    struct bakad *b = r->bakad;
    (void)status;
    for (struct supervised *a = b->stopping ? NULL : b->supervisor->active; a != NULL; a = a->next)
        if (a->run == r->run && a->attempt == r->attempt)
            a->shortens_log = false;
    free(r);
    bakad_leave(b);
}

void log_limit(struct supervised *a)
{
    struct bakad *b = a->supervisor->bakad;
    struct stat st;
    char path[PATH_SIZE];
    int64_t limit = (int64_t)b->config->worker_log_mib << 20;
    if (a->shortens_log || path_format(path, NULL, "%s/worker.log", a->attempt_dir) != 0 || stat(path, &st) != 0 ||
        st.st_size <= limit)
        return;
    struct rotation *r = calloc(1, sizeof *r);
    if (r == NULL)
        return; /* the next look asks again */
    *r = (struct rotation){.bakad = b, .run = a->run, .attempt = a->attempt, .limit = limit};
    r->work.data = r;
    memcpy(r->path, path, sizeof path);
    if (path_format(r->old, NULL, "%s.1", path) != 0 || path_format(r->temporary, NULL, "%s.1.tmp", path) != 0) {
        free(r);
        return;
    }
    a->shortens_log = true;
    bakad_enter(b);
    uv_queue_work(b->loop, &r->work, on_rotate, on_rotated);
}
