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
#include "worker/arguments.h"
#include "worker/signals.h"

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
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return err_set_errno(err, errno, "cannot write %s", path);
    return 0;
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

static int write_exit(const char *attempt_dir, int status, const struct rusage *usage, const char *boot_id, pid_t trainer,
                      struct err *err)
{
    bool signalled = WIFSIGNALED(status);
    double cpu = (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) +
                 (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
    char path[PATH_SIZE], text[512];
    int n = snprintf(text, sizeof text,
                     "{\"status\":%d,\"signal\":%d,\"core\":%s,\"maxrss\":%lld,\"cpu_s\":%.6f,\"boot_id\":\"%s\","
                     "\"pid\":%d,\"trainer_pid\":%d}\n",
                     signalled ? -1 : WEXITSTATUS(status), signalled ? WTERMSIG(status) : 0,
                     signalled && WCOREDUMP(status) ? "true" : "false", (long long)usage->ru_maxrss * 1024, cpu, boot_id,
                     (int)getpid(), (int)trainer);
    int rc = path_format(path, err, "%s/exit.json", attempt_dir);
    return rc == 0 ? file_write_atomic(path, text, (size_t)n, 0644, err) : rc;
}

static int prepare(const struct arguments *a, char attempt_dir[PATH_SIZE], const char *boot_id, int *lock,
                   struct err *err)
{
    char path[PATH_SIZE];
    int rc = path_format(attempt_dir, err, "%s/attempts/%d", a->run_dir, a->attempt);
    if (rc == 0)
        rc = path_format(path, err, "%s/lock", attempt_dir);
    if (rc == 0)
        rc = file_make_dirs(attempt_dir, 0755, err);
    if (rc == 0)
        rc = take_lock(a, path, lock, err);
    if (rc == 0)
        rc = write_identity(*lock, path, boot_id, err);
    return rc;
}

int keeper_run(const struct arguments *a, int (*trainer)(const struct arguments *a, int keeper_pid))
{
    struct err err;
    char attempt_dir[PATH_SIZE], boot_id[40];
    int lock = -1;
    clock_boot_id(boot_id);
    if (prepare(a, attempt_dir, boot_id, &lock, &err) != 0) {
        fprintf(stderr, "baka-worker: %s\n", err.message);
        return 1;
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
        close(lock);
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
    if (write_exit(attempt_dir, status, &usage, boot_id, child, &err) != 0)
        log_event(LOG_LEVEL_ERROR, "exit_not_written", "error=\"%s\"", err.message);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
