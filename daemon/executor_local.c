/* executor_local.c: see executor_local.h. */
#include "daemon/executor_local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"

enum { EXIT_MAX_BYTES = 4096, LOCK_FD = 3 };

int executor_check_worker(const char *worker, struct err *err)
{
    struct stat st;
    if (stat(worker, &st) != 0)
        return err_set_errno(err, errno, "the worker program %.400s cannot be used", worker);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "the worker program %.400s cannot be used: it is %s", worker,
                       S_ISDIR(st.st_mode) ? "a directory" : "no regular file");
    if (access(worker, X_OK) != 0)
        return err_set(err, ERR_INVALID, "the worker program %.400s cannot be used: it is not executable (chmod +x)",
                       worker);
    return 0;
}

/* No worker of this run lives, so what no attempt has recorded is nobody's: temporary checkpoints of a killed worker,
 * and whole ones whose journal record was lost with it. */
static int clear_leftovers(const struct executor_launch *l, struct err *err)
{
    char path[PATH_SIZE];
    int rc = path_format(path, err, "%s/checkpoints", l->run_dir);
    if (rc != 0)
        return rc;
    DIR *dir = opendir(path);
    if (dir == NULL)
        return errno == ENOENT ? 0 : err_set_errno(err, errno, "cannot read %s", path);
    const struct dirent *entry;
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        bool known = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        for (size_t i = 0; i < l->keep_count && !known; i++) {
            const char *slash = strrchr(l->keep[i], '/');
            known = strcmp(entry->d_name, slash != NULL ? slash + 1 : l->keep[i]) == 0;
        }
        if (known)
            continue;
        char leftover[PATH_SIZE];
        rc = path_format(leftover, err, "%s/%s", path, entry->d_name);
        if (rc == 0)
            rc = file_remove_tree(leftover, err);
    }
    closedir(dir);
    return rc;
}

/* A first attempt has no folder yet. One that is there belongs to a run of another database (the file was removed or
 * restored from an older day), whose journal must not be taken for ours: it is put aside, whole. */
static int put_aside_stranger(const struct executor_launch *l, struct err *err)
{
    char aside[PATH_SIZE];
    if (l->attempt != 1 || !file_exists(l->run_dir))
        return 0;
    int rc = path_format(aside, err, "%s.foreign-%lld", l->run_dir, (long long)clock_wall_ms());
    if (rc == 0 && rename(l->run_dir, aside) != 0)
        rc = err_set_errno(err, errno, "cannot put aside %s", l->run_dir);
    return rc;
}

int executor_prepare(const struct executor_launch *l, int *lock_fd, struct err *err)
{
    char path[PATH_SIZE];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int rc = put_aside_stranger(l, err);
    if (rc == 0)
        rc = file_make_dirs(l->attempt_dir, 0700, err);
    if (rc == 0)
        rc = clear_leftovers(l, err);
    if (rc == 0)
        rc = path_format(path, err, "%s/spec.json", l->run_dir);
    if (rc == 0)
        rc = file_write_atomic(path, l->spec, strlen(l->spec), 0600, err);
    if (rc == 0 && l->job != NULL)
        rc = path_format(path, err, "%s/job.json", l->run_dir);
    if (rc == 0 && l->job != NULL)
        rc = file_write_atomic(path, l->job, strlen(l->job), 0600, err);
    if (rc == 0)
        rc = path_format(path, err, "%s/lock", l->attempt_dir);
    if (rc != 0)
        return rc;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set_errno(err, errno, "cannot open %s", path);
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
        rc = errno == EAGAIN || errno == EACCES ? err_set(err, ERR_BUSY, "%s is locked by somebody else", path)
                                                : err_set_errno(err, errno, "cannot lock %s", path);
        close(fd);
        return rc;
    }
    *lock_fd = fd;
    return 0;
}

static void free_environment(char **env)
{
    for (char **p = env; p != NULL && *p != NULL; p++)
        free(*p);
    free(env);
}

