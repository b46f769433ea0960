/* store_thread.c: the writer, the readers, and the way back to the loop.
 *
 * One mutex guards the queues. The loop appends jobs, threads take them, finished jobs go to one list that an async
 * handle drains on the loop in the order in which they ended. Closing: the flag is set, readers run dry, close and
 * leave; the writer runs dry, waits for the readers (so that its close, the last, checkpoints and removes the WAL) and
 * leaves; then the loop joins them, delivers what is left and closes the handle, whose callback frees the store.
 */
#include "daemon/store.h"

#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"
#include "daemon/store_statement.h"

/* A group ends after this many jobs or this long, so that no done waits on an endless transaction. */
enum { GROUP_JOBS = 256, GROUP_US = 20000 };

struct job_list {
    struct store_job *first, **end;
};

struct store {
    uv_loop_t *loop;
    uv_async_t async;
    uv_mutex_t mutex;
    uv_cond_t wake_writer, wake_reader;
    uv_thread_t writer_thread, reader_threads[STORE_READERS];
    struct store_conn *writer, *readers[STORE_READERS];
    struct job_list writes, reads, ended; /* under mutex */
    int next_reader;                      /* under mutex: connections are dealt out to starting threads */
    int live_readers;                     /* under mutex */
    bool closing, writer_left;            /* under mutex */
    void (*closed)(void *arg);
    void *closed_arg;
};

static void list_init(struct job_list *l)
{
    l->first = NULL;
    l->end = &l->first;
}

static void list_add(struct job_list *l, struct store_job *job)
{
    job->next = NULL;
    *l->end = job;
    l->end = &job->next;
}

static struct store_job *list_take(struct job_list *l)
{
    struct store_job *job = l->first;
    if (job) {
        l->first = job->next;
        if (!l->first)
            l->end = &l->first;
    }
    return job;
}

static void list_append(struct job_list *l, struct job_list *more)
{
    if (!more->first)
        return;
    *l->end = more->first;
    l->end = more->end;
    list_init(more);
}

/* --- on the store's threads -------------------------------------------------------------------------------------- */

static int savepoint(struct store_conn *c, const char *sql, struct err *err)
{
    errno = 0;
    int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : sql_fail(c, rc, sql, err);
}

/* Under a savepoint. Returns non-zero when the whole transaction is lost. */
static int run_in_group(struct store_conn *c, struct store_job *job)
{
    struct err err = {0};
    bool lost = false;
    job->rc = savepoint(c, "SAVEPOINT job", &err);
    if (!job->rc) {
        job->rc = job->run(c, job->arg, &err);
        if (sqlite3_get_autocommit(c->db)) /* SQLite rolled everything back: disk full, I/O error, no memory */
            job->rc = job->rc ? job->rc : err_set(&err, ERR_IO, "the transaction was lost");
        else if (job->rc && savepoint(c, "ROLLBACK TO job; RELEASE job", NULL)) {
            store_rollback(c); /* what it wrote must not be committed with the others' */
            lost = true;
        } else if (!job->rc && (job->rc = savepoint(c, "RELEASE job", &err)) != 0) {
            store_rollback(c);
            lost = true;
        }
    }
    job->err = err;
    return job->rc && (lost || sqlite3_get_autocommit(c->db)) ? job->rc : 0;
}

static void fail_all(struct store_job *first, int rc, const struct err *err)
{
    for (struct store_job *job = first; job; job = job->next)
        if (!job->rc) {
            job->rc = rc;
            job->err = *err;
        }
}

/* Takes jobs of `todo` and puts them into `ended`, committed or failed. */
static void write_group(struct store_conn *c, struct job_list *todo, struct job_list *ended)
{
    struct job_list group;
    struct err err = {0};
    int64_t until_us = clock_monotonic_us() + GROUP_US;
    list_init(&group);
    int lost = store_begin(c, &err);
    if (lost) {
        list_append(&group, todo);
        for (struct store_job *job = group.first; job; job = job->next)
            job->rc = 0;
    }
    for (int n = 0; !lost && todo->first && n < GROUP_JOBS && (n == 0 || clock_monotonic_us() < until_us); n++) {
        struct store_job *job = list_take(todo);
        lost = run_in_group(c, job);
        if (lost)
            err = job->err;
        list_add(&group, job);
    }
    if (!lost)
        lost = store_commit(c, &err);
    if (lost)
        fail_all(group.first, lost, &err);
    list_append(ended, &group);
}

static void writer_main(void *arg)
{
    struct store *s = arg;
    struct job_list todo;
    list_init(&todo);
    uv_mutex_lock(&s->mutex);
    for (;;) {
        while (!s->writes.first && !s->closing)
            uv_cond_wait(&s->wake_writer, &s->mutex);
        if (!s->writes.first)
            break;
        list_append(&todo, &s->writes);
        while (todo.first) {
            struct job_list ended;
            list_init(&ended);
            uv_mutex_unlock(&s->mutex);
            write_group(s->writer, &todo, &ended);
            uv_mutex_lock(&s->mutex);
            list_append(&s->ended, &ended);
            uv_async_send(&s->async);
        }
    }
    while (s->live_readers > 0)
        uv_cond_wait(&s->wake_writer, &s->mutex);
    uv_mutex_unlock(&s->mutex);
    store_conn_close(s->writer);
    uv_mutex_lock(&s->mutex);
    s->writer_left = true;
    uv_async_send(&s->async);
    uv_mutex_unlock(&s->mutex);
}

static void read_one(struct store_conn *c, struct store_job *job)
{
    struct err err = {0};
    job->rc = store_begin(c, &err);
    if (!job->rc) {
        job->rc = job->run(c, job->arg, &err);
        store_rollback(c); /* nothing was written: this ends the snapshot */
    }
    job->err = err;
}

