#include "daemon/store_attempt.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "daemon/store_row.h"
#include "daemon/store_steps.h"

static void attempt_finish(void *row)
{
    struct store_attempt *a = row;
    free(a->end_text);
    free(a->outcome);
}

void store_attempts_free(struct store_attempt *a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        attempt_finish(&a[i]);
    free(a);
}

/* Columns as in the view attempt_row. */
static int read_attempt(sqlite3_stmt *st, void *row, struct err *err)
{
    struct store_attempt a = {.run = sqlite3_column_int64(st, 0), .n = sqlite3_column_int64(st, 1)};
    a.active = sqlite3_column_int64(st, 2) != 0;
    a.pid = sqlite3_column_int64(st, 3);
    a.start_time = sqlite3_column_int64(st, 4);
    sql_text(st, 5, a.boot_id, sizeof a.boot_id);
    a.gpu_mask = (uint64_t)sqlite3_column_int64(st, 6);
    sql_text(st, 7, a.resume, sizeof a.resume);
    a.resume_step = sqlite3_column_int64(st, 8);
    a.last_step = sqlite3_column_int64(st, 9);
    a.journal_offset = sqlite3_column_int64(st, 10);
    a.started = sqlite3_column_int64(st, 11) != 0;
    a.journal_damaged = sqlite3_column_int64(st, 12) != 0;
    sql_text(st, 13, a.numerics_id, sizeof a.numerics_id);
    sql_text(st, 14, a.device, sizeof a.device);
    a.threads = sql_int_known(st, 15);
    a.memory_bytes = sql_int_known(st, 16);
    sql_text(st, 17, a.end_reason, sizeof a.end_reason);
    a.end_text = sql_text_copy(st, 18);
    a.outcome = sql_text_copy(st, 19);
    a.claimed_ms = sqlite3_column_int64(st, 20);
    a.ended_ms = sql_int_known(st, 21);
    a.exit_status = sql_int_known(st, 22);
    a.exit_signal = sql_int_known(st, 23);
    a.maxrss_bytes = sql_int_known(st, 24);
    a.peak_flops = sql_real(st, 25);
    if (!a.end_text || !a.outcome) {
        attempt_finish(&a);
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    }
    *(struct store_attempt *)row = a;
    return 0;
}

static const struct sql_row attempt_row = {sizeof(struct store_attempt), read_attempt, attempt_finish};

int store_attempt_claim(struct store_conn *c, int64_t run, const char *resume, int64_t resume_step, uint64_t gpu_mask,
                        int64_t now_ms, int64_t *n, struct err *err)
{
    int64_t attempt;
    int rc = store_run_transition(c, run, RUN_QUEUED, RUN_STARTING, "", now_ms, err);
    if (!rc)
        rc = sql_get_int(c, QUERY_ATTEMPT_NEXT, SQL_VALUES(SQL_INT(run), SQL_INT(now_ms)), &attempt, err);
    if (!rc)
        rc = sql_run(c, QUERY_ATTEMPT_INSERT,
                     SQL_VALUES(SQL_INT(run), SQL_INT(attempt), SQL_INT((int64_t)gpu_mask), SQL_TEXT(resume),
                                SQL_INT(resume_step), SQL_INT(now_ms)),
                     err);
    if (!rc)
        *n = attempt;
    return rc;
}

int store_attempt_spawned(struct store_conn *c, int64_t run, int64_t n, int64_t pid, int64_t start_time,
                          const char *boot_id, struct err *err)
{
    return sql_run_one(c, QUERY_ATTEMPT_SPAWNED,
                       SQL_VALUES(SQL_INT(run), SQL_INT(n), SQL_INT(pid), SQL_INT(start_time), SQL_TEXT(boot_id)), err);
}

int store_attempt_finish(struct store_conn *c, int64_t run, int64_t n, const struct store_attempt_end *end,
                         int64_t now_ms, struct err *err)
{
    int rc = sql_run_one(c, QUERY_ATTEMPT_FINISH,
                         SQL_VALUES(SQL_INT(run), SQL_INT(n), SQL_TEXT(end->outcome), SQL_INT_KNOWN(end->exit_status),
                                    SQL_INT_KNOWN(end->exit_signal), SQL_INT_KNOWN(end->maxrss_bytes), SQL_INT(now_ms)),
                         err);
    if (rc == -ERR_CONFLICT)
        return err_set(err, ERR_CONFLICT, "attempt %lld of run b%05" PRId64 " is not active", (long long)n, run);
    if (!rc)
        rc = sql_run_one(c, QUERY_ATTEMPT_FINISH_RUN,
                         SQL_VALUES(SQL_INT(run), SQL_INT(n), SQL_INT_KNOWN(end->maxrss_bytes)), err);
    if (!rc)
        rc = store_steps_seal(c, run, n, err);
    return rc ? rc : store_event_add(c, run, n, "attempt_ended", end->outcome, now_ms, err);
}

int store_attempt_get(struct store_conn *c, int64_t run, int64_t n, struct store_attempt *out, struct err *err)
{
    struct store_attempt *found;
    size_t count;
    int rc = sql_rows(c, QUERY_ATTEMPT_GET, SQL_VALUES(SQL_INT(run), SQL_INT(n)), &attempt_row, (void **)&found, &count,
                      err);
    if (rc)
        return rc;
    if (count == 0)
        return err_set(err, ERR_NOT_FOUND, "run b%05" PRId64 " has no attempt %lld", run, (long long)n);
    *out = found[0]; /* a primary key: there is no second; what the row holds is the caller's now */
    free(found);
    return 0;
}

