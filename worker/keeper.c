/* keeper.c: see keeper.h. */
#include "worker/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/path.h"
#include "schema/journal.h"
#include "worker/arguments.h"
#include "worker/signals.h"

enum { EXIT_BYTES = 512 };

struct keeper {
    char attempt_dir[PATH_SIZE], exit_temporary[PATH_SIZE], boot_id[40];
    int lock, exit_fd;
};

/* Open and locked, close-on-exec. A descriptor that was handed over already carries the lock: asking again through the
 * same open file description succeeds, and fails when somebody else's description holds it. */
static int take_lock(const struct arguments *a, const char *path, int *out, struct err *err)
{
    int fd = a->lock_fd;
    if (fd < 0)
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_set_errno(err, errno, "cannot open %s", path);
    struct stat have, want;
    if (fstat(fd, &have) != 0)
        return err_set_errno(err, errno, "--lock-fd %d is not open", fd);
    if (stat(path, &want) != 0 || have.st_dev != want.st_dev || have.st_ino != want.st_ino)
        return err_set(err, ERR_INVALID, "--lock-fd %d is not %s", fd, path);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return err_set_errno(err, errno, "cannot set up the lock on %s", path);
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
        if (errno == EAGAIN || errno == EACCES)
            return err_set(err, ERR_BUSY, "%s is locked: attempt %d is running already", path, a->attempt);
        return err_set_errno(err, errno, "cannot lock %s", path);
    }
    *out = fd;
    return 0;
}

static int write_identity(int fd, const char *path, const char *boot_id, struct err *err)
{
    char text[128];
    int n = snprintf(text, sizeof text, "%d %" PRIu64 " %s\n", (int)getpid(), clock_process_start(getpid()), boot_id);
    ssize_t written = ftruncate(fd, 0) == 0 ? pwrite(fd, text, (size_t)n, 0) : -1;
    return written == n ? 0 : err_set_errno(err, written < 0 ? errno : ENOSPC, "cannot write %s", path);
}

/* Waits for the trainer, passing signals on; they are blocked and taken here one by one. */
static int wait_for(pid_t trainer, const sigset_t *signals, struct rusage *usage)
{
    for (;;) {
        int status;
        pid_t gone = wait4(trainer, &status, WNOHANG, usage);
        if (gone == trainer)
            return status;
        int signal = sigwaitinfo(signals, NULL);
        if (signal == SIGTERM || signal == SIGUSR1 || signal == SIGQUIT)
            kill(trainer, signal);
    }
}

/* Where exit.json will be written: a temporary file that holds its room from the start, because a full disk is when the
 * exit status is wanted most. A file system without fallocate only loses the room. */
static int reserve_exit(const char *attempt_dir, int *fd, char temporary[PATH_SIZE], struct err *err)
{
    int rc = path_format(temporary, err, "%s/.exit.json.tmp", attempt_dir);
    if (rc != 0)
        return rc;
    *fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (*fd < 0)
        return err_set_errno(err, errno, "cannot make %s", temporary);
    if (fallocate(*fd, FALLOC_FL_KEEP_SIZE, 0, EXIT_BYTES) != 0 &&
        (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
        return err_set_errno(err, errno, "no room for exit.json in %s", attempt_dir);
    return 0;
}

static int write_exit(const struct keeper *k, int status, const struct rusage *usage, pid_t trainer, struct err *err)
{
    bool signalled = WIFSIGNALED(status);
    double cpu = (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) +
                 (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
    char path[PATH_SIZE], text[EXIT_BYTES];
    int n = snprintf(text, sizeof text,
                     "{\"status\":%d,\"signal\":%d,\"core\":%s,\"maxrss\":%lld,\"cpu_s\":%.6f,\"boot_id\":\"%s\","
                     "\"pid\":%d,\"trainer_pid\":%d}\n",
                     signalled ? -1 : WEXITSTATUS(status), signalled ? WTERMSIG(status) : 0,
                     signalled && WCOREDUMP(status) ? "true" : "false", (long long)usage->ru_maxrss * 1024, cpu,
                     k->boot_id, (int)getpid(), (int)trainer);
    int rc = path_format(path, err, "%s/exit.json", k->attempt_dir);
    if (rc == 0)
        rc = file_write_all(k->exit_fd, text, (size_t)n, k->exit_temporary, err);
    if (rc == 0 && fsync(k->exit_fd) != 0)
        rc = err_set_errno(err, errno, "cannot sync %s", k->exit_temporary);
    if (rc == 0 && rename(k->exit_temporary, path) != 0)
        rc = err_set_errno(err, errno, "cannot rename %s", k->exit_temporary);
    return rc == 0 ? file_fsync_dir(k->attempt_dir, err) : rc;
}

static int prepare(struct keeper *k, const struct arguments *a, struct err *err)
{
    char path[PATH_SIZE];
    clock_boot_id(k->boot_id);
    int rc = path_format(k->attempt_dir, err, "%s/attempts/%d", a->run_dir, a->attempt);
    if (rc == 0)
        rc = path_format(path, err, "%s/lock", k->attempt_dir);
    if (rc == 0)
        rc = file_make_dirs(k->attempt_dir, 0755, err);
    if (rc == 0)
        rc = take_lock(a, path, &k->lock, err);
    if (rc == 0)
        rc = write_identity(k->lock, path, k->boot_id, err);
    if (rc == 0)
        rc = reserve_exit(k->attempt_dir, &k->exit_fd, k->exit_temporary, err);
    return rc;
}

int keeper_run(const struct arguments *a, int (*trainer)(const struct arguments *a, int keeper_pid))
{
    struct err err;
    struct keeper k;
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is a full disk (EFBIG), not a death */
    if (prepare(&k, a, &err) != 0) {
        fprintf(stderr, "baka-worker: %s\n", err.message);
        return err.code == ERR_NO_SPACE ? JOURNAL_EXIT_NO_SPACE : 1;
    }

    /* Blocked from before the fork on: what arrives in between is pending, not lost. SIGINT from a terminal reaches the
     * trainer directly. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGQUIT);
    sigaddset(&signals, SIGCHLD);
    signal(SIGCHLD, SIG_DFL);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    signals_block();
    sigset_t child_mask;
    sigprocmask(SIG_BLOCK, NULL, &child_mask);
    sigprocmask(SIG_BLOCK, &signals, NULL);

    pid_t keeper = getpid(), child = fork();
    if (child < 0) {
        fprintf(stderr, "baka-worker: cannot start the trainer: %s\n", strerror(errno));
        return 1;
    }
    if (child == 0) {
        close(k.lock);
        close(k.exit_fd);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != keeper) /* it died before the request */
            _exit(1);
        prctl(PR_SET_NAME, "baka-trainer");
        sigdelset(&child_mask, SIGCHLD);
        sigprocmask(SIG_SETMASK, &child_mask, NULL);
        return trainer(a, keeper);
    }
    prctl(PR_SET_NAME, "baka-keeper");
    struct rusage usage;
    int status = wait_for(child, &signals, &usage);
    if (write_exit(&k, status, &usage, child, &err) != 0)
        log_event(LOG_LEVEL_ERROR, "exit_not_written", "error=\"%s\"", err.message);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