/* Variables that change how many threads a library takes, or its results, and those meant for bakad alone. */
static bool is_withheld(const char *variable)
{
    static const char *const prefixes[] = {"OMP_",  "GOMP_",   "KMP_",  "MKL_",  "OPENBLAS_", "GOTO_",   "BLIS_",
                                           "DNNL_", "ONEDNN_", "CUDA_", "BAKA_", "NOTIFY_",   "LISTEN_", "WATCHDOG_"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(variable, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

/* Ours without the withheld ones, and what this launch sets. NULL when out of memory.
 *
 * GOMP_SPINCOUNT: libgomp's threads spin for milliseconds at a barrier; where other work wants the cores, that keeps
 * from running the very thread they wait for (a tenth of the speed was seen). 1000 is libgomp's own count where threads
 * outnumber cores, which it cannot know across processes; alone it costs nothing measurable (docs/results/cpu.md). */
static char **make_environment(const struct executor_launch *l)
{
    enum { OWN = 4, OWN_SIZE = PATH_SIZE + 64 };
    size_t count = 0, n = 0;
    while (environ[count] != NULL)
        count++;
    char **env = calloc(count + OWN + 1, sizeof *env);
    char *text = malloc(OWN_SIZE);
    bool failed = env == NULL || text == NULL;
    for (size_t i = 0; i < count && !failed; i++)
        if (!is_withheld(environ[i]))
            failed = (env[n++] = strdup(environ[i])) == NULL;
    for (int i = 0; i < OWN && !failed; i++) {
        if (i == 0)
            snprintf(text, OWN_SIZE, "BAKA_HOME=%s", l->home);
        else if (i == 1)
            snprintf(text, OWN_SIZE, "OMP_NUM_THREADS=%d", l->threads);
        else if (i == 2)
            snprintf(text, OWN_SIZE, "GOMP_SPINCOUNT=1000");
        else
            snprintf(text, OWN_SIZE, "CUDA_VISIBLE_DEVICES=%s", l->gpu_uuids);
        failed = (env[n++] = strdup(text)) == NULL;
    }
    free(text);
    if (failed) {
        free_environment(env);
        return NULL;
    }
    return env;
}

int executor_spawn(uv_loop_t *loop, const struct executor_launch *l, int lock_fd, uv_process_t *process,
                   uv_exit_cb on_exit, struct err *err)
{
    char log_path[PATH_SIZE], attempt[24], threads[16], fd_text[8], limit[24];
    int rc = path_format(log_path, err, "%s/worker.log", l->attempt_dir);
    if (rc != 0)
        return rc;
    int log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (log_fd < 0)
        return err_set_errno(err, errno, "cannot open %s", log_path);
    char **env = make_environment(l);
    snprintf(attempt, sizeof attempt, "%lld", (long long)l->attempt);
    snprintf(threads, sizeof threads, "%d", l->threads);
    snprintf(fd_text, sizeof fd_text, "%d", LOCK_FD);
    snprintf(limit, sizeof limit, "%lld", (long long)l->micro_batch_limit);
    const char *resume = l->resume[0] != '\0' ? l->resume : "none";
    const char *args[20] = {l->worker,  "--home", l->home,     "--run-dir", l->run_dir,  "--attempt", attempt,
                            "--resume", resume,   "--threads", threads,     "--lock-fd", fd_text};
    size_t n = 13;
    if (l->micro_batch_limit > 0) {
        args[n++] = "--micro-batch-limit";
        args[n++] = limit;
    }
    if (l->source_dir != NULL) {
        args[n++] = "--source";
        args[n++] = l->source_dir;
    }
    char *argv[sizeof args / sizeof *args];
    memcpy(argv, args, sizeof args);
    uv_stdio_container_t stdio[LOCK_FD + 1] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = log_fd},
        {.flags = UV_INHERIT_FD, .data.fd = log_fd},
        {.flags = UV_INHERIT_FD, .data.fd = lock_fd},
    };
    uv_process_options_t options = {
        .exit_cb = on_exit,
        .file = l->worker,
        .args = argv,
        .env = env,
        .cwd = l->run_dir,
        .flags = UV_PROCESS_DETACHED,
        .stdio_count = LOCK_FD + 1,
        .stdio = stdio,
    };
    int error = env == NULL ? UV_ENOMEM : uv_spawn(loop, process, &options);
    free_environment(env);
    close(log_fd);
    if (error != 0)
        return err_set(err, error == UV_ENOMEM ? ERR_NO_MEMORY : ERR_IO, "cannot start %.300s: %s", l->worker,
                       uv_strerror(error));
    return 0;
}

enum executor_lock executor_look(const char *attempt_dir, struct executor_identity *out)
{
    char path[PATH_SIZE + 8], text[128];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    unsigned long long start = 0;
    *out = (struct executor_identity){0};
    snprintf(path, sizeof path, "%s/lock", attempt_dir);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return EXECUTOR_LOCK_ABSENT;
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    bool held = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    close(fd);
    if (n > 0 && text[n - 1] == '\n') {
        text[n] = '\0';
        if (sscanf(text, "%d %llu %39s", &out->pid, &start, out->boot_id) >= 2)
            out->start_time = start;
        else
            out->pid = 0;
    }
    return held ? EXECUTOR_LOCK_HELD : EXECUTOR_LOCK_FREE;
}

int executor_read_exit(const char *attempt_dir, struct executor_exit *out, struct err *err)
{
    static const struct json_limits limits = {EXIT_MAX_BYTES, 4};
    char path[PATH_SIZE];
    char *text;
    size_t size;
    cJSON *root;
    int rc = path_format(path, err, "%s/exit.json", attempt_dir);
    if (rc == 0)
        rc = file_read_all(path, EXIT_MAX_BYTES, &text, &size, err);
    if (rc != 0)
        return rc;
    rc = json_parse(text, size, &limits, "exit.json", &root, err);
    free(text);
    if (rc != 0)
        return err_set_at(err, ERR_DAMAGED, path, "is not JSON");
    int64_t status, signal = 0, maxrss = 0;
    bool whole = json_read_int64(cJSON_GetObjectItemCaseSensitive(root, "status"), &status);
    (void)json_read_int64(cJSON_GetObjectItemCaseSensitive(root, "signal"), &signal);
    (void)json_read_int64(cJSON_GetObjectItemCaseSensitive(root, "maxrss"), &maxrss);
    cJSON_Delete(root);
    if (!whole)
        return err_set_at(err, ERR_DAMAGED, path, "says no status");
    *out = (struct executor_exit){(int)status, (int)signal, maxrss};
    return 0;
}

int executor_pidfd(int pid, uint64_t start_time)
{
    /* the descriptor first, then the check: a pid that is taken by another process in between shows another start */
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return -1;
    if (clock_process_start(pid) != start_time) {
        close(fd);
        return -1;
    }
    return fd;
}

void executor_signal(int pidfd, int signal)
{
    (void)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}

void executor_kill(int keeper_pid, int keeper_pidfd)
{
    int child = process_child(keeper_pid);
    int fd = child > 0 ? (int)syscall(SYS_pidfd_open, child, 0) : -1;
    /* it was the child before and after the descriptor was made, so the descriptor is its */
    if (fd >= 0 && process_child(keeper_pid) == child)
        executor_signal(fd, SIGKILL);
    if (fd >= 0)
        close(fd);
    executor_signal(keeper_pidfd, child > 0 ? SIGCONT : SIGKILL);
}

void executor_kill_orphan(int pid, uint64_t start_time)
{
    int fd = executor_pidfd(pid, start_time);
    if (fd < 0)
        return;
    executor_signal(fd, SIGKILL);
    close(fd);
}
