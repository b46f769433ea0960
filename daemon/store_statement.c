#include "daemon/store_statement.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int sql_fail(struct store_conn *c, int rc, const char *what, struct err *err)
{
    enum err_code code = ERR_INTERNAL;
    /* SQLite does not keep the cause of a failed write to the WAL (EFBIG, EDQUOT): it is still in errno then, which
     * every call that writes has set to 0 before. */
    int os = sqlite3_system_errno(c->db) ? sqlite3_system_errno(c->db) : errno;
    switch (rc & 0xff) {
    case SQLITE_FULL:
        code = ERR_NO_SPACE;
        break;
    case SQLITE_IOERR:
        code = os == ENOSPC || os == EDQUOT || os == EFBIG ? ERR_NO_SPACE : ERR_IO;
        if (rc == SQLITE_IOERR_NOMEM)
            code = ERR_NO_MEMORY;
        break;
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
        code = ERR_IO;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        code = ERR_DAMAGED;
        break;
    case SQLITE_NOMEM:
        code = ERR_NO_MEMORY;
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        code = ERR_BUSY;
        break;
    case SQLITE_TOOBIG:
        code = ERR_TOO_LARGE;
        break;
    default:
        break;
    }
    if (code == ERR_NO_SPACE)
        return err_set(err, code, "no space for the database: make room on its disk, and what waits goes on");
    return err_set(err, code, "database: %s: %s", what, sqlite3_errmsg(c->db));
}

static int bind_value(sqlite3_stmt *st, int index, const struct sql_value *v)
{
    switch (v->type) {
    case SQL_NULL_TYPE:
        return sqlite3_bind_null(st, index);
    case SQL_INT_TYPE:
        return sqlite3_bind_int64(st, index, v->i);
    case SQL_REAL_TYPE:
        return isnan(v->d) ? sqlite3_bind_text(st, index, "nan", 3, SQLITE_STATIC)
                           : sqlite3_bind_double(st, index, v->d);
    case SQL_TEXT_TYPE:
        return sqlite3_bind_text(st, index, v->p, -1, SQLITE_STATIC);
    case SQL_BLOB_TYPE:
        return sqlite3_bind_blob64(st, index, v->p, v->size, SQLITE_STATIC);
    }
    return SQLITE_MISUSE;
}

int sql_open(struct store_conn *c, enum store_query query, const struct sql_value *values, size_t n, sqlite3_stmt **out,
             struct err *err)
{
    sqlite3_stmt *st = c->statements[query];
    int rc = SQLITE_OK;
    if (!st) {
        rc = sqlite3_prepare_v3(c->db, store_queries[query].text, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL);
        if (rc != SQLITE_OK)
            return sql_fail(c, rc, store_queries[query].name, err);
        c->statements[query] = st;
    } else {
        sqlite3_reset(st);
    }
    for (size_t i = 0; i < n && rc == SQLITE_OK; i++)
        rc = bind_value(st, (int)i + 1, &values[i]);
    if (rc != SQLITE_OK) {
        sql_end(st);
        return sql_fail(c, rc, store_queries[query].name, err);
    }
    *out = st;
    return 0;
}

int sql_step(struct store_conn *c, sqlite3_stmt *st, struct err *err)
{
    errno = 0;
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE) {
        sql_end(st);
        return 0;
    }
    int result = sql_fail(c, rc, sqlite3_sql(st), err);
    sql_end(st);
    return result;
}

void sql_end(sqlite3_stmt *st)
{
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
}

int sql_run(struct store_conn *c, enum store_query query, const struct sql_value *values, size_t n, struct err *err)
{
    sqlite3_stmt *st;
    int rc = sql_open(c, query, values, n, &st, err);
    if (rc)
        return rc;
    while ((rc = sql_step(c, st, err)) > 0)
        ;
    return rc;
}

int sql_run_one(struct store_conn *c, enum store_query query, const struct sql_value *values, size_t n, struct err *err)
{
    int rc = sql_run(c, query, values, n, err);
    if (rc)
        return rc;
    int changed = sqlite3_changes(c->db);
    if (changed != 1)
        return err_set(err, ERR_CONFLICT, "%s changed %d rows", store_queries[query].name, changed);
    return 0;
}

int sql_get_int(struct store_conn *c, enum store_query query, const struct sql_value *values, size_t n, int64_t *out,
                struct err *err)
{
    sqlite3_stmt *st;
    int rc = sql_open(c, query, values, n, &st, err);
    if (rc)
        return rc;
    rc = sql_step(c, st, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, "not found");
    int64_t value = sqlite3_column_int64(st, 0);
    while ((rc = sql_step(c, st, err)) > 0)
        ;
    if (rc == 0)
        *out = value;
    return rc;
}

int sql_rows(struct store_conn *c, enum store_query query, const struct sql_value *values, size_t value_count,
             const struct sql_row *row, void **out, size_t *n, struct err *err)
{
    sqlite3_stmt *st;
    void *rows = NULL;
    size_t count = 0, capacity = 0;
    int rc = sql_open(c, query, values, value_count, &st, err);
    if (rc)
        return rc;
    while ((rc = sql_step(c, st, err)) > 0) {
        rc = sql_grow(&rows, count, &capacity, row->size, err);
        if (!rc) {
            void *place = (char *)rows + count * row->size;
            memset(place, 0, row->size);
            rc = row->read(st, place, err);
        }
        if (rc) {
            sql_end(st);
            break;
        }
        count++;
    }
    if (rc) {
        for (size_t i = 0; i < count && row->finish; i++)
            row->finish((char *)rows + i * row->size);
        free(rows);
        return rc;
    }
    *out = rows;
    *n = count;
    return 0;
}

int64_t sql_int_known(sqlite3_stmt *st, int column)
{
    return sqlite3_column_type(st, column) == SQLITE_NULL ? STORE_UNKNOWN : sqlite3_column_int64(st, column);
}

double sql_double(sqlite3_stmt *st, int column)
{
    return sqlite3_column_type(st, column) == SQLITE_FLOAT ? sqlite3_column_double(st, column) : NAN;
}

struct store_real sql_real(sqlite3_stmt *st, int column)
{
    if (sqlite3_column_type(st, column) == SQLITE_NULL)
        return (struct store_real){false, NAN};
    return (struct store_real){true, sql_double(st, column)};
}

void sql_text(sqlite3_stmt *st, int column, char *out, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(st, column);
    size_t length = text ? strnlen(text, size - 1) : 0;
    if (length)
        memcpy(out, text, length);
    out[length] = '\0';
}

char *sql_text_copy(sqlite3_stmt *st, int column)
{
    const char *text = (const char *)sqlite3_column_text(st, column);
    return strdup(text ? text : "");
}

int sql_grow(void **array, size_t n, size_t *capacity, size_t size, struct err *err)
{
    if (n < *capacity)
        return 0;
    size_t wanted = *capacity ? 2 * *capacity : 16;
    void *larger = realloc(*array, wanted * size);
    if (!larger)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    *array = larger;
    *capacity = wanted;
    return 0;
}
