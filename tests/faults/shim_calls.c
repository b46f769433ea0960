/* shim_calls.c: the calls themselves, see shim.h. Each asks shim_fault first and tells shim_record afterwards. The
 * descriptors' paths are /proc's. */
#undef _FILE_OFFSET_BITS
#define _LARGEFILE64_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include "shim.h"

static void path_of_fd(int fd, char out[SHIM_PATH])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlink, link, out, SHIM_PATH - 1);
    out[n > 0 ? n : 0] = '\0';
}

static void resolve(int dir, const char *path, char out[SHIM_PATH])
{
    char base[SHIM_PATH];
    if (path[0] == '/') {
        snprintf(out, SHIM_PATH, "%s", path);
        return;
    }
    if (dir == AT_FDCWD)
        base[syscall(SYS_getcwd, base, sizeof base) > 0 ? strlen(base) : 0] = '\0';
    else
        path_of_fd(dir, base);
    if (snprintf(out, SHIM_PATH, "%s/%s", base, path) >= SHIM_PATH)
        out[0] = '\0';
}

static bool fails(enum shim_op op, const char *path)
{
    int error = shim_fault(op, path);
    if (error == 0)
        return false;
    errno = error == SHIM_SHORT ? EIO : error;
    return true;
}

/* --- open -------------------------------------------------------------------------------------------------------- */

static int do_open(int dir, const char *name, int flags, mode_t mode)
{
    char path[SHIM_PATH];
    bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT) != 0;
    if (!writes)
        return (int)syscall(SYS_openat, dir, name, flags, mode);
    resolve(dir, name, path);
    if (fails(SHIM_OPEN, path))
        return -1;
    bool there = syscall(SYS_faccessat, dir, name, F_OK) == 0;
    int fd = (int)syscall(SYS_openat, dir, name, flags, mode);
    if (fd >= 0 && !there)
        shim_record("create", path, NULL, 0, NULL, 0);
    else if (fd >= 0 && (flags & O_TRUNC))
        shim_record("truncate", path, NULL, 0, NULL, 0);
    else
        shim_after();
    return fd;
}

#define MODE_OF(flags)                                                                                                 \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                                           \
        va_list ap;                                                                                                    \
        va_start(ap, flags);                                                                                           \
        mode = va_arg(ap, mode_t);                                                                                     \
        va_end(ap);                                                                                                    \
    }

