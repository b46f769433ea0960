/* shim.h: a library for LD_PRELOAD that stands between a program and its files (shim_calls.c). It makes the n-th call
 * of a kind fail (shim_fail.c) and writes down what was done to files (shim_record.c). Both look at the environment
 * once, at the start of a process; without their variables nothing happens. The real calls are made by syscall(), so
 * nothing here depends on what the program itself has linked. */
#ifndef BAKA_TESTS_FAULTS_SHIM_H
#define BAKA_TESTS_FAULTS_SHIM_H

#include <stddef.h>
#include <sys/types.h>

enum shim_op {
    SHIM_OPEN, /* for writing, or to make it */
    SHIM_WRITE,
    SHIM_SYNC,
    SHIM_RENAME,
    SHIM_TRUNCATE,
    SHIM_ALLOCATE,
    SHIM_MKDIR,
    SHIM_REMOVE,
    SHIM_READ,
    SHIM_SPAWN, /* fork; its path is the program's own */
    SHIM_REPLY, /* to a socket, whose path is /proc's: socket:[12345] */
    SHIM_OPS
};

enum { SHIM_PATH = 4096, SHIM_SHORT = -1 };

/* 0: the call is made. SHIM_SHORT: of a write, one half is. Else the errno that the call fails with. */
int shim_fault(enum shim_op op, const char *path);

/* After a call that succeeded. `data` is what was written at `offset`; `other` a rename's new name; else 0 and NULL. */
void shim_record(const char *op, const char *path, const char *other, off_t offset, const void *data, size_t size);

/* The same for a call of which nothing is written down: only where the process is to die after it. */
void shim_after(void);

#endif
