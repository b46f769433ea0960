/* stream_watch.c: runs that somebody follows: the text of the newest state, read once for all who follow, and the
 * newest step. What comes in marks the subscriptions that have not had it and wakes their clients. */
#include "daemon/stream_internal.h"

#include <stdlib.h>
#include "base/clock.h"
#include "base/err.h"
#include "daemon/api.h"

static struct watched *watched_find(struct stream_hub *hub, int64_t run)
{
    struct watched *w = hub->buckets[(uint64_t)run % STREAM_BUCKETS];
    while (w != NULL && w->run != run)
        w = w->next;
    return w;
}

struct watched *stream_watch_get(struct stream_hub *hub, int64_t run)
{
    struct watched *w = watched_find(hub, run);
    if (w != NULL)
        return w;
    w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    struct watched **bucket = &hub->buckets[(uint64_t)run % STREAM_BUCKETS];
    w->hub = hub;
    w->run = run;
    store_id_text(run, w->id);
    w->next = *bucket;
    w->link = bucket;
    if (w->next != NULL)
        w->next->link = &w->next;
    *bucket = w;
    return w;
}

void stream_watch_release(struct watched *w)
{
    if (w->subscriptions != NULL || w->reading)
        return;
    *w->link = w->next;
    if (w->next != NULL)
        w->next->link = w->link;
    jsonw_finish(&w->out);
    free(w->run_text);
    free(w);
}

static int run_read(struct store_conn *c, void *arg, struct err *err)
{
    struct watched *w = arg;
    struct store_run run;
    int rc = store_run_get(c, w->run, &run, err);
    if (rc != 0)
        return rc;
    jsonw_text(&w->out, "event: run\ndata: ");
    api_run_object(&w->out, NULL, w->hub->bakad, &run, clock_wall_ms());
    jsonw_text(&w->out, "\n\n");
    store_run_finish(&run);
    return 0;
}

static void on_read(void *arg, int rc, const struct err *err)
{
    struct watched *w = arg;
    char *text;
    size_t size;
    (void)err;
    w->reading = false;
    if (w->again) {
        jsonw_finish(&w->out);
        if (rc == -ERR_UNAVAILABLE) /* the store closes */
            stream_watch_release(w);
        else
            stream_watch_read(w);
        return;
    }
    if (rc == 0 && jsonw_take(&w->out, &text, &size, NULL) == 0) {
        free(w->run_text);
        w->run_text = text;
        for (struct subscription *s = w->subscriptions; s != NULL; s = s->next)
            if (s->wants_run || w->changed) {
                s->wants_run = false;
                s->run_dirty = true;
                stream_client_wake(s->client);
            }
        w->changed = false;
    }
    jsonw_finish(&w->out);
    stream_watch_release(w);
}

void stream_watch_read(struct watched *w)
{
    w->again = w->reading;
    if (w->reading)
        return;
    w->reading = true;
    w->job = (struct store_job){.run = run_read, .done = on_read, .arg = w};
    store_read(w->hub->bakad->store, &w->job);
}

void stream_run_changed(struct stream_hub *hub, int64_t run)
{
    struct watched *w = watched_find(hub, run);
    if (w == NULL)
        return;
    w->changed = true;
    stream_watch_read(w);
}

static void step_emit(struct watched *w, uint64_t now)
{
    w->step_pending = false;
    w->step_sent = now;
    for (struct subscription *s = w->subscriptions; s != NULL; s = s->next) {
        s->step_dirty = true;
        stream_client_wake(s->client);
    }
}

static void on_steps(uv_timer_t *timer)
{
    struct stream_hub *hub = timer->data;
    uint64_t now = uv_now(hub->bakad->loop);
    bool more = false;
    for (int i = 0; i < STREAM_BUCKETS; i++)
        for (struct watched *w = hub->buckets[i]; w != NULL; w = w->next)
            if (w->step_pending && now - w->step_sent >= STREAM_STEP_MS)
                step_emit(w, now);
            else
                more = more || w->step_pending;
    if (!more)
        uv_timer_stop(timer);
}

void stream_step(struct stream_hub *hub, int64_t run, const struct journal_step *step, int64_t total_steps)
{
    struct watched *w = watched_find(hub, run);
    uint64_t now = uv_now(hub->bakad->loop);
    if (w == NULL)
        return;
    w->step_ms = w->step_ms > 0 ? w->step_ms + 0.1 * (step->ms - w->step_ms) : step->ms;
    w->has_step = true;
    w->step = *step;
    w->total_steps = total_steps;
    if (w->step_sent == 0 || now - w->step_sent >= STREAM_STEP_MS)
        step_emit(w, now);
    else {
        w->step_pending = true;
        if (!uv_is_active((uv_handle_t *)&hub->steps))
            uv_timer_start(&hub->steps, on_steps, STREAM_STEP_MS / 4, STREAM_STEP_MS / 4);
    }
}
