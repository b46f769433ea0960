/* process.h: what /proc tells of a process. Nothing fails: what cannot be read is not there. */
#ifndef BAKA_BASE_PROCESS_H
#define BAKA_BASE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first child of a process of one thread, also one that has ended and was not waited for; 0: none. */
int process_child(int pid);
/* Whether the process that began then is there, with any of its threads: a thread that the kernel does not let go
 * keeps its process, whose leader is a zombie by then. */
bool process_lives(int pid, uint64_t start_time);
/* "pid 123: sleeping in futex_do_wait; 2 threads stuck in nv_wait", for people; "pid 123: gone" */
void process_describe(int pid, char *out, size_t size);

#endif
