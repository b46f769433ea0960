/* stream.c: see stream.h.
 *
 * A watched run is one that somebody follows; it holds the text of its newest events once for all who do. A
 * subscription joins a client to a watched run and knows which of the two events the client has not had. A client holds
 * one block of text that is being sent; when that is out, it is refilled from whatever is dirty then.
 */
#include "daemon/stream.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "daemon/api.h"
#include "schema/journal.h"

enum { BUCKETS = 1024, BLOCK_ENOUGH = 8 << 10 };

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

struct client {
    struct http_stream *stream;
    struct stream_hub *hub;
    struct client *next, **link;
    size_t count, at; /* subscriptions; where the next search begins */
    struct subscription *subscriptions;
    bool comment;
    char *block;
    size_t block_size, block_sent;
};

struct stream_hub {
    struct bakad *bakad;
    struct watched *buckets[BUCKETS];
    struct client *clients;
    uv_timer_t steps;    /* while a step waits for its turn */
    uv_timer_t comments; /* while a client is there */
    int handles;
};

static void wake(struct client *c)
{
    if (c->stream != NULL)
        http_stream_wake(c->stream);
}

/* --- watched runs --------------------------------------------------------------------------------------------------
 */

static struct watched *watched_find(struct stream_hub *hub, int64_t run)
{
    struct watched *w = hub->buckets[(uint64_t)run % BUCKETS];
    while (w != NULL && w->run != run)
        w = w->next;
    return w;
}

static struct watched *watched_get(struct stream_hub *hub, int64_t run)
{
    struct watched *w = watched_find(hub, run);
    if (w != NULL)
        return w;
    w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    struct watched **bucket = &hub->buckets[(uint64_t)run % BUCKETS];
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

static void watched_release(struct watched *w)
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

static void read_begin(struct watched *w);

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
            watched_release(w);
        else
            read_begin(w);
        return;
    }
    if (rc == 0 && jsonw_take(&w->out, &text, &size, NULL) == 0) {
        free(w->run_text);
        w->run_text = text;
        for (struct subscription *s = w->subscriptions; s != NULL; s = s->next)
            if (s->wants_run || w->changed) {
                s->wants_run = false;
                s->run_dirty = true;
                wake(s->client);
            }
        w->changed = false;
    }
    jsonw_finish(&w->out);
    watched_release(w);
}

static void read_begin(struct watched *w)
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
    read_begin(w);
}

static void on_steps(uv_timer_t *timer);

static void step_emit(struct watched *w, uint64_t now)
{
    w->step_pending = false;
    w->step_sent = now;
    for (struct subscription *s = w->subscriptions; s != NULL; s = s->next) {
        s->step_dirty = true;
        wake(s->client);
    }
}

