/* shim_alloc.c: a library for LD_PRELOAD in front of bakad alone: FAULT_ALLOC names a file of four 64-bit numbers that
 * the test maps too: the allocation that fails, counted from when this was set (0: none), those counted, those that
 * failed, and whether each from there on fails. Other programs that inherit the environment are left alone. */
#undef _FILE_OFFSET_BITS
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The C library's own, under the names that it exports for libraries like this one. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);

enum { NTH, CALLS, FAILED, ON, NUMBERS };

static _Atomic uint64_t *control;

__attribute__((constructor)) static void read_environment(void)
{
    static const char name[] = "/bakad";
    char program[4096];
    const char *path = getenv("FAULT_ALLOC");
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (!path || n < (ssize_t)sizeof name || memcmp(program + n - (sizeof name - 1), name, sizeof name - 1) != 0)
        return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, NUMBERS * sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        _exit(99);
    close(fd);
    control = map;
}

static bool fails(void)
{
    uint64_t nth = control ? atomic_load(&control[NTH]) : 0;
    if (nth == 0)
        return false;
    uint64_t n = atomic_fetch_add(&control[CALLS], 1) + 1;
    if (atomic_load(&control[ON]) ? n < nth : n != nth)
        return false;
    atomic_fetch_add(&control[FAILED], 1);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    return fails() ? NULL : __libc_realloc(block, size);
}
