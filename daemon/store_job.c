/* store_job.c: see store_job.h. */
#include "daemon/store_job.h"

#include <inttypes.h>
#include <stdlib.h>
#include "daemon/store_row.h"
#include "daemon/store_statement.h"

int store_job_get(struct store_conn *c, int64_t run, struct store_asked *out, struct err *err)
{
    sqlite3_stmt *st;
    int rc = sql_open(c, QUERY_JOB_GET, SQL_VALUES(SQL_INT(run)), &st, err);
    if (!rc)
        rc = sql_step(c, st, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, "run b%05" PRId64 " is no evaluation and no sample", run);
    struct store_asked j = {.source = sqlite3_column_int64(st, 0), .parameters = sql_text_copy(st, 2)};
    sql_text(st, 1, j.checkpoint, sizeof j.checkpoint);
    sql_end(st);
    if (!j.parameters)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    *out = j;
    return 0;
}

int store_job_pin(struct store_conn *c, int64_t run, const char *checkpoint, struct err *err)
{
    return sql_run_one(c, QUERY_JOB_SET_CHECKPOINT, SQL_VALUES(SQL_INT(run), SQL_TEXT(checkpoint)), err);
}

int store_job_is_pinned(struct store_conn *c, int64_t source, const char *checkpoint, bool *pinned, struct err *err)
{
    int64_t count = 0;
    int rc = sql_get_int(c, QUERY_JOB_PINNED, SQL_VALUES(SQL_INT(source), SQL_TEXT(checkpoint)), &count, err);
    if (!rc)
        *pinned = count > 0;
    return rc;
}

static int read_eval(sqlite3_stmt *st, void *row, struct err *err)
{
    struct store_job_eval *e = row;
    *e = (struct store_job_eval){.run = sqlite3_column_int64(st, 0),
                                 .parameters = sql_text_copy(st, 2),
                                 .step = sqlite3_column_int64(st, 4),
                                 .epoch = sql_real(st, 5).value,
                                 .tokens = sqlite3_column_int64(st, 6),
                                 .loss = sql_real(st, 7).value,
                                 .perplexity = sql_real(st, 8),
                                 .bits_per_byte = sql_real(st, 9),
                                 .predictions = sqlite3_column_int64(st, 10),
                                 .word_perplexity = sql_real(st, 11)};
    sql_text(st, 1, e->checkpoint, sizeof e->checkpoint);
    return e->parameters ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
}

static void finish_eval(void *row)
{
    struct store_job_eval *e = row;
    free(e->parameters);
}

static int read_evals(struct store_conn *c, enum store_query query, int64_t run, struct store_job_eval **out, size_t *n,
                      struct err *err)
{
    static const struct sql_row row = {sizeof(struct store_job_eval), read_eval, finish_eval};
    return sql_rows(c, query, SQL_VALUES(SQL_INT(run)), &row, (void **)out, n, err);
}

int store_job_eval(struct store_conn *c, int64_t job, struct store_job_eval **out, size_t *n, struct err *err)
{
    return read_evals(c, QUERY_JOB_EVAL, job, out, n, err);
}

int store_job_evals(struct store_conn *c, int64_t source, struct store_job_eval **out, size_t *n, struct err *err)
{
    return read_evals(c, QUERY_JOB_EVALS, source, out, n, err);
}

void store_job_evals_free(struct store_job_eval *e, size_t n)
{
    for (size_t i = 0; i < n; i++)
        finish_eval(&e[i]);
    free(e);
}