static void on_steps(uv_timer_t *timer)
{
    struct stream_hub *hub = timer->data;
    uint64_t now = uv_now(hub->bakad->loop);
    bool more = false;
    for (int i = 0; i < BUCKETS; i++)
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

/* --- clients -------------------------------------------------------------------------------------------------------
 */

static void write_step(struct jsonw *out, const struct watched *w)
{
    jsonw_text(out, "event: step\ndata: ");
    jsonw_begin_object(out, NULL);
    jsonw_string(out, "id", w->id);
    jsonw_int(out, "step", w->step.step);
    api_store_int(out, "total_steps", w->total_steps);
    jsonw_real(out, "epoch", w->step.epoch);
    jsonw_int(out, "tokens", w->step.tokens);
    jsonw_real(out, "loss", w->step.loss);
    jsonw_real(out, "tok_s", w->step.tok_s);
    if (w->total_steps >= w->step.step)
        jsonw_real(out, "eta_s", (double)(w->total_steps - w->step.step) * w->step_ms / 1000);
    else
        jsonw_null(out, "eta_s");
    jsonw_end_object(out);
    jsonw_text(out, "\n\n");
}

/* Collects what this client has not had, round robin from where the last block ended. */
static void refill(struct client *c)
{
    struct jsonw out = {0};
    if (c->comment)
        jsonw_text(&out, ": still here\n\n");
    c->comment = false;
    for (size_t n = 0; n < c->count && out.size < BLOCK_ENOUGH; n++) {
        struct subscription *s = &c->subscriptions[c->at];
        c->at = (c->at + 1) % c->count;
        if (s->wants_run)
            continue; /* its state comes first, and is being read */
        if (s->run_dirty && s->watched->run_text != NULL)
            jsonw_text(&out, s->watched->run_text);
        if (s->step_dirty && s->watched->has_step)
            write_step(&out, s->watched);
        s->run_dirty = s->step_dirty = false;
    }
    free(c->block);
    c->block = NULL;
    c->block_size = c->block_sent = 0;
    if (out.size > 0 && jsonw_take(&out, &c->block, &c->block_size, NULL) != 0)
        c->block = NULL;
    jsonw_finish(&out);
}

static size_t pull(void *arg, char *buf, size_t max)
{
    struct client *c = arg;
    if (c->block_sent == c->block_size)
        refill(c);
    size_t n = c->block_size - c->block_sent;
    if (n > max)
        n = max;
    if (n > 0)
        memcpy(buf, c->block + c->block_sent, n);
    c->block_sent += n;
    return n;
}

static void client_free(struct client *c)
{
    for (size_t i = 0; i < c->count; i++) {
        struct subscription *s = &c->subscriptions[i];
        *s->link = s->next;
        if (s->next != NULL)
            s->next->link = s->link;
        watched_release(s->watched);
    }
    if (c->link != NULL) {
        *c->link = c->next;
        if (c->next != NULL)
            c->next->link = c->link;
    }
    if (c->hub->clients == NULL)
        uv_timer_stop(&c->hub->comments);
    free(c->subscriptions);
    free(c->block);
    free(c);
}

static void on_stream_closed(void *arg)
{
    struct client *c = arg;
    c->stream = NULL;
    client_free(c);
}

static void on_comments(uv_timer_t *timer)
{
    struct stream_hub *hub = timer->data;
    for (struct client *c = hub->clients; c != NULL; c = c->next) {
        c->comment = true;
        wake(c);
        for (size_t i = 0; i < c->count; i++) /* a state that could not be read */
            if (c->subscriptions[i].wants_run || c->subscriptions[i].watched->changed)
                read_begin(c->subscriptions[i].watched);
    }
}

/* --- opening -------------------------------------------------------------------------------------------------------
 */

struct opening {
    struct bakad *bakad;
    struct http_request *request;
    struct store_job job;
    size_t ref_count, count, capacity;
    char (*refs)[NAME_SIZE];
    int64_t *runs;
};

static void opening_free(struct opening *o)
{
    free(o->refs);
    free(o->runs);
    free(o);
}

static int add_runs(struct opening *o, const int64_t *ids, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        bool there = false;
        for (size_t k = 0; k < o->count && !there; k++)
            there = o->runs[k] == ids[i];
        if (there)
            continue;
        if (o->count == STREAM_MAX_RUNS)
            return err_set_at(err, ERR_TOO_LARGE, "ref", "more than %d runs in one stream", STREAM_MAX_RUNS);
        if (o->count == o->capacity) {
            size_t capacity = o->capacity ? 2 * o->capacity : 16;
            int64_t *runs = realloc(o->runs, capacity * sizeof *runs);
            if (runs == NULL)
                return err_set(err, ERR_NO_MEMORY, "out of memory");
            o->runs = runs;
            o->capacity = capacity;
        }
        o->runs[o->count++] = ids[i];
    }
    return 0;
}

static int run_open(struct store_conn *c, void *arg, struct err *err)
{
    struct opening *o = arg;
    int rc = 0;
    for (size_t i = 0; i < o->ref_count && rc == 0; i++) {
        int64_t *ids;
        size_t n;
        rc = store_resolve_list(c, o->refs[i], &ids, &n, err);
        if (rc != 0)
            return rc;
        rc = add_runs(o, ids, n, err);
        free(ids);
    }
    return rc;
}

