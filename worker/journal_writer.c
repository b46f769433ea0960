/* journal_writer.c: see journal_writer.h. Space is asked for in advance (fallocate beyond the file's end, and the
 * process's file size limit is looked at), so that a full disk is met while there is still room to say so. File systems
 * without fallocate lose only that: their `end` record is tried all the same. */
#include "worker/journal_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/err.h"

/* An `end` record always fits in END_ROOM; space is reserved AHEAD bytes at a time. */
enum { END_ROOM = JOURNAL_LINE_MAX, AHEAD = 256 << 10 };

struct journal_writer {
    int fd;
    int64_t size;     /* whole records */
    int64_t reserved; /* bytes from the file's start that are known to be ours */
    int64_t limit;    /* RLIMIT_FSIZE */
    bool failed;
};

int journal_writer_open(const char *path, struct journal_writer **out, struct err *err)
{
    struct journal_writer *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(err, ERR_NO_MEMORY, "no memory for the journal");
    w->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
    if (w->fd < 0) {
        int e = errno;
        free(w);
        if (e == EEXIST)
            return err_set_at(err, ERR_CONFLICT, path, "there is a journal already: an attempt is never run twice");
        return err_set_errno(err, e, "cannot make %s", path);
    }
    struct rlimit limit;
    w->limit = INT64_MAX;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        w->limit = (int64_t)limit.rlim_cur;
    *out = w;
    return 0;
}

/* Allocation is not restarted after a signal by every file system. */
static int allocate(int fd, int64_t size)
{
    int rc;
    do
        rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size);
    while (rc != 0 && errno == EINTR);
    return rc;
}

/* Sees to it that `size` bytes and an `end` record fit after the last record. */
static int reserve(struct journal_writer *w, size_t size, struct err *err)
{
    int64_t need = w->size + (int64_t)size + END_ROOM;
    if (need > w->limit)
        return err_set_errno(err, EFBIG, "the journal has reached the file size limit");
    if (need <= w->reserved)
        return 0;
    int64_t ahead = need + AHEAD;
    if (allocate(w->fd, ahead) == 0)
        w->reserved = ahead;
    else if (errno == EOPNOTSUPP || errno == ENOSYS)
        w->reserved = INT64_MAX;
    else if (allocate(w->fd, need) == 0)
        w->reserved = need;
    else
        return err_set_errno(err, errno, "no room for the journal");
    return 0;
}

int journal_writer_append(struct journal_writer *w, const struct journal_record *r, struct err *err)
{
    if (w->failed && r->kind != JOURNAL_END)
        return err_set(err, ERR_NO_SPACE, "the journal ended after a failed write");
    char line[JOURNAL_LINE_MAX];
    size_t size = journal_print(r, line);
    int rc = r->kind == JOURNAL_END ? 0 : reserve(w, size, err);
    if (rc != 0) {
        w->failed = true;
        return rc;
    }
    ssize_t n;
    do
        n = write(w->fd, line, size);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)size) {
        w->size += n;
        return 0;
    }
    int e = n < 0 ? errno : ENOSPC;
    w->failed = true;
    if (ftruncate(w->fd, w->size) != 0)
        return err_set_errno(err, errno, "a journal record was cut short and could not be taken back");
    return err_set_errno(err, e, "cannot write the journal");
}

int journal_writer_sync(struct journal_writer *w, struct err *err)
{
    if (fdatasync(w->fd) != 0)
        return err_set_errno(err, errno, "cannot sync the journal");
    return 0;
}

void journal_writer_close(struct journal_writer *w)
{
    if (!w)
        return;
    /* Gives the space back that was set aside; failing to is harmless. */
    if (ftruncate(w->fd, w->size) != 0)
        errno = 0;
    close(w->fd);
    free(w);
}
