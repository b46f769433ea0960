#include "daemon/query.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "daemon/jsonw.h"
#include "daemon/query_steps.h"
#include "daemon/query_views.h"
#include "daemon/store_statement.h"

enum { OPERATIONS_BETWEEN_LOOKS = 1000 };

static atomic_bool ending;

enum stop { STOP_NOT, STOP_TIME, STOP_MEMORY, STOP_END };

struct session {
    struct store_conn *front, *back; /* back: what `steps` reads through, without an authorizer */
    int64_t deadline_us;
    sqlite3_int64 memory_before;
    enum stop stop;
    char secret[24];   /* ends the names of the views that read the tables, see make_views */
    char refused[128]; /* what the authorizer refused first */
};

static bool is_view(const char *name)
{
    for (const struct query_view *v = query_views; v->name; v++)
        if (strcmp(v->name, name) == 0)
            return true;
    return strcmp(name, "steps") == 0;
}

static int refuse(struct session *s, const char *format, const char *what)
{
    if (!*s->refused)
        sqlite3_snprintf(sizeof s->refused, s->refused, format, what);
    return SQLITE_DENY;
}

static bool is_secret(const struct session *s, const char *name)
{
    size_t length = strlen(name), cut = strlen(s->secret);
    return length > cut && strcmp(name + length - cut, s->secret) == 0;
}

/* `inside`: the view that is being expanded, or what a WITH or a subquery is called: that may be anything. */
static int authorize_read(struct session *s, const char *table, const char *column, const char *schema,
                          const char *inside)
{
    /* A view that was merged into the query and of which no column is used: its table's rows are counted. */
    if (!*column && (is_view(table) || strcmp(table, "gpu_samples") == 0))
        return SQLITE_OK;
    if (inside && is_secret(s, inside))
        return SQLITE_OK;
    if (!schema || strcmp(table, "steps") == 0) /* without a schema: what the statement itself makes */
        return SQLITE_OK;
    if (strcmp(schema, "temp") == 0 && (is_view(table) || (is_secret(s, table) && inside)))
        return SQLITE_OK;
    return refuse(s, "the table %s", table);
}

static int authorize(void *arg, int action, const char *first, const char *second, const char *schema,
                     const char *inside)
{
    struct session *s = arg;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_RECURSIVE:
        return SQLITE_OK;
    case SQLITE_READ:
        return authorize_read(s, first, second, schema, inside);
    case SQLITE_FUNCTION:
        if (strcmp(second, "load_extension") == 0 || strcmp(second, "fts3_tokenizer") == 0)
            return refuse(s, "the function %s", second);
        return SQLITE_OK;
    case SQLITE_ATTACH:
    case SQLITE_DETACH:
        return refuse(s, "%s", "ATTACH");
    case SQLITE_PRAGMA:
        return refuse(s, "PRAGMA %s", first ? first : "");
    default:
        return refuse(s, "%s", "anything but SELECT");
    }
}

/* Every so many operations of SQLite's machine; not 0 interrupts it. */
static int on_progress(void *arg)
{
    struct session *s = arg;
    if (atomic_load(&ending))
        s->stop = STOP_END;
    else if (clock_monotonic_us() > s->deadline_us)
        s->stop = STOP_TIME;
    else if (sqlite3_memory_used() - s->memory_before > QUERY_MEMORY_MAX)
        s->stop = STOP_MEMORY;
    return s->stop != STOP_NOT;
}

static int make_view(sqlite3 *db, const char *name, const char *suffix, const char *select)
{
    char *sql = sqlite3_mprintf("CREATE TEMP VIEW %s%s AS %s", name, suffix, select);
    int rc = sql ? sqlite3_exec(db, sql, NULL, NULL, NULL) : SQLITE_NOMEM;
    sqlite3_free(sql);
    return rc;
}

/* Views are this connection's own; the file stays read-only, for so it was opened. Each stands over a second one whose
 * name nobody can know, and only that one may read tables: to an authorizer a WITH of a view's name looks like the
 * view.
 */
