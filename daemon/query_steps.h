/* query_steps.h: the table `steps` of query.h: SELECT step, loss FROM steps('b00012') WHERE step > 1000. Its argument
 * is a run's id or name. Each step once. */
#ifndef BAKA_DAEMON_QUERY_STEPS_H
#define BAKA_DAEMON_QUERY_STEPS_H

#include <sqlite3.h>

struct store_conn;

#define QUERY_STEPS_COLUMNS "step, epoch, tokens, loss, lr, grad_norm, ms, tok_s"

/* Into a connection; `source` is another one, that outlives it. SQLite's code. */
int query_steps_register(sqlite3 *db, struct store_conn *source);

#endif
