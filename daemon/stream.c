/* stream.c: see stream.h.
 *
 * A watched run is one that somebody follows; it holds the text of its newest events once for all who do. A
 * subscription joins a client to a watched run and knows which of the two events the client has not had. A client holds
 * one block of text that is being sent; when that is out, it is refilled from whatever is dirty then.
 */
#include "daemon/stream_internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "daemon/api.h"

enum { BLOCK_ENOUGH = 8 << 10 };

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

/* --- clients -------------------------------------------------------------------------------------------------------
 */

void stream_client_wake(struct client *c)
{
    if (c->stream != NULL)
        http_stream_wake(c->stream);
}

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
        stream_watch_release(s->watched);
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
        stream_client_wake(c);
        for (size_t i = 0; i < c->count; i++) /* a state that could not be read */
            if (c->subscriptions[i].wants_run || c->subscriptions[i].watched->changed)
                stream_watch_read(c->subscriptions[i].watched);
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
        struct watched *w = stream_watch_get(c->hub, o->runs[i]);
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
        stream_watch_read(c->subscriptions[i].watched);
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
