/* store_steps.c: steps into the tail and into chunks, and a foreign curve as a run. */
#include "daemon/store_steps.h"

#include <stdlib.h>
#include <string.h>
#include "daemon/store_row.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "columns stand in the database as they stand in memory");

int store_block_take(struct store_conn *c, struct store_block **out, struct err *err)
{
    if (!c->block)
        c->block = malloc(sizeof *c->block);
    if (!c->block)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    c->block->n = 0;
    *out = c->block;
    return 0;
}

int store_steps_write_chunk(struct store_conn *c, int64_t run, int64_t attempt, struct store_block *b, struct err *err)
{
    size_t n = b->n, bytes = n * sizeof(double);
    int64_t first = b->step[0], last = b->step[n - 1], nonfinite = 0;
    bool gap = last - first + 1 != (int64_t)n;
    struct store_real min = {false, 0}, max = {false, 0};
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double loss = b->loss[i];
        if (!isfinite(loss)) {
            nonfinite++;
            continue;
        }
        if (!min.known || loss < min.value)
            min = (struct store_real){true, loss};
        if (!max.known || loss > max.value)
            max = (struct store_real){true, loss};
        sum += loss;
    }
    if (!isfinite(sum)) /* losses near the largest double: a sum of infinity says so, infinity less infinity cannot */
        sum = INFINITY;
    int rc = sql_run(c, QUERY_CHUNK_INSERT,
                     SQL_VALUES(SQL_INT(run), SQL_INT(attempt), SQL_INT(first), SQL_INT(last), SQL_INT((int64_t)n),
                                SQL_INT(nonfinite), SQL_REAL_KNOWN(min), SQL_REAL_KNOWN(max), SQL_REAL(sum),
                                SQL_BLOB(b->loss, bytes), SQL_BLOB(b->tokens, bytes), SQL_BLOB(b->epoch, bytes),
                                SQL_BLOB(b->lr, bytes), SQL_BLOB(b->grad_norm, bytes), SQL_BLOB(b->ms, bytes),
                                SQL_BLOB(b->tok_s, bytes), gap ? SQL_BLOB(b->step, bytes) : SQL_NULL),
                     err);
    if (!rc)
        b->n = 0;
    return rc;
}

int store_steps_write_tail(struct store_conn *c, int64_t run, int64_t attempt, struct store_block *b, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; i < b->n && !rc; i++)
        rc = sql_run(c, QUERY_TAIL_INSERT,
                     SQL_VALUES(SQL_INT(run), SQL_INT(attempt), SQL_INT(b->step[i]), SQL_INT(b->tokens[i]),
                                SQL_REAL(b->epoch[i]), SQL_REAL(b->loss[i]), SQL_REAL(b->lr[i]),
                                SQL_REAL(b->grad_norm[i]), SQL_REAL(b->ms[i]), SQL_REAL(b->tok_s[i])),
                     err);
    if (!rc)
        b->n = 0;
    return rc;
}

/* The rows of the tail into the slots [0, rows) of the block. */
static int read_tail(struct store_conn *c, int64_t run, int64_t attempt, struct store_block *b, size_t rows,
                     struct err *err)
{
    sqlite3_stmt *st;
    size_t i = 0;
    int rc = sql_open(c, QUERY_TAIL_RANGE,
                      SQL_VALUES(SQL_INT(run), SQL_INT(attempt), SQL_INT(INT64_MIN), SQL_INT(INT64_MAX)), &st, err);
    if (rc)
        return rc;
    while ((rc = sql_step(c, st, err)) > 0 && i < rows) {
        b->step[i] = sqlite3_column_int64(st, 0);
        b->tokens[i] = sqlite3_column_int64(st, 1);
        b->epoch[i] = sql_double(st, 2);
        b->loss[i] = sql_double(st, 3);
        b->lr[i] = sql_double(st, 4);
        b->grad_norm[i] = sql_double(st, 5);
        b->ms[i] = sql_double(st, 6);
        b->tok_s[i] = sql_double(st, 7);
        i++;
    }
    return rc;
}

int store_steps_take_tail(struct store_conn *c, int64_t run, int64_t attempt, struct store_block *b, struct err *err)
{
    int64_t rows;
    int rc = sql_get_int(c, QUERY_TAIL_COUNT, SQL_VALUES(SQL_INT(run), SQL_INT(attempt)), &rows, err);
    if (rc || rows == 0)
        return rc;
    size_t shift = (size_t)rows, n = b->n;
    if (rows < 0 || shift + n > STORE_CHUNK_STEPS)
        return err_set(err, ERR_DAMAGED, "the tail of run %lld has %lld steps", (long long)run, (long long)rows);
    memmove(b->step + shift, b->step, n * sizeof *b->step);
    memmove(b->tokens + shift, b->tokens, n * sizeof *b->tokens);
    memmove(b->epoch + shift, b->epoch, n * sizeof *b->epoch);
    memmove(b->loss + shift, b->loss, n * sizeof *b->loss);
    memmove(b->lr + shift, b->lr, n * sizeof *b->lr);
    memmove(b->grad_norm + shift, b->grad_norm, n * sizeof *b->grad_norm);
    memmove(b->ms + shift, b->ms, n * sizeof *b->ms);
    memmove(b->tok_s + shift, b->tok_s, n * sizeof *b->tok_s);
    rc = read_tail(c, run, attempt, b, shift, err);
    if (!rc)
        rc = sql_run(c, QUERY_TAIL_DELETE, SQL_VALUES(SQL_INT(run), SQL_INT(attempt)), err);
    if (!rc)
        b->n = n + shift;
    return rc;
}

