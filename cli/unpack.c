/* unpack.c: see unpack.h. */
#include "cli/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#include "base/err.h"
#include "base/file.h"
#include "base/path.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"

enum { BUFFER_BYTES = 1 << 18 };

struct unpacking {
    zip_t *zip;
    const char *archive, *dir;
    struct progress *progress;
    int64_t done, total;
};

static int damaged(const struct unpacking *u, const char *member, const char *problem, struct err *err)
{
    return err_set(err, ERR_DAMAGED, "%.300s: \"%.200s\" %s", u->archive, member, problem);
}

/* A back-slash parts folders where Windows unpacks. */
static bool leads_out(const char *name)
{
    if (*name == '/' || *name == '\\' || (*name && name[1] == ':'))
        return true;
    for (const char *part = name; part; part = strpbrk(part, "/\\")) {
        part += *part == '/' || *part == '\\';
        size_t n = strcspn(part, "/\\");
        if (n == 2 && memcmp(part, "..", 2) == 0)
            return true;
    }
    return false;
}

static int check_names(const struct unpacking *u, struct err *err)
{
    zip_int64_t n = zip_get_num_entries(u->zip, 0);
    for (zip_int64_t i = 0; i < n; i++) {
        const char *name = zip_get_name(u->zip, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        if (!name || leads_out(name))
            return damaged(u, name ? name : "", "leads out of the archive's folder: nothing was unpacked", err);
    }
    return 0;
}

/* The member's index and size. */
static int find(const struct unpacking *u, const char *member, zip_uint64_t *index, int64_t *size, struct err *err)
{
    zip_stat_t st;
    zip_uint8_t system = 0;
    zip_uint32_t attributes = 0;
    zip_int64_t found = zip_name_locate(u->zip, member, ZIP_FL_ENC_RAW);
    if (found < 0)
        return damaged(u, member, "is not in the archive", err);
    *index = (zip_uint64_t)found;
    zip_stat_init(&st);
    if (zip_stat_index(u->zip, *index, 0, &st) != 0 || !(st.valid & ZIP_STAT_SIZE) || st.size > INT64_MAX)
        return damaged(u, member, "has no size", err);
    if ((st.valid & ZIP_STAT_ENCRYPTION_METHOD) && st.encryption_method != ZIP_EM_NONE)
        return damaged(u, member, "is encrypted", err);
    (void)zip_file_get_external_attributes(u->zip, *index, 0, &system, &attributes);
    if (system == ZIP_OPSYS_UNIX && attributes >> 16 && S_ISLNK(attributes >> 16))
        return damaged(u, member, "is a link", err);
    *size = (int64_t)st.size;
    return 0;
}

static int copy(struct unpacking *u, const char *member, zip_file_t *from, int64_t size, int fd, const char *path,
                struct err *err)
{
    char *buffer = malloc(BUFFER_BYTES);
    int rc = 0;
    if (!buffer)
        abort();
    for (int64_t at = 0; !rc;) {
        zip_int64_t n = zip_fread(from, buffer, BUFFER_BYTES);
        if (interrupt_caught())
            rc = err_set(err, ERR_IO, "interrupted while unpacking; the same command begins it anew");
        else if (n < 0)
            rc = damaged(u, member, zip_file_strerror(from), err);
        else if (n > size - at || (n == 0 && at < size))
            rc = damaged(u, member, "has another size than the archive says", err);
        else if (n == 0)
            break;
        else
            rc = file_write_all(fd, buffer, (size_t)n, path, err);
        at += n > 0 ? n : 0;
        u->done += n > 0 ? n : 0;
        char text[32];
        output_format_bytes((double)u->done, text);
        progress_update(u->progress, (double)u->done / (double)(u->total ? u->total : 1), "%s unpacked", text);
    }
    free(buffer);
    return rc;
}

/* To `path`, which is not yet its place. */
static int write_member(struct unpacking *u, const char *member, const char *path, struct err *err)
{
    zip_uint64_t index;
    int64_t size;
    int rc = find(u, member, &index, &size, err);
    if (rc)
        return rc;
    zip_file_t *from = zip_fopen_index(u->zip, index, 0);
    if (!from)
        return damaged(u, member, zip_strerror(u->zip), err);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    rc = fd < 0 ? err_set_errno(err, errno, "cannot create %s", path) : copy(u, member, from, size, fd, path, err);
    if (!rc && fsync(fd) != 0)
        rc = err_set_errno(err, errno, "cannot sync %s", path);
    if (fd >= 0)
        close(fd);
    zip_fclose(from);
    return rc;
}

static int making_path(const struct unpacking *u, const struct unpack_member *m, char out[PATH_SIZE], struct err *err)
{
    return path_format(out, err, "%s/.%s.new", u->dir, m->file);
}

static int publish(const struct unpacking *u, const struct unpack_member *m, struct err *err)
{
    char from[PATH_SIZE], to[PATH_SIZE];
    int rc = making_path(u, m, from, err);
    if (!rc)
        rc = path_format(to, err, "%s/%s", u->dir, m->file);
    if (!rc && rename(from, to) != 0)
        rc = err_set_errno(err, errno, "cannot rename %s", from);
    return rc;
}

static int unpack_all(struct unpacking *u, const struct unpack_member *members, size_t count, int64_t max_bytes,
                      int64_t *bytes, struct err *err)
{
    int rc = check_names(u, err);
    for (size_t i = 0; i < count && !rc; i++) {
        zip_uint64_t index;
        int64_t size = 0;
        rc = find(u, members[i].member, &index, &size, err);
        if (!rc && size > max_bytes - u->total)
            rc = err_set(err, ERR_TOO_LARGE, "%s: it unpacks to more than %" PRId64 " bytes", u->archive, max_bytes);
        u->total += size;
        if (bytes)
            bytes[i] = size;
    }
    char path[PATH_SIZE];
    for (size_t i = 0; i < count && !rc; i++) {
        rc = making_path(u, &members[i], path, err);
        if (!rc)
            rc = write_member(u, members[i].member, path, err);
    }
    for (size_t i = 0; i < count && !rc; i++)
        rc = publish(u, &members[i], err);
    for (size_t i = 0; i < count && rc; i++)
        if (making_path(u, &members[i], path, NULL) == 0)
            (void)unlink(path);
    return rc ? rc : file_fsync_dir(u->dir, err);
}

int unpack_zip(const char *archive, const char *dir, const struct unpack_member *members, size_t count,
               int64_t max_bytes, const char *label, int64_t *bytes, struct err *err)
{
    int code = 0;
    struct unpacking u = {.archive = archive, .dir = dir, .zip = zip_open(archive, ZIP_RDONLY, &code)};
    if (!u.zip) {
        zip_error_t why;
        zip_error_init_with_code(&why, code);
        int rc =
            err_set(err, ERR_DAMAGED, "%s: it cannot be read as a zip archive: %s", archive, zip_error_strerror(&why));
        zip_error_fini(&why);
        return rc;
    }
    u.progress = progress_create(label);
    int rc = unpack_all(&u, members, count, max_bytes, bytes, err);
    progress_destroy(u.progress);
    zip_discard(u.zip);
    return rc;
}
