/* store.h: bakad's database. Connections, and the threads that own them.
 *
 * One connection writes and checkpoints, on a thread of its own; readers never do. Everything that reads or writes is a
 * plain function over `struct store_conn *` (store_run.h, store_attempt.h, store_curve.h, ingest.h), so tests call them
 * without threads; a program calls them from the run function of a job. No connection may cross a fork.
 *
 * Writing: the writer takes the jobs that wait, runs each under a savepoint of one transaction, commits, and only then
 * tells the loop. A job whose run fails is rolled back alone. When the commit itself fails (disk full, I/O error) every
 * job of that group ends with ERR_NO_SPACE or ERR_IO, also those whose run returned 0; the database is as before and
 * the store goes on. So a run function must not leave anything behind outside the database that its done would not
 * undo.
 *
 * Reading: each read job sees one snapshot. A job given from the done of a write sees that write. Jobs of different
 * readers have no order.
 */
#ifndef BAKA_DAEMON_STORE_H
#define BAKA_DAEMON_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include "base/err.h"

struct store_conn; /* used by one thread at a time */

enum store_mode { STORE_WRITER, STORE_READER };

/* STORE_WRITER makes the file if there is none (mode 0600), refuses one that is not baka's, is damaged (ERR_DAMAGED: a
 * cheap check of the small tables, not of the steps) or was written by a newer baka (ERR_CONFLICT), and brings an old
 * one up to date, one transaction a migration. STORE_READER needs a file that a writer has opened. */
int store_conn_open(const char *path, enum store_mode mode, struct store_conn **out, struct err *err);
/* The writer's close checkpoints. NULL is fine. */
void store_conn_close(struct store_conn *c);
/* For tests and tools; jobs are inside a transaction already. */
int store_begin(struct store_conn *c, struct err *err);
int store_commit(struct store_conn *c, struct err *err); /* on failure the transaction is rolled back */
void store_rollback(struct store_conn *c);

struct store;

/* Owned by the caller, who keeps it alive and still until done was called; any number may wait. */
struct store_job {
    int (*run)(struct store_conn *c, void *arg, struct err *err); /* on a store thread: 0 or -ERR_... */
    void (*done)(void *arg, int rc, const struct err *err);       /* on the loop; the job may be freed or reused here */
    void *arg;
    /* the store's */
    struct store_job *next;
    int rc;
    struct err err;
};

enum { STORE_READERS = 2 };

/* Opens, migrates and starts the threads. The handle keeps the loop alive until closed. */
int store_open(uv_loop_t *loop, const char *path, struct store **out, struct err *err);
/* On the loop's thread only. After store_close: done is called with ERR_UNAVAILABLE, from the loop. */
void store_write(struct store *s, struct store_job *job);
void store_read(struct store *s, struct store_job *job);
/* Runs what waits, delivers every done, closes the connections (checkpoint), then calls closed and frees s. Jobs given
 * from those last done callbacks are refused. closed may be NULL. */
void store_close(struct store *s, void (*closed)(void *arg), void *arg);

#endif