int store_steps_seal(struct store_conn *c, int64_t run, int64_t attempt, struct err *err)
{
    struct store_block *b;
    int rc = store_block_take(c, &b, err);
    if (!rc)
        rc = store_steps_take_tail(c, run, attempt, b, err);
    if (!rc && b->n > 0)
        rc = store_steps_write_chunk(c, run, attempt, b, err);
    return rc;
}

/* --- import ------------------------------------------------------------------------------------------------------ */

static int check_rows(const struct store_import_row *rows, size_t n, struct err *err)
{
    if (n == 0)
        return err_set_at(err, ERR_INVALID, "rows", "an import needs at least one row");
    for (size_t i = 0; i < n; i++) {
        char path[48];
        snprintf(path, sizeof path, "rows[%zu]", i);
        if (rows[i].step < 0 || rows[i].tokens < 0)
            return err_set_at(err, ERR_INVALID, path, "step and tokens are not negative");
        if (i > 0 && rows[i].step <= rows[i - 1].step)
            return err_set_at(err, ERR_INVALID, path, "steps must ascend: %lld after %lld", (long long)rows[i].step,
                              (long long)rows[i - 1].step);
    }
    return 0;
}

/* Mean of the losses of the last 1/20 epoch, as ingest does it by epoch. */
static double last_mean(const struct store_import_row *rows, size_t n)
{
    double sum = 0;
    size_t count = 0;
    for (size_t i = n; i > 0 && (count == 0 || rows[i - 1].epoch > rows[n - 1].epoch - 0.05); i--) {
        sum += rows[i - 1].loss;
        count++;
    }
    return sum / (double)count;
}

static int write_rows(struct store_conn *c, int64_t id, const struct store_import_row *rows, size_t n, struct err *err)
{
    struct store_block *b;
    int rc = store_block_take(c, &b, err);
    for (size_t i = 0; i < n && !rc; i++) {
        const struct store_import_row *r = &rows[i];
        size_t k = b->n++;
        b->step[k] = r->step;
        b->tokens[k] = r->tokens;
        b->epoch[k] = r->epoch;
        b->loss[k] = r->loss;
        b->lr[k] = b->grad_norm[k] = b->ms[k] = b->tok_s[k] = NAN;
        if (r->has_val_loss)
            rc = sql_run(c, QUERY_EVAL_INSERT,
                         SQL_VALUES(SQL_INT(id), SQL_INT(r->step), SQL_TEXT("val"), SQL_INT(1), SQL_INT(r->tokens),
                                    SQL_REAL(r->epoch), SQL_REAL(r->val_loss), SQL_REAL(exp(r->val_loss)), SQL_NULL,
                                    SQL_INT(0), SQL_NULL, SQL_NULL),
                         err);
        if (!rc && (b->n == STORE_CHUNK_STEPS || i + 1 == n))
            rc = store_steps_write_chunk(c, id, 1, b, err);
    }
    return rc;
}

int store_import(struct store_conn *c, const char *request_id, const char *name, const char *const *tags,
                 size_t tag_count, const struct store_import_row *rows, size_t n, int64_t now_ms, int64_t *id,
                 bool *repeated, struct err *err)
{
    int rc = store_row_repeated(c, request_id, id, 1, repeated, err);
    if (rc || *repeated)
        return rc;
    rc = check_rows(rows, n, err);
    if (rc)
        return rc;
    struct store_real val = {false, 0}, best = {false, 0};
    for (size_t i = 0; i < n; i++)
        if (rows[i].has_val_loss) {
            val = (struct store_real){true, rows[i].val_loss};
            if (!best.known || isnan(best.value) || val.value < best.value)
                best = val;
        }
    const struct store_import_row *last = &rows[n - 1];
    rc = sql_run(c, QUERY_RUN_INSERT_IMPORT,
                 SQL_VALUES(SQL_TEXT(name), SQL_INT(now_ms), SQL_INT(last->step), SQL_REAL(last->epoch),
                            SQL_INT(last->tokens), SQL_REAL(last_mean(rows, n)), SQL_REAL(last->loss),
                            SQL_REAL_KNOWN(val), SQL_REAL_KNOWN(best)),
                 err);
    if (rc)
        return rc;
    int64_t made = sqlite3_last_insert_rowid(c->db);
    rc = store_row_made(c, request_id, 0, made, "imported", tags, tag_count, now_ms, err);
    if (!rc)
        rc = write_rows(c, made, rows, n, err);
    if (!rc)
        *id = made;
    return rc;
}
