/* api_change.c: POST /v1/runs/REF/…: cancel, retry, pause, resume, priority; and POST /v1/queue/…: pause, resume. */
#include "daemon/api.h"

#include "base/json.h"
#include "daemon/store_aside.h"
#include "daemon/stream.h"
#include "daemon/supervisor.h"
#include "daemon/sweep.h"

enum { BODY_MAX = 1024 };

struct change {
    int64_t id;
    enum run_state state; /* after it */
    int64_t count;        /* of the whole queue's: runs that it concerned */
    int priority;
};

static int answer_run(struct store_conn *c, struct api_call *call, int64_t id, struct err *err)
{
    struct store_run run;
    int rc = store_run_get(c, id, &run, err);
    if (rc != 0)
        return rc;
    api_run_object(&call->out, NULL, call->bakad, &run, call->now_ms);
    store_run_finish(&run);
    return 0;
}

static void handle_change(struct bakad *b, struct http_request *r,
                          int (*run)(struct store_conn *c, struct api_call *call, struct err *err),
                          void (*after)(struct api_call *call))
{
    struct api_call *call = api_call_create(b, r, &(struct change){0}, sizeof(struct change));
    if (call == NULL)
        return;
    call->run = run;
    call->after = after;
    api_call_write(call);
}

static void after_change(struct api_call *call)
{
    const struct change *change = call->arg;
    stream_run_changed(call->bakad->streams, change->id);
    supervisor_wake(call->bakad->supervisor);
}

/* --- one run -------------------------------------------------------------------------------------------------------
 */

static int run_cancel(struct store_conn *c, struct api_call *call, struct err *err)
{
    struct change *change = call->arg;
    int rc = store_resolve(c, call->ref, &change->id, err);
    if (rc == 0)
        rc = store_run_cancel(c, change->id, call->now_ms, &change->state, err);
    if (rc == 0)
        rc = answer_run(c, call, change->id, err);
    return rc;
}

static void after_cancel(struct api_call *call)
{
    const struct change *change = call->arg;
    if (run_state_is_active(change->state))
        supervisor_cancel(call->bakad->supervisor, change->id);
    after_change(call);
}

static int run_retry(struct store_conn *c, struct api_call *call, struct err *err)
{
    struct change *change = call->arg;
    int rc = store_resolve(c, call->ref, &change->id, err);
    if (rc == 0)
        rc = store_run_retry(c, change->id, call->now_ms, err);
    if (rc == 0)
        rc = answer_run(c, call, change->id, err);
    return rc;
}

static int run_pause(struct store_conn *c, struct api_call *call, struct err *err)
{
    struct change *change = call->arg;
    int rc = store_resolve(c, call->ref, &change->id, err);
    if (rc == 0)
        rc = store_run_pause(c, change->id, call->now_ms, &change->state, err);
    if (rc == 0)
        rc = answer_run(c, call, change->id, err);
    return rc;
}

static void after_pause(struct api_call *call)
{
    const struct change *change = call->arg;
    if (run_state_is_active(change->state))
        supervisor_step_aside(call->bakad->supervisor, change->id, ASIDE_PAUSE);
    after_change(call);
}

static int run_resume(struct store_conn *c, struct api_call *call, struct err *err)
{
    struct change *change = call->arg;
    int rc = store_resolve(c, call->ref, &change->id, err);
    if (rc == 0)
        rc = store_run_resume(c, change->id, call->now_ms, err);
    if (rc == 0)
        rc = answer_run(c, call, change->id, err);
    return rc;
}

static void after_resume(struct api_call *call)
{
    const struct change *change = call->arg;
    supervisor_step_aside(call->bakad->supervisor, change->id, ASIDE_NONE);
    after_change(call);
}

static int run_priority(struct store_conn *c, struct api_call *call, struct err *err)
{
    struct change *change = call->arg;
    int rc = store_resolve(c, call->ref, &change->id, err);
    if (rc == 0)
        rc = store_run_set_priority(c, change->id, change->priority, call->now_ms, err);
    if (rc == 0)
        rc = answer_run(c, call, change->id, err);
    return rc;
}

static void after_priority(struct api_call *call)
{
    const struct change *change = call->arg;
    supervisor_set_priority(call->bakad->supervisor, change->id, change->priority);
    after_change(call);
}