static int make_views(struct session *s)
{
    sqlite3 *db = s->front->db;
    uint64_t random;
    sqlite3_randomness(sizeof random, &random);
    sqlite3_snprintf(sizeof s->secret, s->secret, "_%016llx", (unsigned long long)random);
    int rc = sqlite3_exec(db, "PRAGMA query_only = OFF", NULL, NULL, NULL);
    for (const struct query_view *v = query_views; v->name && rc == SQLITE_OK; v++) {
        char *over = sqlite3_mprintf("SELECT * FROM %s%s", v->name, s->secret);
        rc = over ? make_view(db, v->name, s->secret, v->select) : SQLITE_NOMEM;
        if (rc == SQLITE_OK)
            rc = make_view(db, v->name, "", over);
        sqlite3_free(over);
    }
    return rc == SQLITE_OK ? sqlite3_exec(db, "PRAGMA query_only = ON", NULL, NULL, NULL) : rc;
}

static void set_limits(sqlite3 *db)
{
    static const struct {
        int what, value;
    } limits[] = {
        {SQLITE_LIMIT_LENGTH, 16 << 20},
        {SQLITE_LIMIT_SQL_LENGTH, QUERY_SQL_MAX},
        {SQLITE_LIMIT_COLUMN, 200},
        {SQLITE_LIMIT_EXPR_DEPTH, 200},
        {SQLITE_LIMIT_COMPOUND_SELECT, 50},
        {SQLITE_LIMIT_ATTACHED, 0},
        {SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200},
        {SQLITE_LIMIT_VARIABLE_NUMBER, 0},
        {SQLITE_LIMIT_WORKER_THREADS, 0},
    };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        sqlite3_limit(db, limits[i].what, limits[i].value);
}

static void session_close(struct session *s)
{
    store_conn_close(s->front);
    store_conn_close(s->back);
}

