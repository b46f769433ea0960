/* executor_local.h: starts baka-worker on this machine, and what can be seen of one that runs.
 *
 * The attempt's lock is the worker's life sign: bakad opens and locks the file, the keeper inherits the open file, so
 * it is held from before the spawn until the keeper is gone. With pid and start time it identifies the process.
 */
#ifndef BAKA_DAEMON_EXECUTOR_LOCAL_H
#define BAKA_DAEMON_EXECUTOR_LOCAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "base/path.h"

struct err;

struct executor_launch {
    const char *home, *worker;
    const char *run_dir, *attempt_dir; /* absolute; attempt_dir = run_dir/attempts/N */
    int64_t attempt;
    const char *resume;      /* "checkpoints/120-a1" or "" */
    const char *spec;        /* JSON text of the whole spec */
    const char *job;         /* JSON text of what is asked beside training; NULL: nothing */
    const char *source_dir;  /* with a job: run directory that `resume` is in */
    const char *const *keep; /* checkpoints (names in checkpoints/) that are known; others are left-overs */
    size_t keep_count;
    int threads;
    int64_t micro_batch_limit; /* 0: none */
    const char *gpu_uuids;     /* joined by ','; "" for none */
};

/* Whether `worker` (absolute) is a program at all: ERR_NOT_FOUND, ERR_INVALID. One stat: for any thread. */
int executor_check_worker(const char *worker, struct err *err);
/* Makes the folders and spec.json, clears left-overs of earlier attempts, opens and locks the lock file: *lock_fd.
 * Blocks on the disk: not for the loop's thread. ERR_IO, ERR_NO_SPACE, ERR_BUSY (somebody holds the lock). */
int executor_prepare(const struct executor_launch *l, int *lock_fd, struct err *err);
/* Spawns the keeper in a session of its own, with the lock as descriptor 3; the caller closes its copy of lock_fd.
 * Loop's thread. ERR_IO. */
int executor_spawn(uv_loop_t *loop, const struct executor_launch *l, int lock_fd, uv_process_t *process,
                   uv_exit_cb on_exit, struct err *err);

enum executor_lock { EXECUTOR_LOCK_ABSENT, EXECUTOR_LOCK_FREE, EXECUTOR_LOCK_HELD };

struct executor_identity {
    int pid; /* 0: the keeper has not written it yet */
    uint64_t start_time;
    char boot_id[40]; /* "" with pid 0 */
};
/* What the lock file of an attempt says. Never blocks for long. */
enum executor_lock executor_look(const char *attempt_dir, struct executor_identity *out);

struct executor_exit {
    int status, signal; /* status -1: ended by the signal */
    int64_t maxrss_bytes;
};
/* exit.json; ERR_NOT_FOUND, ERR_DAMAGED, ERR_IO. */
int executor_read_exit(const char *attempt_dir, struct executor_exit *out, struct err *err);

/* A descriptor for exactly that process: -1 when it is gone or another one has its pid. */
int executor_pidfd(int pid, uint64_t start_time);
void executor_signal(int pidfd, int signal);
/* SIGKILL to the keeper's trainer, so that the keeper, woken if it is stopped, waits for it and writes exit.json; to
 * the keeper itself where it has none. The keeper lives, and holds the lock, as long as its trainer does. */
void executor_kill(int keeper_pid, int keeper_pidfd);
/* SIGKILL to a trainer whose keeper is gone. */
void executor_kill_orphan(int pid, uint64_t start_time);

#endif