int open(const char *path, int flags, ...)
{
    MODE_OF(flags)
    return do_open(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE_OF(flags)
    return do_open(AT_FDCWD, path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
    MODE_OF(flags)
    return do_open(dir, path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...)
{
    MODE_OF(flags)
    return do_open(dir, path, flags, mode);
}

/* --- reading and writing ----------------------------------------------------------------------------------------- */

static bool is_file(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* offset < 0: where the descriptor stands, or the end of a file opened to be appended to. */
static ssize_t do_write(int fd, const void *data, size_t size, off_t offset)
{
    char path[SHIM_PATH];
    bool at_place = offset >= 0;
    if (!is_file(fd))
        return at_place ? syscall(SYS_pwrite64, fd, data, size, offset) : syscall(SYS_write, fd, data, size);
    path_of_fd(fd, path);
    int error = shim_fault(SHIM_WRITE, path);
    if (error > 0) {
        errno = error;
        return -1;
    }
    if (error == SHIM_SHORT && size > 1)
        size /= 2;
    ssize_t n = at_place ? syscall(SYS_pwrite64, fd, data, size, offset) : syscall(SYS_write, fd, data, size);
    if (n > 0 && !at_place)
        offset = syscall(SYS_lseek, fd, 0, SEEK_CUR) - n;
    if (n > 0)
        shim_record("write", path, NULL, offset, data, (size_t)n);
    return n;
}

ssize_t write(int fd, const void *data, size_t size)
{
    return do_write(fd, data, size, -1);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    return do_write(fd, data, size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    return do_write(fd, data, size, offset);
}

static bool read_fails(int fd)
{
    char path[SHIM_PATH];
    if (!is_file(fd))
        return false;
    path_of_fd(fd, path);
    return fails(SHIM_READ, path);
}

ssize_t read(int fd, void *data, size_t size)
{
    return read_fails(fd) ? -1 : syscall(SYS_read, fd, data, size);
}

ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
    return read_fails(fd) ? -1 : syscall(SYS_pread64, fd, data, size, offset);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t offset)
{
    return read_fails(fd) ? -1 : syscall(SYS_pread64, fd, data, size, offset);
}

/* --- what makes them last, and their sizes ----------------------------------------------------------------------- */

static int do_sync(long number, int fd)
{
    char path[SHIM_PATH];
    path_of_fd(fd, path);
    if (fails(SHIM_SYNC, path))
        return -1;
    int rc = (int)syscall(number, fd);
    if (rc == 0)
        shim_record("sync", path, NULL, 0, NULL, 0);
    return rc;
}

int fsync(int fd)
{
    return do_sync(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return do_sync(SYS_fdatasync, fd);
}

int ftruncate(int fd, off_t size)
{
    char path[SHIM_PATH];
    path_of_fd(fd, path);
    if (fails(SHIM_TRUNCATE, path))
        return -1;
    int rc = (int)syscall(SYS_ftruncate, fd, size);
    if (rc == 0)
        shim_record("truncate", path, NULL, size, NULL, 0);
    return rc;
}

int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

int fallocate(int fd, int mode, off_t offset, off_t size)
{
    char path[SHIM_PATH];
    path_of_fd(fd, path);
    return fails(SHIM_ALLOCATE, path) ? -1 : (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t size)
{
    return fallocate(fd, mode, offset, size);
}

/* --- names ------------------------------------------------------------------------------------------------------- */

int rename(const char *from, const char *to)
{
    char path[SHIM_PATH], other[SHIM_PATH];
    resolve(AT_FDCWD, from, path);
    resolve(AT_FDCWD, to, other);
    if (fails(SHIM_RENAME, path))
        return -1;
    int rc = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (rc == 0)
        shim_record("rename", path, other, 0, NULL, 0);
    return rc;
}

int mkdir(const char *name, mode_t mode)
{
    char path[SHIM_PATH];
    resolve(AT_FDCWD, name, path);
    if (fails(SHIM_MKDIR, path))
        return -1;
    int rc = (int)syscall(SYS_mkdirat, AT_FDCWD, name, mode);
    if (rc == 0)
        shim_record("mkdir", path, NULL, 0, NULL, 0);
    return rc;
}

int unlinkat(int dir, const char *name, int flags)
{
    char path[SHIM_PATH];
    resolve(dir, name, path);
    if (fails(SHIM_REMOVE, path))
        return -1;
    int rc = (int)syscall(SYS_unlinkat, dir, name, flags);
    if (rc == 0)
        shim_record("remove", path, NULL, 0, NULL, 0);
    return rc;
}

int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}

int rmdir(const char *name)
{
    return unlinkat(AT_FDCWD, name, AT_REMOVEDIR);
}

/* --- other processes --------------------------------------------------------------------------------------------- */

pid_t fork(void)
{
    char path[SHIM_PATH];
    pid_t (*real)(void);
    long n = syscall(SYS_readlink, "/proc/self/exe", path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    *(void **)&real = dlsym(RTLD_NEXT, "fork"); /* the C library has its own state to see to */
    if (fails(SHIM_SPAWN, path))
        return -1;
    pid_t child = real();
    if (child > 0)
        shim_after();
    return child;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    char path[SHIM_PATH];
    path_of_fd(fd, path);
    if (fails(SHIM_REPLY, path))
        return -1;
    ssize_t n = syscall(SYS_sendmsg, fd, message, flags);
    shim_after();
    return n;
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    struct iovec part = {(void *)(size_t)data, size};
    return sendmsg(fd, &(struct msghdr){.msg_iov = &part, .msg_iovlen = 1}, flags);
}
