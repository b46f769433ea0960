/* mapped_file.c: see mapped_file.h. */
#include "worker/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/err.h"

int mapped_file_open(struct mapped_file *f, const char *path, const char *what, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, errno, "cannot open %s", what);
    struct stat st;
    int rc = 0;
    if (fstat(fd, &st) != 0)
        rc = err_set_errno(err, errno, "cannot stat %s", what);
    else if (!S_ISREG(st.st_mode))
        rc = err_set(err, ERR_INVALID, "%s is no regular file", what);
    else if (st.st_size < 1)
        rc = err_set(err, ERR_DAMAGED, "%s is empty", what);
    if (rc == 0) {
        void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
        if (map == MAP_FAILED)
            rc = err_set_errno(err, errno, "cannot map %s", what);
        else
            *f = (struct mapped_file){map, (size_t)st.st_size};
    }
    close(fd);
    return rc;
}

void mapped_file_close(struct mapped_file *f)
{
    if (f->bytes)
        munmap(f->bytes, f->size);
    *f = (struct mapped_file){0};
}
