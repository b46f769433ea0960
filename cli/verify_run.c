/* verify_run.c: see verify_run.h. The worker leads a process group of its own, so that one kill takes keeper and
 * trainer; and it dies with this process. */
#include "cli/verify_run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/err.h"
#include "base/file.h"
#include "cli/interrupt.h"
#include "cli/verify_curve.h"

enum { LOOK_MS = 1 };

int verify_run_create(struct verify_run *r, const char *home, const char *dir, const char *spec, struct err *err)
{
    char path[PATH_SIZE];
    *r = (struct verify_run){.home = home};
    int rc = path_format(r->dir, err, "%s", dir);
    if (rc == 0)
        rc = file_make_dirs(dir, 0700, err);
    if (rc == 0)
        rc = path_format(path, err, "%s/spec.json", dir);
    return rc ? rc : file_write_atomic(path, spec, strlen(spec), 0600, err);
}

/* In the child. */
static void become_worker(const char *program, const struct verify_run *r, const char *resume, const char *log_path,
                          pid_t parent)
{
    char attempt[16];
    snprintf(attempt, sizeof attempt, "%d", r->attempts);
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600), null = open("/dev/null", O_RDONLY);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (log < 0 || null < 0 || getppid() != parent)
        _exit(127);
    interrupt_release();
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execl(program, program, "--home", r->home, "--run-dir", r->dir, "--attempt", attempt, "--resume", resume, NULL);
    _exit(127);
}

/* Reads on from *offset; true when a step of at least `step` is there. */
static bool has_step(int fd, off_t *offset, int64_t step)
{
    char block[1 << 16];
    ssize_t n = pread(fd, block, sizeof block, *offset);
    char *end = n > 0 ? memrchr(block, '\n', (size_t)n) : NULL;
    if (!end)
        return false;
    bool found = false;
    for (char *line = block, *stop; !found && line <= end; line = stop + 1) {
        struct journal_record record;
        stop = memchr(line, '\n', (size_t)(end - line) + 1);
        found = journal_parse(line, (size_t)(stop - line), &record, NULL) == 0 && record.kind == JOURNAL_STEP &&
                record.step.step >= step;
    }
    *offset += end + 1 - block;
    return found;
}

/* Until it has ended, killed where that is due. */
static int follow(pid_t worker, const char *journal, int64_t kill_at, bool *killed, struct err *err)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    int fd = -1, status;
    off_t offset = 0;
    bool due = false;
    for (;;) {
        pid_t gone = waitpid(worker, &status, WNOHANG);
        if (gone == worker || (gone < 0 && errno != EINTR))
            break;
        if (fd < 0 && kill_at > 0)
            fd = open(journal, O_RDONLY | O_CLOEXEC);
        if (!due && fd >= 0)
            due = has_step(fd, &offset, kill_at);
        if (due || interrupt_caught())
            kill(-worker, SIGKILL);
        nanosleep(&pause, NULL);
    }
    if (fd >= 0)
        close(fd);
    if (interrupt_caught())
        return err_set(err, ERR_UNAVAILABLE, "interrupted");
    *killed = due && WIFSIGNALED(status);
    if (!*killed && WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return err_set(err, ERR_IO, "the worker cannot be started");
    return 0;
}

int verify_run_attempt(struct verify_run *r, const char *checkpoint, int64_t kill_at, bool *killed, struct err *err)
{
    char program[PATH_SIZE], dir[PATH_SIZE], log[PATH_SIZE], journal[PATH_SIZE];
    int rc = path_sibling_program("baka-worker", program, err);
    r->attempts++;
    if (rc == 0)
        rc = path_format(dir, err, "%s/attempts/%d", r->dir, r->attempts);
    if (rc == 0)
        rc = path_format(log, err, "%s/worker.log", dir);
    if (rc == 0)
        rc = path_format(journal, err, "%s/journal", dir);
    if (rc == 0)
        rc = file_make_dirs(dir, 0700, err);
    if (rc != 0)
        return rc;
    fflush(NULL);
    pid_t parent = getpid(), worker = fork();
    if (worker < 0)
        return err_set_errno(err, errno, "cannot start the worker");
    if (worker == 0)
        become_worker(program, r, checkpoint[0] ? checkpoint : "none", log, parent);
    setpgid(worker, worker); /* whoever of both comes first */
    return follow(worker, journal, kill_at, killed, err);
}

int verify_run_weights(const struct verify_run *r, const struct verify_curve *c, char hex[SHA256_HEX_SIZE],
                       struct err *err)
{
    char path[PATH_SIZE], block[1 << 16];
    if (!c->checkpoint[0])
        return err_set(err, ERR_NOT_FOUND, "the run in %s has written no checkpoint", r->dir);
    int rc = path_format(path, err, "%s/%s/model.safetensors", r->dir, c->checkpoint);
    if (rc != 0)
        return rc;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, errno, "cannot open %s", path);
    struct sha256 *hash = sha256_create();
    ssize_t n;
    while ((n = read(fd, block, sizeof block)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0)
            sha256_update(hash, block, (size_t)n);
    if (n < 0) {
        rc = err_set_errno(err, errno, "cannot read %s", path);
        sha256_destroy(hash);
    } else {
        sha256_finish(hash, hex);
    }
    close(fd);
    return rc;
}
