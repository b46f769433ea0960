/* api.c: the way of a call through the store and back, and RUN as JSON. */
#include "daemon/api.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "daemon/supervisor.h"

struct api_call *api_call_create(struct bakad *b, struct http_request *r, const void *arg, size_t size)
{
    struct api_call *call = calloc(1, sizeof *call);
    void *kept = arg != NULL ? malloc(size) : NULL;
    if (call == NULL || (arg != NULL && kept == NULL)) {
        struct err err;
        free(call);
        free(kept);
        err_set(&err, ERR_NO_MEMORY, "out of memory");
        http_reply_error(r, &err);
        return NULL;
    }
    if (arg != NULL) {
        call->arg = memcpy(kept, arg, size);
        call->free_arg = free;
    }
    call->bakad = b;
    call->request = r;
    call->status = 200;
    call->now_ms = clock_wall_ms();
    memcpy(call->ref, http_request_ref(r), strlen(http_request_ref(r)) + 1);
    return call;
}

static void call_destroy(struct api_call *call)
{
    if (call->free_arg != NULL)
        call->free_arg(call->arg);
    jsonw_finish(&call->out);
    free(call);
}

void api_call_fail(struct api_call *call, const struct err *err)
{
    http_reply_error(call->request, err);
    call_destroy(call);
}

static int on_run(struct store_conn *c, void *arg, struct err *err)
{
    struct api_call *call = arg;
    return call->run(c, call, err);
}

static void on_done(void *arg, int rc, const struct err *err)
{
    struct api_call *call = arg;
    struct err own;
    char *text;
    size_t size;
    if (rc != 0) {
        api_call_fail(call, err);
        return;
    }
    if (call->next != NULL) {
        void (*next)(struct api_call * call) = call->next;
        call->next = NULL;
        if (!call->bakad->stopping) {
            next(call);
            return;
        }
        err_set(&own, ERR_UNAVAILABLE, "the daemon is ending");
        api_call_fail(call, &own);
        return;
    }
    if (call->after != NULL)
        call->after(call);
    if (jsonw_take(&call->out, &text, &size, &own) != 0) {
        api_call_fail(call, &own);
        return;
    }
    http_reply(call->request, call->status, text, size);
    call_destroy(call);
}

static void prepare(struct api_call *call)
{
    call->job = (struct store_job){.run = on_run, .done = on_done, .arg = call};
}

void api_call_read(struct api_call *call)
{
    prepare(call);
    store_read(call->bakad->store, &call->job);
}

void api_call_write(struct api_call *call)
{
    prepare(call);
    store_write(call->bakad->store, &call->job);
}

struct computation {
    struct api_call *call;
    int (*work)(struct api_call *call, struct err *err);
    void (*done)(struct api_call *call);
};

static void on_work(uv_work_t *work)
{
    struct computation *x = work->data;
    x->call->rc = x->work(x->call, &x->call->err);
}

static void on_worked(uv_work_t *work, int status)
{
    struct computation *x = work->data;
    struct api_call *call = x->call;
    void (*done)(struct api_call * call) = x->done;
    struct bakad *b = call->bakad;
    free(x);
    if (status != 0)
        call->rc = err_set(&call->err, ERR_UNAVAILABLE, "the daemon is ending");
    if (call->rc != 0)
        api_call_fail(call, &call->err);
    else
        done(call);
    bakad_leave(b);
}

void api_call_compute(struct api_call *call, int (*work)(struct api_call *call, struct err *err),
                      void (*done)(struct api_call *call))
{
    struct computation *x = malloc(sizeof *x);
    struct err err;
    if (x == NULL) {
        err_set(&err, ERR_NO_MEMORY, "out of memory");
        api_call_fail(call, &err);
        return;
    }
    *x = (struct computation){call, work, done};
    call->work.data = x;
    bakad_enter(call->bakad);
    uv_queue_work(call->bakad->loop, &call->work, on_work, on_worked);
}

void api_store_real(struct jsonw *w, const char *key, const struct store_real *r)
{
    if (r->known)
        jsonw_real(w, key, r->value);
    else
        jsonw_null(w, key);
}

void api_store_int(struct jsonw *w, const char *key, int64_t value)
{
    if (value == STORE_UNKNOWN)
        jsonw_null(w, key);
    else
        jsonw_int(w, key, value);
}

