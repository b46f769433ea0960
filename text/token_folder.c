/* token_folder.c: see token_folder.h.
 *
 * In HOME/data: NAME is whole or absent; .NAME.lock is flocked by the one who prepares it and unlinked by him;
 * .NAME.new is the folder in the making; .NAME.old is what it replaced, on file systems that cannot exchange two names.
 * A crash leaves hidden names only: the next preparation of any data set takes the lock of each, puts a .NAME.old back
 * if NAME is gone, and removes the rest.
 */
#include "text/token_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/path.h"

struct token_folder {
    char data[PATH_SIZE], lock[PATH_SIZE], making[PATH_SIZE], old[PATH_SIZE], final[PATH_SIZE];
    char name[NAME_SIZE];
    int lock_fd;
    bool replace, made, published;
};

static int set_paths(struct token_folder *f, const char *data, const char *name, struct err *err)
{
    snprintf(f->name, sizeof f->name, "%s", name);
    int rc = path_format(f->data, err, "%s", data);
    if (!rc)
        rc = path_format(f->final, err, "%s/%s", data, name);
    if (!rc)
        rc = path_format(f->lock, err, "%s/.%s.lock", data, name);
    if (!rc)
        rc = path_format(f->making, err, "%s/.%s.new", data, name);
    if (!rc)
        rc = path_format(f->old, err, "%s/.%s.old", data, name);
    return rc;
}

static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

/* The holder before us unlinks the file while he holds it, so what we locked may have no name any more: then again. */
static int take_lock(struct token_folder *f, struct err *err)
{
    for (;;) {
        int fd = open(f->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
            return err_set_errno(err, errno, "cannot create %s", f->lock);
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            int rc = errno == EWOULDBLOCK
                         ? err_set(err, ERR_BUSY, "data set %s is being prepared by another process", f->name)
                         : err_set_errno(err, errno, "cannot lock %s", f->lock);
            close(fd);
            return rc;
        }
        struct stat held, named;
        if (fstat(fd, &held) == 0 && lstat(f->lock, &named) == 0 && held.st_ino == named.st_ino &&
            held.st_dev == named.st_dev) {
            f->lock_fd = fd;
            return 0;
        }
        close(fd);
    }
}

static void release_lock(struct token_folder *f)
{
    if (f->lock_fd < 0)
        return;
    unlink(f->lock);
    close(f->lock_fd);
    f->lock_fd = -1;
}

/* With the lock held: what a killed preparation left. */
static int clean(struct token_folder *f, struct err *err)
{
    if (exists(f->old)) {
        int rc = 0;
        if (exists(f->final))
            rc = file_remove_tree(f->old, err);
        else if (rename(f->old, f->final) != 0)
            rc = err_set_errno(err, errno, "cannot rename %s", f->old);
        if (rc)
            return rc;
    }
    return file_remove_tree(f->making, err);
}

/* ".NAME.new" to "NAME". */
static bool hidden_name(const char *entry, char name[NAME_SIZE])
{
    size_t n = strlen(entry);
    if (n < 6 || n - 5 >= NAME_SIZE || entry[0] != '.')
        return false;
    const char *ending = entry + n - 4;
    if (strcmp(ending, ".new") != 0 && strcmp(ending, ".old") != 0)
        return false;
    snprintf(name, NAME_SIZE, "%.*s", (int)(n - 5), entry + 1);
    return name_is_valid(name);
}

/* Best effort for the other names: a failure there is no failure of this preparation. */
static void clean_others(const char *data, const char *own_name)
{
    DIR *dir = opendir(data);
    if (!dir)
        return;
    struct token_folder *other = malloc(sizeof *other);
    if (!other)
        abort();
    for (struct dirent *e; (e = readdir(dir));) {
        char name[NAME_SIZE];
        if (!hidden_name(e->d_name, name) || strcmp(name, own_name) == 0)
            continue;
        *other = (struct token_folder){.lock_fd = -1};
        if (set_paths(other, data, name, NULL) || take_lock(other, NULL))
            continue;
        (void)clean(other, NULL);
        release_lock(other);
    }
    free(other);
    closedir(dir);
}

static int conflict(const struct token_folder *f, struct err *err)
{
    return err_set(err, ERR_CONFLICT, "data set %s exists already in %s: choose another name or give --replace",
                   f->name, f->data);
}

int token_folder_create(const char *home, const char *name, bool replace, struct token_folder **out, struct err *err)
{
    if (!name_is_valid(name))
        return err_set(
            err, ERR_INVALID,
            "\"%.80s\" is no name for a data set: a letter or digit, then letters, digits, . _ - up to %d in all", name,
            NAME_SIZE - 1);
    char data[PATH_SIZE];
    int rc = path_format(data, err, "%s/data", home);
    if (!rc)
        rc = file_make_dirs(data, 0700, err);
    if (rc)
        return rc;
    struct token_folder *f = calloc(1, sizeof *f);
    if (!f)
        abort();
    f->lock_fd = -1;
    f->replace = replace;
    rc = set_paths(f, data, name, err);
    if (!rc)
        rc = take_lock(f, err);
    if (!rc)
        rc = clean(f, err);
    if (!rc && !replace && exists(f->final))
        rc = conflict(f, err);
    if (!rc)
        clean_others(data, name);
    if (!rc && mkdir(f->making, 0700) != 0)
        rc = err_set_errno(err, errno, "cannot create %s", f->making);
    if (rc) {
        token_folder_destroy(f);
        return rc;
    }
    f->made = true;
    *out = f;
    return 0;
}

const char *token_folder_path(const struct token_folder *f)
{
    return f->making;
}

/* NAME exists and is to be replaced. After the exchange the old one lies under a hidden name; if it cannot be removed
 * now, the next preparation does it. */
static int exchange(struct token_folder *f, struct err *err)
{
    if (renameat2(AT_FDCWD, f->making, AT_FDCWD, f->final, RENAME_EXCHANGE) == 0) {
        f->published = true;
        int rc = file_fsync_dir(f->data, err);
        if (!rc)
            (void)file_remove_tree(f->making, NULL);
        return rc;
    }
    if (errno != EINVAL && errno != ENOSYS)
        return err_set_errno(err, errno, "cannot replace %s", f->final);
    if (rename(f->final, f->old) != 0)
        return err_set_errno(err, errno, "cannot rename %s", f->final);
    if (rename(f->making, f->final) != 0) {
        int errnum = errno;
        (void)rename(f->old, f->final);
        return err_set_errno(err, errnum, "cannot rename %s", f->making);
    }
    f->published = true;
    int rc = file_fsync_dir(f->data, err);
    if (!rc)
        (void)file_remove_tree(f->old, NULL);
    return rc;
}

int token_folder_publish(struct token_folder *f, struct err *err)
{
    int rc = file_fsync_dir(f->making, err);
    if (rc)
        return rc;
    if (f->replace && exists(f->final))
        return exchange(f, err);
    /* Fails on a folder that somebody else put there meanwhile, for it is not empty. */
    if (rename(f->making, f->final) != 0) {
        if (errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR)
            return conflict(f, err);
        return err_set_errno(err, errno, "cannot rename %s", f->making);
    }
    f->published = true;
    return file_fsync_dir(f->data, err);
}

void token_folder_destroy(struct token_folder *f)
{
    if (!f)
        return;
    if (f->made && !f->published)
        (void)file_remove_tree(f->making, NULL);
    release_lock(f);
    free(f);
}
