/* shim_record.c: FAULT_RECORD=LOG, FAULT_ROOT=DIR: what was done to files below DIR goes to LOG, in the order in which
 * it was done by all processes together: each record is one write to a file opened with O_APPEND. A record is a line
 *
 *     OP OFFSET SIZE NAME_BYTES OTHER_BYTES
 *
 * followed by path, other path and data. power.py reads it. */
#undef _FILE_OFFSET_BITS
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include "shim.h"

static struct {
    int fd;
    char root[SHIM_PATH];
    size_t root_size;
} record = {.fd = -1};

__attribute__((constructor)) static void read_environment(void)
{
    const char *log = getenv("FAULT_RECORD"), *root = getenv("FAULT_ROOT");
    if (!log || !root)
        return;
    record.root_size = (size_t)snprintf(record.root, sizeof record.root, "%s", root);
    record.fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

void shim_record(const char *op, const char *path, const char *other, off_t offset, const void *data, size_t size)
{
    char head[128];
    shim_after();
    if (record.fd < 0 || strncmp(path, record.root, record.root_size) != 0)
        return;
    int saved = errno;
    size_t path_size = strlen(path), other_size = other ? strlen(other) : 0;
    int n = snprintf(head, sizeof head, "%s %lld %zu %zu %zu\n", op, (long long)offset, data ? size : 0, path_size,
                     other_size);
    struct iovec parts[] = {{head, (size_t)n},
                            {(void *)(size_t)path, path_size},
                            {(void *)(size_t)other, other_size},
                            {(void *)(size_t)data, data ? size : 0}};
    size_t whole = parts[0].iov_len + path_size + other_size + parts[3].iov_len;
    if (syscall(SYS_writev, record.fd, parts, 4) != (long)whole) {
        static const char text[] = "shim: the record could not be written\n";
        syscall(SYS_write, 2, text, sizeof text - 1);
        _exit(99);
    }
    errno = saved;
}
