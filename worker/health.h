/* health.h: the device's health into the journal: at the start, at the end, and between them now and then. A look takes
 * the host some milliseconds; where the backend has a step under way meanwhile, none of the device's time. Thread: the
 * trainer's main thread. */
#ifndef BAKA_WORKER_HEALTH_H
#define BAKA_WORKER_HEALTH_H

#include <stdint.h>

struct backend;
struct err;
struct journal_writer;

#define HEALTH_SECONDS 30

struct health {
    struct backend *backend;
    struct journal_writer *journal;
    int64_t looked_us; /* when the newest record was written */
};

/* Writes a `gpu` record, unless the backend has nothing to tell. `step` is the newest one done, now_us the monotonic
 * clock's. Errors are the journal's. */
int health_record(struct health *h, int64_t step, int64_t now_us, struct err *err);
/* The same, unless the newest is less than HEALTH_SECONDS old. */
int health_record_if_due(struct health *h, int64_t step, int64_t now_us, struct err *err);

#endif
