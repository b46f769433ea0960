/* query.h: somebody's SQL over the database, read only, through documented views.
 *
 * Two connections of its own, opened for the call and closed after it: one for the statement, one for what the table
 * `steps` reads. Both are read-only for SQLite. Beyond that an authorizer lets a statement only select: from the views
 * of query_views.h, from `steps`, and from what a WITH of its own makes. ATTACH, PRAGMA, transactions, extensions and
 * the tables behind the views are refused, and so is a second statement behind the first.
 *
 * A statement is stopped when it takes too long, gives too many rows or bytes, or makes SQLite hold too much memory.
 * Rows over the limit are no error: `truncated` says so.
 *
 * Failures: ERR_INVALID with SQLite's message, ERR_TOO_LARGE for time, memory and bytes, those of the database.
 * Thread: any but the loop's, which would wait; several at once are fine.
 */
#ifndef BAKA_DAEMON_QUERY_H
#define BAKA_DAEMON_QUERY_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct jsonw;

enum {
    QUERY_SQL_MAX = 65536,
    QUERY_ROWS_DEFAULT = 1000,
    QUERY_ROWS_MAX = 1000000,
    QUERY_TIME_MS = 10000,
    QUERY_BYTES_MAX = 256 << 20, /* of the answer */
    QUERY_MEMORY_MAX = 512 << 20 /* that SQLite takes more than at the beginning */
};

struct query {
    const char *database; /* path */
    const char *sql;
    int64_t rows;    /* 1 ... QUERY_ROWS_MAX */
    int64_t time_ms; /* 1 ... QUERY_TIME_MS */
};

/* {"columns":["…"],"rows":[[…]],"truncated":bool}; NULL is null, a blob is {"hex":"…"}. */
int query_run(const struct query *q, struct jsonw *out, struct err *err);
/* {"views":[{"name","about","columns":["…"]}]} */
int query_describe(const char *database, struct jsonw *out, struct err *err);
/* Those that run end soon, with ERR_UNAVAILABLE; for good. Any thread. */
void query_end(void);

#endif
