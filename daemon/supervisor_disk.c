/* supervisor_disk.c: room on the disk of the runs, before it is full. Below the low mark nothing is launched and who is
 * at work checkpoints and steps aside; above the high mark it goes on. Each run at work has a claim to one more
 * checkpoint on top of the marks, so that stepping aside finds room; a launch needs room for as many checkpoints as
 * pruning will leave of its run. A file system that could never reach the high mark twice over is not watched, for all
 * would wait for ever. */
#include "daemon/supervisor_internal.h"

#include <sys/statvfs.h>
#include "base/err.h"
#include "base/log.h"
#include "daemon/config.h"

struct space {
    int64_t free, low, high;
    bool watched;
};

static int64_t claims(const struct supervisor *s)
{
    int64_t bytes = 0;
    for (const struct supervised *a = s->active; a != NULL; a = a->next)
        if (a->phase != PHASE_CLAIMING) /* the store's thread is finding it out */
            bytes += a->checkpoint_bytes;
    return bytes;
}

static struct space look(const struct supervisor *s)
{
    const struct config *c = s->bakad->config;
    struct space out = {0};
    struct statvfs fs;
    char path[PATH_SIZE];
    int64_t low = (int64_t)c->disk_low_mib << 20;
    int64_t high = (int64_t)(c->disk_high_mib > c->disk_low_mib ? c->disk_high_mib : c->disk_low_mib) << 20;
    if (low == 0 || path_format(path, NULL, "%s/runs", c->home) != 0 ||
        (statvfs(path, &fs) != 0 && statvfs(c->home, &fs) != 0))
        return out;
    out.free = (int64_t)(fs.f_bavail * fs.f_frsize);
    out.watched = (int64_t)(fs.f_blocks * fs.f_frsize) >= 2 * high;
    out.low = low + claims(s);
    out.high = high + claims(s);
    return out;
}

static void set_low(struct supervisor *s, bool low, const struct space *space)
{
    s->trouble.disk_low = low;
    log_event(low ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, low ? "disk_low" : "disk_no_longer_low",
              "free_mib=%lld low_mib=%lld high_mib=%lld", (long long)(space->free >> 20), (long long)(space->low >> 20),
              (long long)(space->high >> 20));
    trouble_publish(s);
    if (!low)
        supervisor_wake_in(s, 0);
}

bool disk_is_low(struct supervisor *s)
{
    struct space space = look(s);
    bool low = space.watched && space.free < (s->trouble.disk_low ? space.high : space.low);
    if (low != s->trouble.disk_low)
        set_low(s, low, &space);
    s->trouble.disk_free = space.free;
    return low;
}

void disk_look(struct supervisor *s)
{
    uint64_t now = uv_now(s->bakad->loop);
    char text[128];
    if (now < s->trouble.disk_look_at)
        return;
    s->trouble.disk_look_at = now + LOOK_MS;
    if (!disk_is_low(s))
        return;
    snprintf(text, sizeof text, "%lld MiB are free", (long long)(s->trouble.disk_free >> 20));
    for (struct supervised *a = s->active; a != NULL; a = a->next)
        if (aside_is_possible(a))
            aside_begin(a, ASIDE_DISK, text);
}

int disk_preflight(struct supervised *a, struct err *err)
{
    struct space space = look(a->supervisor);
    int64_t count = a->supervisor->bakad->config->keep_checkpoints + 1 - a->good_checkpoints;
    int64_t needed = a->checkpoint_bytes * (count > 1 ? count : 1);
    /* its own claim is in the marks already */
    if (!space.watched || space.free - (space.low - a->checkpoint_bytes) >= needed)
        return 0;
    return err_set(err, ERR_NO_SPACE,
                   "%lld MiB are needed for checkpoints (%lld of %lld MiB), %lld MiB are free, of which %lld are kept "
                   "for what runs and for the rest of the machine",
                   (long long)(needed >> 20), (long long)(count > 1 ? count : 1),
                   (long long)(a->checkpoint_bytes >> 20), (long long)(space.free >> 20),
                   (long long)((space.low - a->checkpoint_bytes) >> 20));
}