static int subscribe(struct client *c, const struct opening *o, struct err *err)
{
    c->subscriptions = calloc(o->count, sizeof *c->subscriptions);
    if (c->subscriptions == NULL)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < o->count; i++) {
        struct subscription *s = &c->subscriptions[i];
        struct watched *w = watched_get(c->hub, o->runs[i]);
        if (w == NULL)
            return err_set(err, ERR_NO_MEMORY, "out of memory");
        *s = (struct subscription){
            .client = c, .watched = w, .next = w->subscriptions, .link = &w->subscriptions, .wants_run = true};
        if (s->next != NULL)
            s->next->link = &s->next;
        w->subscriptions = s;
        c->count++;
    }
    return 0;
}

static void on_opened(void *arg, int rc, const struct err *err)
{
    struct opening *o = arg;
    struct stream_hub *hub = o->bakad->streams;
    struct client *c = rc == 0 ? calloc(1, sizeof *c) : NULL;
    struct err own;
    if (rc != 0)
        own = *err;
    else if (c == NULL)
        rc = err_set(&own, ERR_NO_MEMORY, "out of memory");
    else {
        c->hub = hub;
        rc = subscribe(c, o, &own);
    }
    if (rc != 0) {
        if (c != NULL)
            client_free(c);
        http_reply_error(o->request, &own);
        opening_free(o);
        return;
    }
    c->stream = http_reply_stream(o->request, pull, on_stream_closed, c);
    if (c->stream == NULL) {
        client_free(c);
        opening_free(o);
        return;
    }
    c->next = hub->clients;
    c->link = &hub->clients;
    if (c->next != NULL)
        c->next->link = &c->next;
    hub->clients = c;
    if (!uv_is_active((uv_handle_t *)&hub->comments))
        uv_timer_start(&hub->comments, on_comments, STREAM_COMMENT_MS, STREAM_COMMENT_MS);
    for (size_t i = 0; i < c->count; i++)
        read_begin(c->subscriptions[i].watched);
    opening_free(o);
}

static void handle(struct bakad *b, struct http_request *r)
{
    struct opening *o = calloc(1, sizeof *o);
    struct err err;
    size_t n = 0;
    int rc = o == NULL ? err_set(&err, ERR_NO_MEMORY, "out of memory") : 0;
    while (http_request_query_nth(r, "ref", n) != NULL)
        n++;
    if (rc == 0 && n == 0)
        rc = err_set_at(&err, ERR_INVALID, "ref", "at least one run's id, name or tag is needed");
    if (rc == 0 && (o->refs = calloc(n, sizeof *o->refs)) == NULL)
        rc = err_set(&err, ERR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n && rc == 0; i++) {
        const char *ref = http_request_query_nth(r, "ref", i);
        if (!name_is_valid(ref))
            rc = err_set_at(&err, ERR_INVALID, "ref", "\"%.80s\" is neither an id nor a name", ref);
        else
            memcpy(o->refs[i], ref, strlen(ref) + 1);
    }
    if (rc != 0) {
        http_reply_error(r, &err);
        if (o != NULL)
            opening_free(o);
        return;
    }
    o->bakad = b;
    o->request = r;
    o->ref_count = n;
    o->job = (struct store_job){.run = run_open, .done = on_opened, .arg = o};
    store_read(b->store, &o->job);
}

const struct http_route stream_routes[] = {
    {.method = "GET", .path = "/v1/stream", .query = "ref*", .handle = handle},
    {.method = NULL},
};

/* --- the hub -------------------------------------------------------------------------------------------------------
 */

int stream_hub_create(struct bakad *b, struct stream_hub **out, struct err *err)
{
    struct stream_hub *hub = calloc(1, sizeof *hub);
    if (hub == NULL)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    hub->bakad = b;
    uv_timer_init(b->loop, &hub->steps);
    uv_timer_init(b->loop, &hub->comments);
    hub->steps.data = hub->comments.data = hub;
    *out = hub;
    return 0;
}

static void on_hub_closed(uv_handle_t *handle_)
{
    struct stream_hub *hub = handle_->data;
    if (--hub->handles == 0)
        free(hub);
}

void stream_hub_destroy(struct stream_hub *hub)
{
    hub->handles = 2;
    uv_close((uv_handle_t *)&hub->steps, on_hub_closed);
    uv_close((uv_handle_t *)&hub->comments, on_hub_closed);
}
