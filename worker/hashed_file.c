/* hashed_file.c: see hashed_file.h. */
#include "worker/hashed_file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "base/err.h"
#include "base/file.h"

int hashed_file_open(struct hashed_file *f, const char *dir, const char *name, struct err *err)
{
    int rc = path_format(f->path, err, "%s/%s", dir, name);
    if (rc != 0)
        return rc;
    f->fd = open(f->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (f->fd < 0)
        return err_set_errno(err, errno, "cannot make %s", f->path);
    f->bytes = 0;
    f->hash = sha256_create();
    return 0;
}

int hashed_file_write(struct hashed_file *f, const void *data, size_t size, struct err *err)
{
    sha256_update(f->hash, data, size);
    f->bytes += (int64_t)size;
    return file_write_all(f->fd, data, size, f->path, err);
}

int hashed_file_close(struct hashed_file *f, int rc, char sha256[SHA256_HEX_SIZE], struct err *err)
{
    if (rc == 0 && fsync(f->fd) != 0)
        rc = err_set_errno(err, errno, "cannot sync %s", f->path);
    if (close(f->fd) != 0 && rc == 0)
        rc = err_set_errno(err, errno, "cannot close %s", f->path);
    if (rc == 0)
        sha256_finish(f->hash, sha256);
    else
        sha256_destroy(f->hash);
    return rc;
}
