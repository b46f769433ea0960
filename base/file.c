/* file.c: see file.h. Failures carry the path and the system's reason; after a failed atomic write the temporary file
 * is gone and the old file is as it was. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/err.h"
#include "base/path.h"

int file_write_all(int fd, const void *data, size_t size, const char *path_for_errors, struct err *err)
{
    const char *at = data;
    while (size) {
        ssize_t n = write(fd, at, size);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return err_set_errno(err, errno, "cannot write %s", path_for_errors);
        }
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

/* "dir" of "dir/name", "." of "name". */
static int parent_of(const char *path, char out[PATH_SIZE], struct err *err)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return path_format(out, err, ".");
    if (slash == path)
        return path_format(out, err, "/");
    return path_format(out, err, "%.*s", (int)(slash - path), path);
}

int file_fsync_dir(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, errno, "cannot open the directory %s", path);
    int rc = 0;
    /* EINVAL: a file system that cannot sync directories has nothing to lose by it */
    if (fsync(fd) < 0 && errno != EINVAL)
        rc = err_set_errno(err, errno, "cannot sync the directory %s", path);
    close(fd);
    return rc;
}

int file_write_atomic(const char *path, const void *data, size_t size, unsigned mode, struct err *err)
{
    static atomic_uint serial;
    char temporary[PATH_SIZE], parent[PATH_SIZE];
    int rc = parent_of(path, parent, err);
    if (rc == 0)
        rc = path_format(temporary, err, "%s.tmp-%d-%u", path, (int)getpid(), atomic_fetch_add(&serial, 1));
    if (rc < 0)
        return rc;
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return err_set_errno(err, errno, "cannot create %s", temporary);
    rc = file_write_all(fd, data, size, path, err);
    if (rc == 0 && fsync(fd) < 0)
        rc = err_set_errno(err, errno, "cannot sync %s", path);
    if (close(fd) < 0 && rc == 0)
        rc = err_set_errno(err, errno, "cannot close %s", path);
    if (rc == 0 && rename(temporary, path) < 0)
        rc = err_set_errno(err, errno, "cannot rename %s to %s", temporary, path);
    if (rc < 0) {
        unlink(temporary);
        return rc;
    }
    return file_fsync_dir(parent, err);
}

int file_read_all(const char *path, size_t max_size, char **out, size_t *out_size, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, errno, "cannot open %s", path);
    int rc = file_read_fd(fd, path, max_size, out, out_size, err);
    close(fd);
    return rc;
}

int file_read_fd(int fd, const char *path, size_t max_size, char **out, size_t *out_size, struct err *err)
{
    struct stat st;
    int rc = 0;
    char *buffer = NULL;
    if (fstat(fd, &st) < 0) {
        rc = err_set_errno(err, errno, "cannot stat %s", path);
        goto done;
    }
    if (S_ISDIR(st.st_mode)) {
        rc = err_set(err, ERR_IO, "%s is a directory", path);
        goto done;
    }
    if (st.st_size > 0 && (uint64_t)st.st_size > max_size) {
        rc = err_set(err, ERR_TOO_LARGE, "%s has %lld bytes; at most %zu are read", path, (long long)st.st_size,
                     max_size);
        goto done;
    }
    /* pipes and /proc have no size: grow as the bytes come */
    size_t capacity = (st.st_size > 0 ? (size_t)st.st_size : 4096) + 2, used = 0;
    buffer = malloc(capacity);
    while (buffer) {
        ssize_t n = read(fd, buffer + used, capacity - 1 - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            rc = err_set_errno(err, errno, "cannot read %s", path);
            goto done;
        }
        if (n == 0)
            break;
        used += (size_t)n;
        if (used > max_size) {
            rc = err_set(err, ERR_TOO_LARGE, "%s has more than the %zu bytes that are read", path, max_size);
            goto done;
        }
        if (used == capacity - 1) {
            char *larger = realloc(buffer, capacity * 2);
            if (!larger) {
                free(buffer);
                buffer = NULL;
                break;
            }
            buffer = larger;
            capacity *= 2;
        }
    }
    if (!buffer) {
        rc = err_set(err, ERR_NO_MEMORY, "no memory to read %s", path);
        goto done;
    }
    buffer[used] = 0;
    *out = buffer;
    *out_size = used;
    buffer = NULL;
done:
    free(buffer);
    return rc;
}

/* The name of a new directory lasts once its parent is synced. A parent that may be searched but not read cannot be. */
static int sync_parent(const char *path, struct err *err)
{
    char parent[PATH_SIZE];
    int rc = parent_of(path, parent, err);
    return rc < 0 || access(parent, R_OK) < 0 ? rc : file_fsync_dir(parent, err);
}

int file_make_dirs(const char *path, unsigned mode, struct err *err)
{
    char partial[PATH_SIZE];
    int rc = path_format(partial, err, "%s", path);
    if (rc < 0)
        return rc;
    for (char *at = partial + 1; partial[0]; at++) {
        if (*at && *at != '/')
            continue;
        char end = *at;
        *at = 0;
        if (mkdir(partial, mode) < 0) {
            int reason = errno;
            struct stat st;
            /* EROFS and EACCES also come for directories that exist */
            if (stat(partial, &st) < 0 || !S_ISDIR(st.st_mode))
                return err_set_errno(err, reason, "cannot make the directory %s", partial);
        } else if ((rc = sync_parent(partial, err)) < 0) {
            return rc;
        }
        *at = end;
        if (!end)
            break;
    }
    return 0;
}

/* Removes what the open directory holds. Each level holds one descriptor; names are read once each. Takes fd. */
static int empty_dir(int fd, const char *path, struct err *err)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int rc = err_set_errno(err, errno, "cannot read the directory %s", path);
        close(fd);
        return rc;
    }
    int rc = 0;
    while (rc == 0) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (!entry) {
            if (errno)
                rc = err_set_errno(err, errno, "cannot read the directory %s", path);
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(dir), entry->d_name, 0) == 0 || errno == ENOENT)
            continue;
        if (errno != EISDIR && errno != EPERM) {
            rc = err_set_errno(err, errno, "cannot remove %s/%s", path, entry->d_name);
            break;
        }
        char inner[PATH_SIZE];
        rc = path_format(inner, err, "%s/%s", path, entry->d_name);
        if (rc < 0)
            break;
        int inner_fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (inner_fd < 0) {
            rc = err_set_errno(err, errno, "cannot remove %s", inner);
            break;
        }
        rc = empty_dir(inner_fd, inner, err);
        if (rc == 0 && unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
            rc = err_set_errno(err, errno, "cannot remove %s", inner);
    }
    closedir(dir);
    return rc;
}

int file_remove_tree(const char *path, struct err *err)
{
    if (unlink(path) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return err_set_errno(err, errno, "cannot remove %s", path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, errno, "cannot remove %s", path);
    int rc = empty_dir(fd, path, err);
    if (rc == 0 && rmdir(path) < 0 && errno != ENOENT)
        rc = err_set_errno(err, errno, "cannot remove %s", path);
    return rc;
}

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}
