/* clock.h: wall time for people, monotonic time for durations. */
#ifndef BAKA_BASE_CLOCK_H
#define BAKA_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

int64_t clock_wall_ms(void);      /* Unix time in milliseconds */
int64_t clock_monotonic_us(void); /* CLOCK_MONOTONIC in microseconds */
/* "2026-11-23T14:05:09.123Z" */
void clock_format_utc(int64_t wall_ms, char out[32]);
/* "1d 2h", "3h 05m", "4m 07s", "5.2s", "830ms": for people */
void clock_format_duration(double seconds, char out[32]);
/* /proc/sys/kernel/random/boot_id, 36 characters; "unknown" where it cannot be read */
void clock_boot_id(char out[40]);
/* Start time of a process in clock ticks since boot (/proc/PID/stat field 22); 0 when there is no such process or it is
 * a zombie. With the pid it identifies a process. */
uint64_t clock_process_start(int pid);

#endif