static void reader_main(void *arg)
{
    struct store *s = arg;
    uv_mutex_lock(&s->mutex);
    struct store_conn *c = s->readers[s->next_reader++];
    for (;;) {
        while (!s->reads.first && !s->closing)
            uv_cond_wait(&s->wake_reader, &s->mutex);
        struct store_job *job = list_take(&s->reads);
        if (!job)
            break;
        uv_mutex_unlock(&s->mutex);
        read_one(c, job);
        uv_mutex_lock(&s->mutex);
        list_add(&s->ended, job);
        uv_async_send(&s->async);
    }
    uv_mutex_unlock(&s->mutex);
    store_conn_close(c);
    uv_mutex_lock(&s->mutex);
    s->live_readers--;
    uv_cond_broadcast(&s->wake_writer);
    uv_mutex_unlock(&s->mutex);
}

/* --- on the loop ------------------------------------------------------------------------------------------------- */

static void release(struct store *s)
{
    uv_cond_destroy(&s->wake_reader);
    uv_cond_destroy(&s->wake_writer);
    uv_mutex_destroy(&s->mutex);
    free(s);
}

static void on_async_closed(uv_handle_t *handle)
{
    struct store *s = handle->data;
    void (*closed)(void *) = s->closed;
    void *arg = s->closed_arg;
    release(s);
    if (closed)
        closed(arg);
}

static void on_ended(uv_async_t *async)
{
    struct store *s = async->data;
    for (;;) {
        uv_mutex_lock(&s->mutex);
        struct store_job *job = list_take(&s->ended);
        bool over = !job && s->writer_left;
        uv_mutex_unlock(&s->mutex);
        if (job) {
            job->done(job->arg, job->rc, &job->err);
            continue;
        }
        if (over && !uv_is_closing((uv_handle_t *)async)) {
            uv_thread_join(&s->writer_thread);
            for (int i = 0; i < STORE_READERS; i++)
                uv_thread_join(&s->reader_threads[i]);
            uv_close((uv_handle_t *)async, on_async_closed);
        }
        return;
    }
}

static void give(struct store *s, struct job_list *queue, uv_cond_t *wake, struct store_job *job)
{
    job->rc = 0;
    uv_mutex_lock(&s->mutex);
    if (s->closing) {
        job->rc = err_set(&job->err, ERR_UNAVAILABLE, "the daemon is shutting down");
        list_add(&s->ended, job);
        uv_async_send(&s->async);
    } else {
        list_add(queue, job);
        uv_cond_signal(wake);
    }
    uv_mutex_unlock(&s->mutex);
}

void store_write(struct store *s, struct store_job *job)
{
    give(s, &s->writes, &s->wake_writer, job);
}

void store_read(struct store *s, struct store_job *job)
{
    give(s, &s->reads, &s->wake_reader, job);
}

void store_close(struct store *s, void (*closed)(void *arg), void *arg)
{
    s->closed = closed;
    s->closed_arg = arg;
    uv_mutex_lock(&s->mutex);
    s->closing = true;
    uv_cond_broadcast(&s->wake_writer);
    uv_cond_broadcast(&s->wake_reader);
    uv_mutex_unlock(&s->mutex);
}

static int start_threads(struct store *s, struct err *err)
{
    int started = 0, rc = uv_thread_create(&s->writer_thread, writer_main, s);
    if (rc)
        return err_set(err, ERR_UNAVAILABLE, "cannot start the writer thread: %s", uv_strerror(rc));
    s->live_readers = STORE_READERS;
    while (started < STORE_READERS && !(rc = uv_thread_create(&s->reader_threads[started], reader_main, s)))
        started++;
    if (!rc)
        return 0;
    uv_mutex_lock(&s->mutex);
    s->live_readers -= STORE_READERS - started;
    s->closing = true;
    uv_cond_broadcast(&s->wake_writer);
    uv_cond_broadcast(&s->wake_reader);
    uv_mutex_unlock(&s->mutex);
    uv_thread_join(&s->writer_thread);
    s->writer = NULL;
    for (int i = 0; i < started; i++) {
        uv_thread_join(&s->reader_threads[i]);
        s->readers[i] = NULL;
    }
    return err_set(err, ERR_UNAVAILABLE, "cannot start a reader thread: %s", uv_strerror(rc));
}

static void on_async_given_up(uv_handle_t *handle)
{
    release(handle->data);
}

int store_open(uv_loop_t *loop, const char *path, struct store **out, struct err *err)
{
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    s->loop = loop;
    list_init(&s->writes);
    list_init(&s->reads);
    list_init(&s->ended);
    int rc = store_conn_open(path, STORE_WRITER, &s->writer, err);
    for (int i = 0; i < STORE_READERS && !rc; i++)
        rc = store_conn_open(path, STORE_READER, &s->readers[i], err);
    bool synced = false, async = false;
    if (!rc && (uv_mutex_init(&s->mutex) || uv_cond_init(&s->wake_writer) || uv_cond_init(&s->wake_reader)))
        rc = err_set(err, ERR_UNAVAILABLE, "cannot make a mutex");
    else if (!rc)
        synced = true;
    if (!rc && uv_async_init(loop, &s->async, on_ended))
        rc = err_set(err, ERR_UNAVAILABLE, "cannot make an async handle");
    else if (!rc)
        async = true;
    s->async.data = s;
    if (!rc)
        rc = start_threads(s, err);
    if (rc) {
        for (int i = 0; i < STORE_READERS; i++)
            store_conn_close(s->readers[i]);
        store_conn_close(s->writer);
        if (async)
            uv_close((uv_handle_t *)&s->async, on_async_given_up);
        else if (synced)
            release(s);
        else
            free(s);
        return rc;
    }
    *out = s;
    return 0;
}