static int read_priority(struct http_request *r, struct change *change, struct err *err)
{
    static const struct json_limits limits = {BODY_MAX, 4};
    size_t size;
    const char *text = http_request_body(r, &size);
    cJSON *body;
    int rc = json_parse(text, size, &limits, "body", &body, err);
    if (rc != 0)
        return rc;
    change->priority = PRIORITY_MIN - 1;
    rc = cJSON_IsObject(body) && cJSON_GetArraySize(body) == 1 ? sweep_parse_priority(body, &change->priority, err) : 0;
    cJSON_Delete(body);
    if (rc == 0 && change->priority < PRIORITY_MIN)
        rc = err_set_at(err, ERR_INVALID, "priority", "the body must be {\"priority\":N}");
    return rc;
}

static void handle_priority(struct bakad *b, struct http_request *r)
{
    struct change change = {0};
    struct err err;
    if (read_priority(r, &change, &err) != 0) {
        http_reply_error(r, &err);
        return;
    }
    struct api_call *call = api_call_create(b, r, &change, sizeof change);
    if (call == NULL)
        return;
    call->run = run_priority;
    call->after = after_priority;
    api_call_write(call);
}

static void handle_cancel(struct bakad *b, struct http_request *r)
{
    handle_change(b, r, run_cancel, after_cancel);
}

static void handle_retry(struct bakad *b, struct http_request *r)
{
    handle_change(b, r, run_retry, after_change);
}

static void handle_pause(struct bakad *b, struct http_request *r)
{
    handle_change(b, r, run_pause, after_pause);
}

static void handle_resume(struct bakad *b, struct http_request *r)
{
    handle_change(b, r, run_resume, after_resume);
}

/* --- the whole queue -----------------------------------------------------------------------------------------------
 */

static void answer_queue(struct api_call *call, bool paused, const char *key)
{
    const struct change *change = call->arg;
    jsonw_begin_object(&call->out, NULL);
    jsonw_bool(&call->out, "paused", paused);
    jsonw_int(&call->out, key, change->count);
    jsonw_end_object(&call->out);
}

static int run_pause_queue(struct store_conn *c, struct api_call *call, struct err *err)
{
    struct change *change = call->arg;
    int rc = store_queue_pause(c, call->now_ms, &change->count, err);
    if (rc == 0)
        answer_queue(call, true, "stepping_aside");
    return rc;
}

static int run_resume_queue(struct store_conn *c, struct api_call *call, struct err *err)
{
    struct change *change = call->arg;
    int rc = store_queue_resume(c, call->now_ms, &change->count, err);
    if (rc == 0)
        answer_queue(call, false, "resumed");
    return rc;
}

static void after_pause_queue(struct api_call *call)
{
    supervisor_pause_queue(call->bakad->supervisor, true);
}

static void after_resume_queue(struct api_call *call)
{
    supervisor_pause_queue(call->bakad->supervisor, false);
}

static void handle_pause_queue(struct bakad *b, struct http_request *r)
{
    handle_change(b, r, run_pause_queue, after_pause_queue);
}

static void handle_resume_queue(struct bakad *b, struct http_request *r)
{
    handle_change(b, r, run_resume_queue, after_resume_queue);
}

const struct http_route api_change_routes[] = {
    {.method = "POST", .path = "/v1/runs/@/cancel", .max_body = BODY_MAX, .handle = handle_cancel},
    {.method = "POST", .path = "/v1/runs/@/retry", .max_body = BODY_MAX, .handle = handle_retry},
    {.method = "POST", .path = "/v1/runs/@/pause", .max_body = BODY_MAX, .handle = handle_pause},
    {.method = "POST", .path = "/v1/runs/@/resume", .max_body = BODY_MAX, .handle = handle_resume},
    {.method = "POST", .path = "/v1/runs/@/priority", .max_body = BODY_MAX, .handle = handle_priority},
    {.method = "POST", .path = "/v1/queue/pause", .max_body = BODY_MAX, .handle = handle_pause_queue},
    {.method = "POST", .path = "/v1/queue/resume", .max_body = BODY_MAX, .handle = handle_resume_queue},
    {.method = NULL},
};
