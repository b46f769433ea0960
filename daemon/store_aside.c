#include "daemon/store_aside.h"

#include <inttypes.h>
#include <stdlib.h>
#include "daemon/store_row.h"

static int mark(struct store_conn *c, const struct store_run *r, enum run_aside why, const char *event,
                const char *text, int64_t now_ms, struct err *err)
{
    int rc = sql_run_one(c, QUERY_RUN_SET_ASIDE, SQL_VALUES(SQL_INT(r->id), SQL_TEXT(run_aside_word(why))), err);
    return rc ? rc : store_event_add(c, r->id, r->attempts, event, text, now_ms, err);
}

int store_run_pause(struct store_conn *c, int64_t id, int64_t now_ms, enum run_state *state, struct err *err)
{
    struct store_run r;
    int rc = store_run_get(c, id, &r, err);
    if (rc)
        return rc;
    enum run_state after = r.state;
    if (r.state == RUN_QUEUED) {
        after = RUN_PAUSED;
        rc = store_run_transition(c, id, RUN_QUEUED, RUN_PAUSED, run_aside_reason(ASIDE_PAUSE), now_ms, err);
    } else if (r.cancelling) {
        rc = err_set(err, ERR_CONFLICT, "run %s is being cancelled", r.id_text);
    } else if (!run_state_is_active(r.state)) {
        rc = err_set(err, ERR_CONFLICT, "run %s is %s: only queued and running ones can be paused", r.id_text,
                     run_state_word(r.state));
    } else if (r.aside != ASIDE_PAUSE) { /* asked again is fine */
        rc = mark(c, &r, ASIDE_PAUSE, "pause_requested", "", now_ms, err);
    }
    store_run_finish(&r);
    if (!rc)
        *state = after;
    return rc;
}

int store_run_resume(struct store_conn *c, int64_t id, int64_t now_ms, struct err *err)
{
    struct store_run r;
    int rc = store_run_get(c, id, &r, err);
    if (rc)
        return rc;
    if (r.state == RUN_PAUSED)
        rc = store_run_transition(c, id, RUN_PAUSED, RUN_QUEUED, "resumed by request", now_ms, err);
    else if (run_state_is_active(r.state) && r.aside == ASIDE_PAUSE)
        rc = mark(c, &r, ASIDE_NONE, "resume_requested", "", now_ms, err);
    else
        rc = err_set(err, ERR_CONFLICT, "run %s is %s: only paused runs can be resumed", r.id_text,
                     run_state_word(r.state));
    store_run_finish(&r);
    return rc;
}

int store_run_step_aside(struct store_conn *c, int64_t id, enum run_aside why, const char *text, int64_t now_ms,
                         struct err *err)
{
    struct store_run r;
    int rc = store_run_get(c, id, &r, err);
    if (rc)
        return rc;
    if (!run_state_is_active(r.state) || r.aside != ASIDE_NONE || r.cancelling)
        rc = err_set(err, ERR_CONFLICT, "run %s does not step aside: it is %s", r.id_text, run_state_word(r.state));
    else
        rc = mark(c, &r, why, "step_aside", text, now_ms, err);
    store_run_finish(&r);
    return rc;
}

int store_run_set_priority(struct store_conn *c, int64_t id, int64_t priority, int64_t now_ms, struct err *err)
{
    struct store_run r;
    char text[64];
    int rc = store_run_get(c, id, &r, err);
    if (rc)
        return rc;
    snprintf(text, sizeof text, "%" PRId64 ", before %" PRId64, priority, r.priority);
    if (run_state_is_final(r.state))
        rc = err_set(err, ERR_CONFLICT, "run %s is %s already", r.id_text, run_state_word(r.state));
    else if (r.priority != priority)
        rc = sql_run_one(c, QUERY_RUN_SET_PRIORITY, SQL_VALUES(SQL_INT(id), SQL_INT(priority)), err);
    if (!rc && r.priority != priority)
        rc = store_event_add(c, id, 0, "priority", text, now_ms, err);
    store_run_finish(&r);
    return rc;
}

/* --- the whole queue --------------------------------------------------------------------------------------------- */

#define PAUSED "queue_paused" /* value: since when, 0 for not */

int store_queue_is_paused(struct store_conn *c, bool *paused, struct err *err)
{
    int64_t since = 0;
    int rc = sql_get_int(c, QUERY_SETTING_GET, SQL_VALUES(SQL_TEXT(PAUSED)), &since, err);
    if (rc == -ERR_NOT_FOUND)
        rc = 0;
    if (!rc)
        *paused = since != 0;
    return rc;
}

/* Each run with one of the ids that the query finds. */
static int for_each(struct store_conn *c, enum store_query query, int64_t now_ms, int64_t *count,
                    int (*change)(struct store_conn *c, int64_t id, int64_t now_ms, struct err *err), struct err *err)
{
    int64_t *ids;
    size_t n;
    int rc = store_row_ids(c, query, NULL, 0, &ids, &n, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < n && !rc; i++)
        rc = change(c, ids[i], now_ms, err);
    free(ids);
    if (!rc)
        *count = (int64_t)n;
    return rc;
}

static int step_aside_with_queue(struct store_conn *c, int64_t id, int64_t now_ms, struct err *err)
{
    return store_run_step_aside(c, id, ASIDE_QUEUE, run_aside_reason(ASIDE_QUEUE), now_ms, err);
}

int store_queue_pause(struct store_conn *c, int64_t now_ms, int64_t *asked, struct err *err)
{
    int rc = sql_run(c, QUERY_SETTING_SET, SQL_VALUES(SQL_TEXT(PAUSED), SQL_INT(now_ms)), err);
    return rc ? rc : for_each(c, QUERY_RUN_MAY_STEP_ASIDE, now_ms, asked, step_aside_with_queue, err);
}

int store_queue_resume(struct store_conn *c, int64_t now_ms, int64_t *resumed, struct err *err)
{
    int rc = sql_run(c, QUERY_SETTING_SET, SQL_VALUES(SQL_TEXT(PAUSED), SQL_INT(0)), err);
    return rc ? rc : for_each(c, QUERY_RUN_PAUSED, now_ms, resumed, store_run_resume, err);
}
