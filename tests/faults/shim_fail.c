/* shim_fail.c: FAULT_IO="OP ERROR N once|on PATTERN": the N-th call of the kind OP (open, write, sync, rename,
 * truncate, allocate, mkdir, remove, read, spawn, reply) on a path that the PATTERN matches (fnmatch, `*` also over
 * slashes) fails with ERROR (EIO, ENOSPC, short), once or from then on; or the process kills itself by SIGKILL before
 * it is made (kill) or after it was (killed). FAULT_COUNT names a file of two 64-bit numbers, calls and failures, that
 * all processes of a test share: a child of the program counts on where its parent stands. */
#undef _FILE_OFFSET_BITS
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "shim.h"

static const char *const op_words[SHIM_OPS] = {"open",  "write",  "sync", "rename", "truncate", "allocate",
                                               "mkdir", "remove", "read", "spawn",  "reply"};

static struct {
    enum shim_op op;
    int error;
    uint64_t nth;
    bool on, dies, dies_after;
    char pattern[SHIM_PATH];
    _Atomic uint64_t *counts; /* calls, failures; NULL: nothing is to fail */
} fault;

static _Thread_local bool doomed; /* dies after the call that it makes */

static void give_up(const char *what)
{
    fprintf(stderr, "shim: %s\n", what);
    _exit(99);
}

__attribute__((constructor)) static void read_environment(void)
{
    const char *text = getenv("FAULT_IO"), *count = getenv("FAULT_COUNT");
    char op[16], error[16], mode[8];
    unsigned long long nth;
    int at = 0;
    if (!text)
        return;
    if (!count || sscanf(text, "%15s %15s %llu %7s %n", op, error, &nth, mode, &at) != 4 || at == 0)
        give_up("FAULT_IO is 'OP ERROR N once|on PATTERN', and FAULT_COUNT a file");
    snprintf(fault.pattern, sizeof fault.pattern, "%s", text + at);
    fault.op = SHIM_OPS;
    for (int i = 0; i < SHIM_OPS; i++)
        if (strcmp(op, op_words[i]) == 0)
            fault.op = (enum shim_op)i;
    fault.error = strcmp(error, "EIO") == 0      ? EIO
                  : strcmp(error, "ENOSPC") == 0 ? ENOSPC
                  : strcmp(error, "short") == 0  ? SHIM_SHORT
                                                 : 0;
    fault.dies = strcmp(error, "kill") == 0;
    fault.dies_after = strcmp(error, "killed") == 0;
    if (fault.op == SHIM_OPS || (fault.error == 0 && !fault.dies && !fault.dies_after))
        give_up("FAULT_IO names an unknown call or error");
    fault.nth = nth;
    fault.on = strcmp(mode, "on") == 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, count, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || syscall(SYS_ftruncate, fd, 16) != 0)
        give_up("FAULT_COUNT cannot be opened");
    void *map = mmap(NULL, 16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (map == MAP_FAILED)
        give_up("FAULT_COUNT cannot be mapped");
    fault.counts = map;
}

int shim_fault(enum shim_op op, const char *path)
{
    if (!fault.counts || op != fault.op || fnmatch(fault.pattern, path, 0) != 0)
        return 0;
    uint64_t n = atomic_fetch_add(&fault.counts[0], 1) + 1;
    if (fault.on ? n < fault.nth : n != fault.nth)
        return 0;
    atomic_fetch_add(&fault.counts[1], 1);
    if (fault.dies)
        syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    doomed = fault.dies_after;
    return fault.error;
}

void shim_after(void)
{
    if (doomed)
        syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
}