static void write_tags(struct jsonw *w, const char *tags)
{
    jsonw_begin_array(w, "tags");
    while (*tags != '\0') {
        size_t n = strcspn(tags, ",");
        jsonw_bytes(w, NULL, tags, n);
        tags += n + (tags[n] == ',');
    }
    jsonw_end_array(w);
}

/* Time left at the pace of the last twentieth of an epoch; only a run that works has one. */
static void write_eta(struct jsonw *w, const struct store_run *r, bool waits)
{
    if (!waits && r->state == RUN_RUNNING && r->step_ms.known && r->total_steps != STORE_UNKNOWN &&
        r->at_step != STORE_UNKNOWN && r->total_steps >= r->at_step)
        jsonw_real(w, "eta_s", (double)(r->total_steps - r->at_step) * r->step_ms.value / 1000);
    else
        jsonw_null(w, "eta_s");
}

void api_run_fields(struct jsonw *w, const struct bakad *b, const struct store_run *r, int64_t now_ms)
{
    const char *waits = supervisor_waits_for(b->supervisor, r->id, r->state); /* newer than what the store could take */
    int64_t ran_ms = r->ran_ms;
    if (r->running_since_ms != STORE_UNKNOWN && now_ms > r->running_since_ms)
        ran_ms += now_ms - r->running_since_ms;
    jsonw_string(w, "id", r->id_text);
    jsonw_string(w, "name", r->name);
    jsonw_string(w, "kind", store_kind_word(r->kind));
    if (store_kind_is_job(r->kind)) {
        char source[STORE_ID_SIZE];
        store_id_text(r->source, source);
        jsonw_string(w, "source", source);
    }
    jsonw_string(w, "state", run_state_word(r->state));
    jsonw_int(w, "priority", r->priority);
    jsonw_string(w, "reason", waits != NULL ? waits : r->reason);
    jsonw_int(w, "attempts", r->attempts);
    api_store_int(w, "step", r->step);
    api_store_int(w, "total_steps", r->total_steps);
    api_store_real(w, "epoch", &r->epoch);
    api_store_int(w, "tokens", r->tokens);
    api_store_int(w, "params", r->params);
    api_store_real(w, "flops_per_token", &r->flops_per_token);
    api_store_real(w, "train_loss", &r->train_loss);
    api_store_real(w, "val_loss", &r->val_loss);
    api_store_real(w, "best_val_loss", &r->best_val_loss);
    api_store_real(w, "tok_s", &r->tok_s);
    api_store_real(w, "mfu", &r->mfu);
    api_store_real(w, "energy_j", &r->energy_j);
    write_eta(w, r, waits != NULL);
    jsonw_int(w, "created_ms", r->created_ms);
    api_store_int(w, "started_ms", r->started_ms);
    api_store_int(w, "ended_ms", r->ended_ms);
    if (r->started_ms == STORE_UNKNOWN && ran_ms == 0)
        jsonw_null(w, "seconds");
    else
        jsonw_real(w, "seconds", (double)ran_ms / 1000);
    api_store_int(w, "peak_memory_bytes", r->peak_memory_bytes);
    write_tags(w, r->tags);
    if (r->spec_hash[0] != '\0')
        jsonw_string(w, "spec_hash", r->spec_hash);
    else
        jsonw_null(w, "spec_hash");
    jsonw_int(w, "nondeterminism", r->nondeterminism);
    jsonw_int(w, "skipped_steps", r->skipped_steps);
    jsonw_int(w, "missing_steps", r->missing_steps);
    jsonw_bool(w, "cancelling", r->cancelling);
    jsonw_string(w, "stepping_aside", r->aside != ASIDE_NONE ? run_aside_word(r->aside) : NULL);
}

void api_quality_fields(struct jsonw *w, const struct store_quality *q)
{
    api_store_real(w, "perplexity", &q->perplexity);
    api_store_real(w, "bits_per_byte", &q->bits_per_byte);
    api_store_real(w, "word_perplexity", &q->word_perplexity);
}

void api_run_object(struct jsonw *w, const char *key, const struct bakad *b, const struct store_run *r, int64_t now_ms)
{
    jsonw_begin_object(w, key);
    api_run_fields(w, b, r, now_ms);
    jsonw_end_object(w);
}
