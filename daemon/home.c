/* home.c: see home.h. The header of a token file is read here by its documented layout (the same as text/token_file.h
 * has it): bakad needs nothing of a data set but that it is there, and its vocabulary. */
#include "daemon/home.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"

int home_prepare(const char *home, struct err *err)
{
    static const char *const folders[] = {"", "/runs", "/data"};
    char path[PATH_SIZE];
    struct err own;
    struct stat st;
    if (stat(home, &st) == 0 && !S_ISDIR(st.st_mode))
        return err_set(err, ERR_IO,
                       "the state directory %s is not a directory: move that file away, or name another with --home",
                       home);
    for (int i = 0; i < 3; i++) {
        int rc = path_format(path, err, "%s%s", home, folders[i]);
        if (rc != 0)
            return rc;
        if (file_make_dirs(path, 0700, &own) != 0)
            return err_set(err, own.code, "the state directory %.300s cannot be used: %.300s", home, own.message);
    }
    if (access(home, R_OK | W_OK | X_OK) != 0)
        return err_set_errno(err, errno, "the state directory %s is not writable", home);
    return 0;
}

/* Who holds the lock, by what stands in it; 0 when it does not say. What an earlier holder left behind names a process
 * that is gone, or another one with its pid. */
static long await_holder(int fd)
{
    enum { LOOK_MS = 10 };
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    for (int waited = 0;; waited += LOOK_MS) {
        char text[64];
        int pid;
        unsigned long long start;
        ssize_t n = pread(fd, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        if (strchr(text, '\n') != NULL && sscanf(text, "%d %llu", &pid, &start) == 2 && start > 0 &&
            clock_process_start(pid) == start)
            return pid;
        if (waited >= HOME_HOLDER_WAIT_MS)
            return 0;
        nanosleep(&pause, NULL); /* no loop runs yet */
    }
}

/* Who holds the lock, and where its socket was deleted, what helps: no client reaches that bakad any more. */
static int refuse_beside(long holder, const char *home, struct err *err)
{
    char path[PATH_SIZE];
    int rc = path_format(path, err, "%s/bakad.sock", home);
    if (rc != 0)
        return rc;
    bool deleted = access(path, F_OK) != 0 && errno == ENOENT;
    return err_set(err, ERR_BUSY, "another bakad (pid %ld) is serving %s%s", holder, home,
                   deleted ? ", but its socket is gone: end it by `kill` (runs go on) and start again" : "");
}

int home_lock(const char *home, int *out, struct err *err)
{
    char path[PATH_SIZE], text[64];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int rc = path_format(path, err, "%s/bakad.lock", home);
    if (rc != 0)
        return rc;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set_errno(err, errno, "cannot open %s", path);
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
        int error = errno;
        long holder = error == EAGAIN || error == EACCES ? await_holder(fd) : 0;
        if (error != EAGAIN && error != EACCES)
            rc = err_set_errno(err, error, "cannot lock %s", path);
        else if (holder > 0)
            rc = refuse_beside(holder, home, err);
        else
            rc = err_set(err, ERR_BUSY, "another bakad is serving %s (%s is locked)", home, path);
        close(fd);
        return rc;
    }
    int n = snprintf(text, sizeof text, "%d %llu\n", (int)getpid(), (unsigned long long)clock_process_start(getpid()));
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n) {
        rc = err_set_errno(err, errno, "cannot write %s", path);
        close(fd);
        return rc;
    }
    *out = fd;
    return 0;
}

bool home_lost_database(const char *home, const char *database)
{
    char path[PATH_SIZE];
    struct stat st;
    if ((stat(database, &st) == 0 && st.st_size > 0) || path_format(path, NULL, "%s/runs", home) != 0)
        return false;
    DIR *dir = opendir(path);
    const struct dirent *entry;
    bool found = false;
    while (dir != NULL && !found && (entry = readdir(dir)) != NULL)
        found = entry->d_name[0] == 'b';
    if (dir != NULL)
        closedir(dir);
    return found;
}

enum { TOKEN_HEADER_BYTES = 4096, TOKEN_FIELDS = 128, TOKENIZER_AT = 64 };

/* Offsets in the header; all numbers little-endian. */
static uint64_t get64(const unsigned char *header, size_t offset)
{
    uint64_t value;
    memcpy(&value, header + offset, sizeof value);
    return le64toh(value);
}

int home_data_probe(const char *home, const char *name, struct home_data *out, struct err *err)
{
    unsigned char header[TOKEN_FIELDS];
    char path[PATH_SIZE];
    struct stat st;
    int rc = path_format(path, err, "%s/data/%s/tokens", home, name);
    if (rc != 0)
        return rc;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return err_set_at(err, ERR_NOT_FOUND, "data.name",
                          "there is no data set \"%s\": make it with `bakactl data prepare`, see `bakactl data list`",
                          name);
    if (fd < 0)
        return err_set_errno(err, errno, "cannot open %s", path);
    ssize_t n = pread(fd, header, sizeof header, 0);
    if (n < 0 || fstat(fd, &st) != 0)
        rc = err_set_errno(err, errno, "cannot read %s", path);
    close(fd);
    if (rc != 0)
        return rc;
    uint32_t id_bytes = 0;
    if (n == (ssize_t)sizeof header)
        memcpy(&id_bytes, header + 12, sizeof id_bytes);
    id_bytes = le32toh(id_bytes);
    /* magic 0, header_bytes 8, id_bytes 12, count 16, train_count 24, document_count 32, vocab 40, tokenizer 64 */
    struct home_data data = {0};
    if (n == (ssize_t)sizeof header)
        data = (struct home_data){
            .vocab = get64(header, 40), .tokens = get64(header, 16), .train_tokens = get64(header, 24)};
    if (n == (ssize_t)sizeof header)
        memcpy(data.tokenizer, header + TOKENIZER_AT, sizeof data.tokenizer - 1);
    if (n != (ssize_t)sizeof header || memcmp(header, "BAKATOK1", 8) != 0 ||
        (id_bytes != 1 && id_bytes != 2 && id_bytes != 4) || data.vocab == 0 || data.train_tokens > data.tokens ||
        data.tokens > (uint64_t)INT64_MAX / 8 || (uint64_t)st.st_size < TOKEN_HEADER_BYTES + data.tokens * id_bytes)
        return err_set_at(err, ERR_DAMAGED, "data.name",
                          "the data set \"%s\" is damaged or cut short; prepare it again with `bakactl data prepare`",
                          name);
    *out = data;
    return 0;
}

bool home_has_model(const char *home, const char *name)
{
    char path[PATH_SIZE];
    return path_format(path, NULL, "%s/models/%s/model.json", home, name) == 0 && file_exists(path);
}
