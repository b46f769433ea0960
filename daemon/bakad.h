/* bakad.h: the parts of the one daemon of a process, as main.c puts them together. Read on the loop's thread; what
 * store threads may read is said. The parts do not change between start and stop. */
#ifndef BAKA_DAEMON_BAKAD_H
#define BAKA_DAEMON_BAKAD_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include "daemon/scheduler.h"

struct config;
struct http;
struct nvml;
struct store;
struct stream_hub;
struct supervisor;

struct bakad {
    uv_loop_t *loop;
    const struct config *config;  /* any thread */
    struct sched_machine machine; /* any thread */
    uint64_t memory_bytes;        /* of the machine; any thread */
    int64_t started_ms;
    struct nvml *nvml; /* NULL: no GPU */
    struct store *store;
    struct http *http;
    struct stream_hub *streams;
    struct supervisor *supervisor;
    bool stopping;
    int pending;                      /* pieces of work on libuv's threads that will still use what is above */
    void (*settled)(struct bakad *b); /* once stopping and none is pending */
};

/* Around every uv_queue_work: the parts are taken down only when all have left. */
void bakad_enter(struct bakad *b);
void bakad_leave(struct bakad *b);

#endif
