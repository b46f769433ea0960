#include "daemon/ingest_summary.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

int summary_progress(struct store_conn *c, int64_t run, const struct journal_step *s, bool ahead,
                     const struct ingest_window *w, struct err *err)
{
    struct store_real loss = window_loss(w);
    struct window_pace pace = window_pace(w);
    int rc = !ahead ? 0
                    : sql_run_one(c, QUERY_INGEST_PROGRESS,
                                  SQL_VALUES(SQL_INT(run), SQL_INT(s->step), SQL_REAL(s->epoch), SQL_INT(s->tokens),
                                             SQL_REAL_KNOWN(loss), SQL_REAL(s->loss)),
                                  err);
    return rc ? rc
              : sql_run_one(c, QUERY_INGEST_PACE,
                            SQL_VALUES(SQL_INT(run), SQL_REAL_KNOWN(pace.tok_s), SQL_REAL_KNOWN(pace.step_ms),
                                       SQL_REAL_KNOWN(pace.mfu)),
                            err);
}

static int read_loss(struct store_conn *c, enum store_query query, int64_t run, struct store_real *out, struct err *err)
{
    sqlite3_stmt *st;
    int rc = sql_open(c, query, SQL_VALUES(SQL_INT(run)), &st, err);
    if (!rc)
        rc = sql_step(c, st, err);
    if (rc <= 0)
        return rc;
    *out = sql_real(st, 0);
    sql_end(st);
    return 0;
}

int summary_val(struct store_conn *c, int64_t run, struct err *err)
{
    struct store_real newest = {false, 0}, best = {false, 0};
    int rc = read_loss(c, QUERY_EVAL_NEWEST, run, &newest, err);
    if (!rc)
        rc = read_loss(c, QUERY_EVAL_BEST, run, &best, err);
    return rc ? rc
              : sql_run_one(c, QUERY_INGEST_VAL, SQL_VALUES(SQL_INT(run), SQL_REAL_KNOWN(newest), SQL_REAL_KNOWN(best)),
                            err);
}

static bool is_finite(const struct store_block *b, size_t i)
{
    return isfinite(b->loss[i]) && isfinite(b->grad_norm[i]);
}

int summary_skipped(struct store_conn *c, int64_t run, const struct store_block *b, int64_t *known, struct err *err)
{
    int64_t count = *known, skips;
    size_t i = 0;
    int rc = 0;
    if (b->n > 0 && count > 0) {
        rc = sql_run(c, QUERY_SKIPPED_DELETE, SQL_VALUES(SQL_INT(run), SQL_INT(b->step[0]), SQL_INT(b->step[b->n - 1])),
                     err);
        count -= rc ? 0 : sqlite3_changes(c->db);
    }
    while (i < b->n && is_finite(b, i))
        i++;
    if (!rc && i < b->n)
        rc = sql_get_int(c, QUERY_SKIPPED_POLICY, SQL_VALUES(SQL_INT(run)), &skips, err);
    if (!rc && i < b->n && skips == 0)
        i = b->n; /* the run ends there as diverged */
    for (; i < b->n && !rc; i++)
        if (!is_finite(b, i)) {
            rc = sql_run(c, QUERY_SKIPPED_INSERT, SQL_VALUES(SQL_INT(run), SQL_INT(b->step[i])), err);
            count++;
        }
    if (!rc && count != *known)
        rc = sql_run_one(c, QUERY_SKIPPED_SET, SQL_VALUES(SQL_INT(run), SQL_INT(count)), err);
    if (!rc)
        *known = count;
    return rc;
}

static int count_missing(struct store_conn *c, int64_t run, int64_t witness, int64_t *missing, struct err *err)
{
    struct store_extent *e;
    size_t n;
    int64_t reached = witness, there = 0;
    int rc = store_extents(c, run, 1, INT64_MAX, NULL, 0, &e, &n, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++) /* a journal's pieces have no gap in them */
        there += e[i].last - e[i].first + 1;
    if (n > 0 && e[n - 1].last > reached)
        reached = e[n - 1].last;
    free(e);
    *missing = reached - there;
    return 0;
}

int summary_missing(struct store_conn *c, int64_t run, int64_t attempt, int64_t witness, int64_t before, int64_t now_ms,
                    struct err *err)
{
    int64_t missing;
    char text[96] = "all that were missing have been computed again";
    int rc = count_missing(c, run, witness, &missing, err);
    if (rc || missing == before)
        return rc;
    rc = sql_run_one(c, QUERY_INGEST_MISSING, SQL_VALUES(SQL_INT(run), SQL_INT(missing)), err);
    if (rc || (missing > 0 && missing < before))
        return rc;
    if (missing > 0)
        snprintf(text, sizeof text, "%" PRId64 " of the steps done %s recorded nowhere", missing,
                 missing == 1 ? "is" : "are");
    return store_event_add(c, run, attempt, "missing_steps", text, now_ms, err);
}
