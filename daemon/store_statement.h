/* store_statement.h: inside the store: connections, cached statements, values in and out. The rest of bakad includes
 * store.h and its sisters instead. Thread: that of the connection.
 *
 * A statement is prepared at its first use and kept. Values are bound without a copy: they live until sql_end. A
 * statement may not be used while it is open (no function here is recursive over the same statement).
 */
#ifndef BAKA_DAEMON_STORE_STATEMENT_H
#define BAKA_DAEMON_STORE_STATEMENT_H

#include <math.h>
#include <sqlite3.h>
#include "daemon/store_run.h"
#include "store_sql.h"

struct store_block;

struct store_conn {
    sqlite3 *db;
    enum store_mode mode;
    sqlite3_stmt *statements[QUERY_COUNT];
    struct store_block *block; /* ingest's buffer, made at its first use */
};

enum sql_type { SQL_NULL_TYPE, SQL_INT_TYPE, SQL_REAL_TYPE, SQL_TEXT_TYPE, SQL_BLOB_TYPE };

struct sql_value {
    enum sql_type type;
    union {
        int64_t i;
        double d;
        const void *p;
    };
    size_t size; /* of a blob */
};

#define SQL_NULL ((struct sql_value){.type = SQL_NULL_TYPE})
#define SQL_INT(v) ((struct sql_value){.type = SQL_INT_TYPE, .i = (v)})
/* NULL for STORE_UNKNOWN */
#define SQL_INT_KNOWN(v) ((v) == STORE_UNKNOWN ? SQL_NULL : SQL_INT(v))
/* NaN becomes the text 'nan' */
#define SQL_REAL(v) ((struct sql_value){.type = SQL_REAL_TYPE, .d = (v)})
#define SQL_REAL_KNOWN(r) ((r).known ? SQL_REAL((r).value) : SQL_NULL)
/* NULL pointers become NULL */
#define SQL_TEXT(v) ((struct sql_value){.type = SQL_TEXT_TYPE, .p = (v)})
#define SQL_BLOB(v, n) ((struct sql_value){.type = SQL_BLOB_TYPE, .p = (v), .size = (n)})
#define SQL_VALUES(...)                                                                                                \
    ((const struct sql_value[]){__VA_ARGS__}),                                                                         \
        sizeof((const struct sql_value[]){__VA_ARGS__}) / sizeof(struct sql_value)

/* err from the connection's last error. */
int sql_fail(struct store_conn *c, int rc, const char *what, struct err *err);
/* Ready to step. */
int sql_open(struct store_conn *c, enum store_query query, const struct sql_value *values, size_t n, sqlite3_stmt **out,
             struct err *err);
/* 1: a row; 0: no more, and it is closed; -ERR_...: it is closed. */
int sql_step(struct store_conn *c, sqlite3_stmt *st, struct err *err);
void sql_end(sqlite3_stmt *st);
/* To its end. */
int sql_run(struct store_conn *c, enum store_query query, const struct sql_value *values, size_t n, struct err *err);
/* As sql_run; ERR_CONFLICT unless exactly one row changed. */
int sql_run_one(struct store_conn *c, enum store_query query, const struct sql_value *values, size_t n,
                struct err *err);
/* One integer from the first row; ERR_NOT_FOUND without a row, *out untouched. */
int sql_get_int(struct store_conn *c, enum store_query query, const struct sql_value *values, size_t n, int64_t *out,
                struct err *err);

int64_t sql_int_known(sqlite3_stmt *st, int column); /* STORE_UNKNOWN for NULL */
double sql_double(sqlite3_stmt *st, int column);     /* NaN for NULL and 'nan' */
struct store_real sql_real(sqlite3_stmt *st, int column);
/* Cut to size. */
void sql_text(sqlite3_stmt *st, int column, char *out, size_t size);
/* A copy, "" for NULL; NULL when out of memory. */
char *sql_text_copy(sqlite3_stmt *st, int column);

/* What a query's rows become. */
struct sql_row {
    size_t size;
    int (*read)(sqlite3_stmt *st, void *row, struct err *err); /* fills a zeroed row; leaves it empty on an error */
    void (*finish)(void *row);                                 /* frees what a row owns; NULL: nothing */
};

/* All rows as an array, NULL when there are none; the caller's. */
int sql_rows(struct store_conn *c, enum store_query query, const struct sql_value *values, size_t value_count,
             const struct sql_row *row, void **out, size_t *n, struct err *err);

/* Room for one more element of `size` bytes in a growing array; ERR_NO_MEMORY. */
int sql_grow(void **array, size_t n, size_t *capacity, size_t size, struct err *err);

#endif
