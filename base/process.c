/* process.c: see process.h. */
#include "base/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Reads a small file of /proc in one go, without a newline at its end; false where there is none. */
static bool read_small(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, buffer, size - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return false;
    if (n > 0 && buffer[n - 1] == '\n')
        n--;
    buffer[n] = '\0';
    return true;
}

int process_child(int pid)
{
    char path[64], text[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    return read_small(path, text, sizeof text) ? (int)strtol(text, NULL, 10) : 0;
}

/* State letter and start time out of a stat file: fields count from the last ')', a name may hold anything. */
static bool read_stat(const char *path, char *state, uint64_t *start_time)
{
    char text[1024];
    if (!read_small(path, text, sizeof text))
        return false;
    const char *at = strrchr(text, ')');
    if (at == NULL || at[1] != ' ' || at[2] == '\0')
        return false;
    *state = at[2];
    at += 2;
    for (int field = 3; field < 22 && at != NULL; field++) {
        at = strchr(at, ' ');
        at = at != NULL ? at + 1 : NULL;
    }
    *start_time = at != NULL ? strtoull(at, NULL, 10) : 0;
    return at != NULL;
}

static bool is_gone(char state)
{
    return state == 'Z' || state == 'X' || state == 'x';
}

struct threads {
    int alive, stuck;
    char stuck_in[64];
};

static struct threads look_at_threads(int pid)
{
    struct threads t = {0};
    char path[320];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *dir = opendir(path);
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char state;
        uint64_t start;
        snprintf(path, sizeof path, "/proc/%d/task/%s/stat", pid, entry->d_name);
        if (entry->d_name[0] == '.' || !read_stat(path, &state, &start) || is_gone(state))
            continue;
        t.alive++;
        if (state != 'D')
            continue;
        t.stuck++;
        snprintf(path, sizeof path, "/proc/%d/task/%s/wchan", pid, entry->d_name);
        read_small(path, t.stuck_in, sizeof t.stuck_in);
    }
    if (dir != NULL)
        closedir(dir);
    return t;
}

bool process_lives(int pid, uint64_t start_time)
{
    char path[64], state;
    uint64_t start;
    if (pid <= 0 || start_time == 0)
        return false;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (!read_stat(path, &state, &start) || start != start_time)
        return false;
    return !is_gone(state) || look_at_threads(pid).alive > 0;
}

static const char *state_word(char state)
{
    switch (state) {
    case 'R':
        return "running";
    case 'S':
        return "sleeping";
    case 'D':
        return "in uninterruptible sleep (D)";
    case 'T':
        return "stopped (SIGSTOP)";
    case 't':
        return "stopped by a debugger";
    case 'Z':
        return "ended, not yet released (zombie)";
    default:
        return "in an unknown state";
    }
}

void process_describe(int pid, char *out, size_t size)
{
    char path[64], state, in[64] = "";
    uint64_t start;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (pid <= 0 || !read_stat(path, &state, &start)) {
        snprintf(out, size, "pid %d: gone", pid);
        return;
    }
    snprintf(path, sizeof path, "/proc/%d/wchan", pid);
    bool waits = read_small(path, in, sizeof in) && in[0] != '\0' && strcmp(in, "0") != 0;
    struct threads t = look_at_threads(pid);
    int n = snprintf(out, size, "pid %d: %s%s%s", pid, state_word(state), waits ? " in " : "", waits ? in : "");
    if (t.stuck > 0 && state != 'D' && n > 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n, "; %d of its threads in uninterruptible sleep (D)%s%s", t.stuck,
                 t.stuck_in[0] != '\0' ? " in " : "", t.stuck_in);
}
