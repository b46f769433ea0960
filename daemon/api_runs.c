/* api_runs.c: GET /v1/runs and /v1/runs/REF. */
#include "daemon/api.h"

#include <stdlib.h>
#include <string.h>
#include "daemon/store_attempt.h"

enum { EVENTS_SHOWN = 200 };

struct list_query {
    bool by_state;
    enum run_state state;
    char tag[NAME_SIZE], ref[NAME_SIZE]; /* "": any */
    long long after, limit;
};

static int run_list(struct store_conn *c, struct api_call *call, struct err *err)
{
    const struct list_query *q = call->arg;
    const struct store_filter filter = {
        .by_state = q->by_state,
        .state = q->state,
        .tag = q->tag[0] != '\0' ? q->tag : NULL,
        .ref = q->ref[0] != '\0' ? q->ref : NULL,
        .after = q->after,
        .limit = (int)q->limit,
    };
    struct jsonw *w = &call->out;
    struct store_run *runs;
    size_t n;
    int64_t next;
    int rc = store_run_list(c, &filter, &runs, &n, &next, err);
    if (rc != 0)
        return rc;
    jsonw_begin_object(w, NULL);
    jsonw_begin_array(w, "runs");
    for (size_t i = 0; i < n; i++)
        api_run_object(w, NULL, call->bakad, &runs[i], call->now_ms);
    jsonw_end_array(w);
    if (next != 0) {
        char text[STORE_ID_SIZE];
        store_id_text(next, text);
        jsonw_string(w, "next", text);
    } else {
        jsonw_null(w, "next");
    }
    jsonw_end_object(w);
    store_runs_free(runs, n);
    return 0;
}

static int read_name(const struct http_request *r, const char *key, char out[NAME_SIZE], struct err *err)
{
    const char *value = http_request_query(r, key);
    if (value == NULL)
        return 0;
    if (!name_is_valid(value))
        return err_set_at(err, ERR_INVALID, key,
                          "must be a name: 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit");
    memcpy(out, value, strlen(value) + 1);
    return 0;
}

static int read_list_query(const struct http_request *r, struct list_query *q, struct err *err)
{
    const char *state = http_request_query(r, "state"), *cursor = http_request_query(r, "cursor");
    int64_t after = 0;
    q->limit = STORE_PAGE_MAX;
    if (state != NULL) {
        q->by_state = true;
        if (!run_state_parse(state, &q->state))
            return err_set_at(
                err, ERR_INVALID, "state",
                "'%.40s' is no state: queued, blocked, starting, running, paused, finished, stopped, failed, "
                "diverged, cancelled",
                state);
    }
    if (cursor != NULL && !store_id_parse(cursor, &after))
        return err_set_at(err, ERR_INVALID, "cursor", "must be the \"next\" of an earlier page");
    q->after = after;
    int rc = http_request_query_int(r, "limit", 1, STORE_PAGE_MAX, &q->limit, err);
    if (rc == 0)
        rc = read_name(r, "tag", q->tag, err);
    if (rc == 0)
        rc = read_name(r, "ref", q->ref, err);
    return rc;
}

static void handle_list(struct bakad *b, struct http_request *r)
{
    struct list_query query = {0};
    struct err err;
    if (read_list_query(r, &query, &err) != 0) {
        http_reply_error(r, &err);
        return;
    }
    struct api_call *call = api_call_create(b, r, &query, sizeof query);
    if (call == NULL)
        return;
    call->run = run_list;
    api_call_read(call);
}

static int write_attempts(struct store_conn *c, struct jsonw *w, int64_t id, struct err *err)
{
    struct store_attempt *attempts;
    size_t n;
    int rc = store_attempts(c, id, &attempts, &n, err);
    if (rc != 0)
        return rc;
    jsonw_begin_array(w, "attempt_list");
    for (size_t i = 0; i < n; i++) {
        const struct store_attempt *a = &attempts[i];
        jsonw_begin_object(w, NULL);
        jsonw_int(w, "attempt", a->n);
        jsonw_bool(w, "active", a->active);
        jsonw_string(w, "resume", a->resume[0] != '\0' ? a->resume : NULL);
        jsonw_int(w, "resume_step", a->resume_step);
        jsonw_int(w, "last_step", a->last_step);
        jsonw_string(w, "outcome", a->outcome);
        jsonw_string(w, "end_reason", a->end_reason[0] != '\0' ? a->end_reason : NULL);
        jsonw_string(w, "end_text", a->end_text);
        jsonw_string(w, "numerics_id", a->numerics_id[0] != '\0' ? a->numerics_id : NULL);
        jsonw_string(w, "device", a->device);
        api_store_int(w, "threads", a->threads);
        api_store_int(w, "memory_bytes", a->memory_bytes);
        api_store_real(w, "peak_flops", &a->peak_flops);
        jsonw_bool(w, "journal_damaged", a->journal_damaged);
        api_store_int(w, "exit_status", a->exit_status);
        api_store_int(w, "exit_signal", a->exit_signal);
        api_store_int(w, "maxrss_bytes", a->maxrss_bytes);
        api_store_int(w, "claimed_ms", a->claimed_ms);
        api_store_int(w, "ended_ms", a->ended_ms);
        jsonw_end_object(w);
    }
    jsonw_end_array(w);
    store_attempts_free(attempts, n);
    return 0;
}