int store_attempts(struct store_conn *c, int64_t run, struct store_attempt **out, size_t *count, struct err *err)
{
    return sql_rows(c, QUERY_ATTEMPT_LIST, SQL_VALUES(SQL_INT(run)), &attempt_row, (void **)out, count, err);
}

int store_active(struct store_conn *c, struct store_run **runs, struct store_attempt **attempts, size_t *n,
                 struct err *err)
{
    struct store_attempt *active;
    size_t count, have = 0;
    int rc = sql_rows(c, QUERY_ATTEMPT_ACTIVE, NULL, 0, &attempt_row, (void **)&active, &count, err);
    if (rc)
        return rc;
    struct store_run *rows = calloc(count ? count : 1, sizeof *rows);
    if (!rows)
        rc = err_set(err, ERR_NO_MEMORY, "out of memory");
    while (!rc && have < count) {
        rc = store_run_get(c, active[have].run, &rows[have], err);
        if (!rc)
            have++;
    }
    if (rc) {
        store_runs_free(rows, have);
        store_attempts_free(active, count);
        return rc;
    }
    *runs = rows;
    *attempts = active;
    *n = count;
    return 0;
}

static int read_queued(sqlite3_stmt *st, void *row, struct err *err)
{
    (void)err; /* cannot fail: it owns nothing */
    *(struct store_queued *)row = (struct store_queued){
        .id = sqlite3_column_int64(st, 0),
        .cpus = sqlite3_column_int64(st, 1),
        .gpus = sqlite3_column_int64(st, 2),
        .gpu_memory = sqlite3_column_int64(st, 3),
        .not_before_ms = sqlite3_column_int64(st, 4),
        .priority = sqlite3_column_int64(st, 5),
        .job = sqlite3_column_int64(st, 6) != 0,
        .no_progress = sqlite3_column_int64(st, 7),
    };
    return 0;
}

int store_queue(struct store_conn *c, int limit, struct store_queued **out, size_t *n, struct err *err)
{
    static const struct sql_row row = {.size = sizeof(struct store_queued), .read = read_queued};
    return sql_rows(c, QUERY_QUEUE, SQL_VALUES(SQL_INT(limit)), &row, (void **)out, n, err);
}

int store_certificate_get(struct store_conn *c, int64_t run, struct store_certificate *out, struct err *err)
{
    sqlite3_stmt *st;
    struct store_certificate found = {0};
    int rc = sql_open(c, QUERY_CERTIFICATE, SQL_VALUES(SQL_INT(run)), &st, err);
    if (rc)
        return rc;
    while ((rc = sql_step(c, st, err)) > 0) {
        found = (struct store_certificate){sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1),
                                           sqlite3_column_int64(st, 2), sqlite3_column_int64(st, 3),
                                           sqlite3_column_int64(st, 4)};
        if (found.resumes < 0) /* nothing has started yet */
            found.resumes = 0;
    }
    if (rc == 0)
        *out = found;
    return rc;
}

/* --- checkpoints -------------------------------------------------------------------------------------------------- */

static const char *const marks[] = {
    [CHECKPOINT_GOOD] = "good", [CHECKPOINT_BAD] = "bad", [CHECKPOINT_PRUNED] = "pruned"};

const char *store_checkpoint_mark_word(enum store_checkpoint_mark mark)
{
    return marks[mark];
}

static int read_checkpoint(sqlite3_stmt *st, void *row, struct err *err)
{
    struct store_checkpoint k = {
        .step = sqlite3_column_int64(st, 0),
        .attempt = sqlite3_column_int64(st, 1),
        .bytes = sqlite3_column_int64(st, 2),
    };
    char mark[16];
    sql_text(st, 3, k.path, sizeof k.path);
    sql_text(st, 4, mark, sizeof mark);
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (strcmp(marks[i], mark) == 0) {
            k.mark = (enum store_checkpoint_mark)i;
            *(struct store_checkpoint *)row = k;
            return 0;
        }
    return err_set(err, ERR_DAMAGED, "checkpoint %s has no known mark: %s", k.path, mark);
}

int store_checkpoints(struct store_conn *c, int64_t run, struct store_checkpoint **out, size_t *n, struct err *err)
{
    static const struct sql_row row = {.size = sizeof(struct store_checkpoint), .read = read_checkpoint};
    return sql_rows(c, QUERY_CHECKPOINT_LIST, SQL_VALUES(SQL_INT(run)), &row, (void **)out, n, err);
}

int store_checkpoint_newest(struct store_conn *c, int64_t run, struct store_checkpoint *out, struct err *err)
{
    struct store_checkpoint *all;
    size_t n, i = 0;
    int rc = store_checkpoints(c, run, &all, &n, err);
    if (rc)
        return rc;
    while (i < n && all[i].mark != CHECKPOINT_GOOD)
        i++;
    if (i < n)
        *out = all[i];
    free(all);
    return i < n ? 0 : err_set(err, ERR_NOT_FOUND, "run b%05" PRId64 " has no good checkpoint", run);
}

int store_checkpoint_set_mark(struct store_conn *c, int64_t run, const char *path, enum store_checkpoint_mark mark,
                              struct err *err)
{
    int rc =
        sql_run_one(c, QUERY_CHECKPOINT_SET_MARK, SQL_VALUES(SQL_INT(run), SQL_TEXT(path), SQL_TEXT(marks[mark])), err);
    return rc == -ERR_CONFLICT ? err_set(err, ERR_NOT_FOUND, "run b%05" PRId64 " has no checkpoint %s", run, path) : rc;
}
