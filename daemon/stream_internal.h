/* stream_internal.h: what stream.c (clients) and stream_watch.c (runs that somebody follows) share. Nobody else
 * includes it. */
#ifndef BAKA_DAEMON_STREAM_INTERNAL_H
#define BAKA_DAEMON_STREAM_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>
#include "daemon/bakad.h"
#include "daemon/jsonw.h"
#include "daemon/store.h"
#include "daemon/store_run.h"
#include "daemon/stream.h"
#include "schema/journal.h"

enum { STREAM_BUCKETS = 1024 };

struct client;

struct subscription {
    struct client *client;
    struct watched *watched;
    struct subscription *next, **link; /* of the watched run */
    bool run_dirty, step_dirty;
    bool wants_run; /* a new one: it must see the state as it is after it subscribed */
};

struct watched {
    struct stream_hub *hub;
    struct watched *next, **link; /* of the bucket */
    int64_t run;
    char id[STORE_ID_SIZE];
    struct subscription *subscriptions;
    char *run_text;
    bool changed;        /* the state did, since the read in flight began or will */
    bool reading, again; /* one read at a time: two could come back in the wrong order */
    struct store_job job;
    struct jsonw out;
    bool has_step, step_pending;
    struct journal_step step;
    int64_t total_steps;
    double step_ms; /* smoothed, for the time left */
    uint64_t step_sent;
};

struct stream_hub {
    struct bakad *bakad;
    struct watched *buckets[STREAM_BUCKETS];
    struct client *clients;
    uv_timer_t steps;    /* while a step waits for its turn */
    uv_timer_t comments; /* while a client is there */
    int handles;
};

/* NULL when memory is out; released by stream_watch_release. */
struct watched *stream_watch_get(struct stream_hub *hub, int64_t run);
/* Frees it when nobody follows it and no read is in flight. */
void stream_watch_release(struct watched *w);
/* Reads the run's state for its followers; a read that is in flight is followed by another. */
void stream_watch_read(struct watched *w);
/* Something of a subscription is dirty. */
void stream_client_wake(struct client *c);

#endif