static int write_certificate(struct store_conn *c, struct jsonw *w, int64_t id, struct err *err)
{
    struct store_certificate k;
    int rc = store_certificate_get(c, id, &k, err);
    if (rc != 0)
        return rc;
    jsonw_begin_object(w, "certificate");
    jsonw_int(w, "resumes", k.resumes);
    jsonw_int(w, "replayed", k.replayed);
    jsonw_int(w, "unequal", k.unequal);
    jsonw_int(w, "replayed_other", k.other);
    jsonw_int(w, "drifted", k.drifted);
    jsonw_end_object(w);
    return 0;
}

static int write_checkpoints(struct store_conn *c, struct jsonw *w, int64_t id, struct err *err)
{
    struct store_checkpoint *checkpoints;
    size_t n;
    int rc = store_checkpoints(c, id, &checkpoints, &n, err);
    if (rc != 0)
        return rc;
    jsonw_begin_array(w, "checkpoints");
    for (size_t i = 0; i < n; i++) {
        jsonw_begin_object(w, NULL);
        jsonw_int(w, "step", checkpoints[i].step);
        jsonw_int(w, "attempt", checkpoints[i].attempt);
        jsonw_string(w, "path", checkpoints[i].path);
        jsonw_int(w, "bytes", checkpoints[i].bytes);
        jsonw_string(w, "mark", store_checkpoint_mark_word(checkpoints[i].mark));
        jsonw_end_object(w);
    }
    jsonw_end_array(w);
    free(checkpoints);
    return 0;
}

static int write_events(struct store_conn *c, struct jsonw *w, int64_t id, struct err *err)
{
    struct store_event *events;
    size_t n;
    int rc = store_events(c, id, EVENTS_SHOWN, &events, &n, err);
    if (rc != 0)
        return rc;
    jsonw_begin_array(w, "events");
    for (size_t i = 0; i < n; i++) {
        const struct store_event *e = &events[i];
        jsonw_begin_object(w, NULL);
        jsonw_int(w, "time_ms", e->time_ms);
        jsonw_string(w, "kind", e->kind);
        if (e->attempt != 0)
            jsonw_int(w, "attempt", e->attempt);
        if (e->to[0] != '\0') {
            jsonw_string(w, "from", e->from);
            jsonw_string(w, "to", e->to);
        }
        jsonw_string(w, "text", e->text);
        jsonw_end_object(w);
    }
    jsonw_end_array(w);
    store_events_free(events, n);
    return 0;
}

static int run_detail(struct store_conn *c, struct api_call *call, struct err *err)
{
    struct jsonw *w = &call->out;
    struct store_run run;
    struct store_quality quality;
    char *spec = NULL;
    int64_t id;
    int rc = store_resolve(c, call->ref, &id, err);
    if (rc == 0)
        rc = store_run_get(c, id, &run, err);
    if (rc != 0)
        return rc;
    rc = store_run_spec(c, id, &spec, err);
    if (rc == 0)
        rc = store_eval_newest(c, id, &quality, err);
    if (rc == 0) {
        jsonw_begin_object(w, NULL);
        api_run_fields(w, call->bakad, &run, call->now_ms);
        api_quality_fields(w, &quality);
        if (spec[0] != '\0')
            jsonw_raw(w, "spec", spec);
        else
            jsonw_null(w, "spec");
        rc = api_job_fields(c, w, &run, err);
    }
    if (rc == 0)
        rc = write_attempts(c, w, id, err);
    if (rc == 0)
        rc = api_gpu_newest(c, w, id, err);
    if (rc == 0)
        rc = write_certificate(c, w, id, err);
    if (rc == 0)
        rc = write_checkpoints(c, w, id, err);
    if (rc == 0)
        rc = write_events(c, w, id, err);
    jsonw_end_object(w);
    free(spec);
    store_run_finish(&run);
    return rc;
}

static void handle_detail(struct bakad *b, struct http_request *r)
{
    struct api_call *call = api_call_create(b, r, NULL, 0);
    if (call == NULL)
        return;
    call->run = run_detail;
    api_call_read(call);
}

const struct http_route api_runs_routes[] = {
    {.method = "GET", .path = "/v1/runs", .query = "state tag ref cursor limit", .handle = handle_list},
    {.method = "GET", .path = "/v1/runs/@", .handle = handle_detail},
    {.method = NULL},
};
