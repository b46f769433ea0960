/* store_row.h: inside the store: rows to structs, and the steps that making a run by submit and by import share. */
#ifndef BAKA_DAEMON_STORE_ROW_H
#define BAKA_DAEMON_STORE_ROW_H

#include "daemon/store_statement.h"

/* A row of the view run_row. */
int store_row_run(sqlite3_stmt *st, struct store_run *out, struct err *err);
/* The only row of a query by the run's id, open: sql_end when it is read. ERR_NOT_FOUND when there is no such run. */
int store_row_of_run(struct store_conn *c, enum store_query query, int64_t id, sqlite3_stmt **st, struct err *err);
/* First column of all rows. Caller frees *ids, which is NULL when there are none. */
int store_row_ids(struct store_conn *c, enum store_query query, const struct sql_value *values, size_t value_count,
                  int64_t **ids, size_t *n, struct err *err);
/* Has this request (NULL: none) made n runs before? Fills ids then. */
int store_row_repeated(struct store_conn *c, const char *request_id, int64_t *ids, size_t n, bool *repeated,
                       struct err *err);
/* Remembers the request, tags the run, tells the event. */
int store_row_made(struct store_conn *c, const char *request_id, size_t seq, int64_t id, const char *kind,
                   const char *const *tags, size_t tag_count, int64_t now_ms, struct err *err);

#endif