static int session_open(struct session *s, const char *database, int64_t time_ms, struct err *err)
{
    *s = (struct session){.memory_before = sqlite3_memory_used()};
    s->deadline_us = clock_monotonic_us() + 1000 * time_ms;
    int rc = store_conn_open(database, STORE_READER, &s->back, err);
    if (rc == 0)
        rc = store_conn_open(database, STORE_READER, &s->front, err);
    if (rc == 0) {
        sqlite3 *db = s->front->db;
        int made = query_steps_register(db, s->back);
        if (made == SQLITE_OK)
            made = make_views(s);
        if (made != SQLITE_OK)
            rc = sql_fail(s->front, made, "views", err);
    }
    if (rc) {
        session_close(s);
        return rc;
    }
    sqlite3_db_config(s->front->db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
    set_limits(s->front->db);
    sqlite3_set_authorizer(s->front->db, authorize, s);
    sqlite3_progress_handler(s->front->db, OPERATIONS_BETWEEN_LOOKS, on_progress, s);
    return 0;
}

static int fail(struct session *s, int rc, int64_t time_ms, struct err *err)
{
    switch (s->stop) {
    case STOP_TIME:
        return err_set(err, ERR_TOO_LARGE, "the query took longer than %.3g s and was stopped", (double)time_ms / 1000);
    case STOP_MEMORY:
        return err_set(err, ERR_TOO_LARGE, "the query needs more than %d MiB of memory and was stopped",
                       QUERY_MEMORY_MAX >> 20);
    case STOP_END:
        return err_set(err, ERR_UNAVAILABLE, "the daemon is ending");
    case STOP_NOT:
        break;
    }
    if (*s->refused)
        return err_set_at(err, ERR_INVALID, "sql",
                          "%s is not allowed: one SELECT over the views is (bakactl query --views lists them)",
                          s->refused);
    int code = rc & 0xff;
    if (code == SQLITE_ERROR || code == SQLITE_TOOBIG || code == SQLITE_AUTH || code == SQLITE_MISMATCH ||
        code == SQLITE_RANGE)
        return err_set_at(err, ERR_INVALID, "sql", "%.500s", sqlite3_errmsg(s->front->db));
    return sql_fail(s->front, rc, "query", err);
}

static void write_value(struct jsonw *w, sqlite3_stmt *st, int column)
{
    switch (sqlite3_column_type(st, column)) {
    case SQLITE_INTEGER:
        jsonw_int(w, NULL, sqlite3_column_int64(st, column));
        break;
    case SQLITE_FLOAT:
        jsonw_real(w, NULL, sqlite3_column_double(st, column));
        break;
    case SQLITE_TEXT: {
        const char *text = (const char *)sqlite3_column_text(st, column);
        jsonw_bytes(w, NULL, text ? text : "", (size_t)sqlite3_column_bytes(st, column));
        break;
    }
    case SQLITE_BLOB: {
        const unsigned char *bytes = sqlite3_column_blob(st, column);
        int size = sqlite3_column_bytes(st, column);
        char *hex = malloc((size_t)size * 2 + 1);
        for (int i = 0; hex && i < size; i++)
            snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
        if (hex)
            hex[(size_t)size * 2] = '\0';
        jsonw_begin_object(w, NULL);
        jsonw_string(w, "hex", hex);
        jsonw_end_object(w);
        free(hex);
        break;
    }
    default:
        jsonw_null(w, NULL);
    }
}

static int write_rows(struct session *s, const struct query *q, sqlite3_stmt *st, struct jsonw *w, struct err *err)
{
    int columns = sqlite3_column_count(st), rc;
    int64_t rows = 0;
    jsonw_begin_object(w, NULL);
    jsonw_begin_array(w, "columns");
    for (int i = 0; i < columns; i++)
        jsonw_string(w, NULL, sqlite3_column_name(st, i));
    jsonw_end_array(w);
    jsonw_begin_array(w, "rows");
    while ((rc = sqlite3_step(st)) == SQLITE_ROW && rows < q->rows) {
        jsonw_begin_array(w, NULL);
        for (int i = 0; i < columns; i++)
            write_value(w, st, i);
        jsonw_end_array(w);
        rows++;
        if (w->size > QUERY_BYTES_MAX)
            return err_set(err, ERR_TOO_LARGE, "the answer has more than %d MiB", QUERY_BYTES_MAX >> 20);
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return fail(s, rc, q->time_ms, err);
    jsonw_end_array(w);
    jsonw_bool(w, "truncated", rc == SQLITE_ROW);
    jsonw_end_object(w);
    return 0;
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n;")] == '\0';
}

int query_run(const struct query *q, struct jsonw *out, struct err *err)
{
    struct session s;
    sqlite3_stmt *st = NULL;
    const char *rest = "";
    if (is_blank(q->sql))
        return err_set_at(err, ERR_INVALID, "sql", "is empty: a SELECT is needed");
    int rc = session_open(&s, q->database, q->time_ms, err);
    if (rc)
        return rc;
    int prepared = sqlite3_prepare_v2(s.front->db, q->sql, -1, &st, &rest);
    if (prepared != SQLITE_OK)
        rc = fail(&s, prepared, q->time_ms, err);
    else if (!is_blank(rest))
        rc = err_set_at(err, ERR_INVALID, "sql", "one statement at a time: what is \"%.40s\"?",
                        rest + strspn(rest, " \n"));
    else if (!st || !sqlite3_stmt_readonly(st) || sqlite3_column_count(st) == 0 || sqlite3_stmt_isexplain(st))
        rc = err_set_at(err, ERR_INVALID, "sql", "is no SELECT");
    else
        rc = write_rows(&s, q, st, out, err);
    sqlite3_finalize(st);
    session_close(&s);
    return rc;
}

static int describe(struct session *s, struct jsonw *w, const char *name, const char *about, const char *from,
                    struct err *err)
{
    sqlite3_stmt *st = NULL;
    char sql[128];
    snprintf(sql, sizeof sql, "SELECT * FROM %s", from);
    int rc = sqlite3_prepare_v2(s->front->db, sql, -1, &st, NULL);
    if (rc != SQLITE_OK)
        return fail(s, rc, QUERY_TIME_MS, err);
    jsonw_begin_object(w, NULL);
    jsonw_string(w, "name", name);
    jsonw_string(w, "about", about);
    jsonw_begin_array(w, "columns");
    for (int i = 0; i < sqlite3_column_count(st); i++)
        jsonw_string(w, NULL, sqlite3_column_name(st, i));
    jsonw_end_array(w);
    jsonw_end_object(w);
    sqlite3_finalize(st);
    return 0;
}

int query_describe(const char *database, struct jsonw *out, struct err *err)
{
    struct session s;
    int rc = session_open(&s, database, QUERY_TIME_MS, err);
    if (rc)
        return rc;
    jsonw_begin_object(out, NULL);
    jsonw_begin_array(out, "views");
    for (const struct query_view *v = query_views; v->name && rc == 0; v++)
        rc = describe(&s, out, v->name, v->about, v->name, err);
    if (rc == 0)
        rc = describe(&s, out, "steps('RUN')", "each step of a run once; RUN is an id or a name, or r.id in a join",
                      "steps('')", err);
    jsonw_end_array(out);
    jsonw_end_object(out);
    session_close(&s);
    return rc;
}

void query_end(void)
{
    atomic_store(&ending, true);
}
