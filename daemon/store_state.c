/* store_state.c: changes of a run's state, each with its event in the same transaction, and the events themselves. */
#include "daemon/store_run.h"

#include <inttypes.h>
#include <stdlib.h>
#include "daemon/store_row.h"

static int add_event(struct store_conn *c, int64_t id, int64_t attempt, const char *kind, const char *from,
                     const char *to, const char *text, int64_t now_ms, struct err *err)
{
    return sql_run(c, QUERY_EVENT_INSERT,
                   SQL_VALUES(SQL_INT(id), SQL_INT(now_ms), SQL_INT(attempt), SQL_TEXT(kind), SQL_TEXT(from),
                              SQL_TEXT(to), SQL_TEXT(text)),
                   err);
}

int store_event_add(struct store_conn *c, int64_t id, int64_t attempt, const char *kind, const char *text,
                    int64_t now_ms, struct err *err)
{
    return add_event(c, id, attempt, kind, "", "", text, now_ms, err);
}

static int get_state(struct store_conn *c, int64_t id, enum run_state *out, struct err *err)
{
    sqlite3_stmt *st;
    int rc = store_row_of_run(c, QUERY_RUN_STATE, id, &st, err);
    if (rc)
        return rc;
    const char *word = (const char *)sqlite3_column_text(st, 0);
    rc =
        word && run_state_parse(word, out) ? 0 : err_set(err, ERR_DAMAGED, "run b%05" PRId64 " has no known state", id);
    sql_end(st);
    return rc;
}

int store_run_transition(struct store_conn *c, int64_t id, enum run_state from, enum run_state to, const char *reason,
                         int64_t now_ms, struct err *err)
{
    const char *from_word = run_state_word(from), *to_word = run_state_word(to);
    if (!run_state_may_follow(from, to))
        return err_set(err, ERR_CONFLICT, "a run that is %s cannot become %s", from_word, to_word);
    int rc = sql_run_one(c, QUERY_RUN_TRANSITION,
                         SQL_VALUES(SQL_INT(id), SQL_TEXT(from_word), SQL_TEXT(to_word), SQL_TEXT(reason ? reason : ""),
                                    SQL_INT(now_ms), SQL_INT(run_state_is_final(to))),
                         err);
    if (rc == -ERR_CONFLICT) {
        enum run_state now;
        rc = get_state(c, id, &now, err);
        return rc ? rc
                  : err_set(err, ERR_CONFLICT, "run b%05" PRId64 " is %s, not %s", id, run_state_word(now), from_word);
    }
    return rc ? rc : add_event(c, id, 0, "state", from_word, to_word, reason ? reason : "", now_ms, err);
}

int store_run_cancel(struct store_conn *c, int64_t id, int64_t now_ms, enum run_state *state, struct err *err)
{
    enum run_state now;
    int rc = get_state(c, id, &now, err);
    if (rc)
        return rc;
    if (run_state_is_active(now)) {
        rc = sql_run_one(c, QUERY_RUN_SET_CANCELLING, SQL_VALUES(SQL_INT(id)), err);
        if (rc && rc != -ERR_CONFLICT)
            return rc;
        if (!rc)
            rc = store_event_add(c, id, 0, "cancel_requested", "", now_ms, err);
        else
            rc = 0; /* asked before */
    } else if (run_state_may_follow(now, RUN_CANCELLED)) {
        rc = store_run_transition(c, id, now, RUN_CANCELLED, "cancelled by request", now_ms, err);
        now = RUN_CANCELLED;
    } else {
        rc = err_set(err, ERR_CONFLICT, "run b%05" PRId64 " is %s already", id, run_state_word(now));
    }
    if (!rc)
        *state = now;
    return rc;
}

int store_run_retry(struct store_conn *c, int64_t id, int64_t now_ms, struct err *err)
{
    enum run_state now;
    int rc = get_state(c, id, &now, err);
    if (rc)
        return rc;
    if (!run_state_is_retriable(now))
        return err_set(err, ERR_CONFLICT,
                       "run b%05" PRId64 " is %s: only failed, diverged, stopped and cancelled runs "
                       "can be retried",
                       id, run_state_word(now));
    rc = store_run_transition(c, id, now, RUN_QUEUED, "retry by request", now_ms, err);
    return rc ? rc : store_run_set_backoff(c, id, &(struct store_backoff){0}, err);
}

int store_run_set_backoff(struct store_conn *c, int64_t id, const struct store_backoff *b, struct err *err)
{
    return sql_run_one(c, QUERY_RUN_SET_BACKOFF,
                       SQL_VALUES(SQL_INT(id), SQL_INT(b->not_before_ms), SQL_INT(b->no_progress),
                                  SQL_INT(b->crash_step), SQL_INT(b->crash_count), SQL_INT(b->micro_batch_limit)),
                       err);
}

/* --- events ------------------------------------------------------------------------------------------------------ */

static void event_finish(void *row)
{
    struct store_event *e = row;
    free(e->kind);
    free(e->from);
    free(e->to);
    free(e->text);
}

void store_events_free(struct store_event *e, size_t n)
{
    for (size_t i = 0; i < n; i++)
        event_finish(&e[i]);
    free(e);
}

static int read_event(sqlite3_stmt *st, void *row, struct err *err)
{
    struct store_event *e = row;
    *e = (struct store_event){
        .time_ms = sqlite3_column_int64(st, 0),
        .attempt = sqlite3_column_int64(st, 1),
        .kind = sql_text_copy(st, 2),
        .from = sql_text_copy(st, 3),
        .to = sql_text_copy(st, 4),
        .text = sql_text_copy(st, 5),
    };
    if (e->kind && e->from && e->to && e->text)
        return 0;
    event_finish(e);
    return err_set(err, ERR_NO_MEMORY, "out of memory");
}

int store_events(struct store_conn *c, int64_t id, int limit, struct store_event **out, size_t *n, struct err *err)
{
    static const struct sql_row row = {sizeof(struct store_event), read_event, event_finish};
    struct store_event *found;
    size_t count;
    int rc = sql_rows(c, QUERY_EVENT_LIST, SQL_VALUES(SQL_INT(id), SQL_INT(limit)), &row, (void **)&found, &count, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < count / 2; i++) { /* the newest were read first */
        struct store_event swap = found[i];
        found[i] = found[count - 1 - i];
        found[count - 1 - i] = swap;
    }
    *out = found;
    *n = count;
    return 0;
}
