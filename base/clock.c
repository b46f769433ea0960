/* clock.c: see clock.h. Nothing here fails: what cannot be read has a stated stand-in. */
#include "base/clock.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int64_t clock_wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t clock_monotonic_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void clock_format_utc(int64_t wall_ms, char out[32])
{
    int64_t ms = wall_ms % 1000;
    time_t seconds = (time_t)(wall_ms / 1000);
    if (ms < 0) {
        ms += 1000;
        seconds--;
    }
    struct tm tm;
    char text[24];
    /* years beyond 9999 do not fit the form; they come only from damaged records */
    if (!gmtime_r(&seconds, &tm) || tm.tm_year > 8099 || tm.tm_year < -1900 ||
        !strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm)) {
        snprintf(out, 32, "invalid-time");
        return;
    }
    snprintf(out, 32, "%.23s.%03dZ", text, (int)ms);
}

void clock_format_duration(double seconds, char out[32])
{
    if (!(seconds >= 0) || seconds > 1e12) {
        snprintf(out, 32, "?");
        return;
    }
    if (seconds < 0.9995) {
        snprintf(out, 32, "%.0fms", seconds * 1000);
        return;
    }
    if (seconds < 59.95) {
        snprintf(out, 32, "%.1fs", seconds);
        return;
    }
    int64_t s = (int64_t)llround(seconds);
    if (s < 3600)
        snprintf(out, 32, "%" PRId64 "m %02" PRId64 "s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, 32, "%" PRId64 "h %02" PRId64 "m", s / 3600, s % 3600 / 60);
    else
        snprintf(out, 32, "%" PRId64 "d %" PRId64 "h", s / 86400, s % 86400 / 3600);
}

/* Reads a small file of /proc in one go; its length, or 0. */
static size_t read_small(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, buffer, size - 1);
    close(fd);
    if (n < 0)
        n = 0;
    buffer[n] = 0;
    return (size_t)n;
}

void clock_boot_id(char out[40])
{
    char text[64];
    if (read_small("/proc/sys/kernel/random/boot_id", text, sizeof text) < 36) {
        snprintf(out, 40, "unknown");
        return;
    }
    snprintf(out, 40, "%.36s", text);
}

uint64_t clock_process_start(int pid)
{
    if (pid <= 0)
        return 0;
    char path[48], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (read_small(path, text, sizeof text) == 0)
        return 0;
    /* the command name, field 2, may hold blanks and parentheses: fields count from the last ')' */
    char *at = strrchr(text, ')');
    if (!at || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X' || !at[2])
        return 0;
    at += 2;
    for (int field = 3; field < 22; field++) {
        at = strchr(at, ' ');
        if (!at)
            return 0;
        at++;
    }
    return strtoull(at, NULL, 10);
}
