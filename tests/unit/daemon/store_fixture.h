/* store_fixture.h: a fresh database in a temporary directory, runs and journals for tests of the store. */
#ifndef BAKA_TESTS_STORE_FIXTURE_H
#define BAKA_TESTS_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "daemon/ingest.h"
#include "daemon/store_attempt.h"
#include "daemon/store_curve.h"
#include "daemon/store_statement.h"
#include "daemon/store_steps.h"

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        int rc_ = (call);                                                                                              \
        if (rc_)                                                                                                       \
            fail_msg("%s: %d: %s", #call, rc_, fixture_err.message);                                                   \
    } while (0)

static struct err fixture_err;
static char fixture_dir[64], fixture_path[96];
static struct store_conn *conn;

static inline int fixture_set_up(void **state)
{
    (void)state;
    snprintf(fixture_dir, sizeof fixture_dir, "/tmp/baka-store-XXXXXX");
    if (!mkdtemp(fixture_dir))
        return -1;
    snprintf(fixture_path, sizeof fixture_path, "%s/baka.db", fixture_dir);
    return store_conn_open(fixture_path, STORE_WRITER, &conn, &fixture_err);
}

static inline int fixture_tear_down(void **state)
{
    (void)state;
    store_conn_close(conn);
    conn = NULL;
    return file_remove_tree(fixture_dir, &fixture_err);
}

static inline void fixture_execute(const char *sql)
{
    if (sqlite3_exec(conn->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(conn->db));
}

static inline int64_t fixture_int(const char *sql)
{
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_prepare_v2(conn->db, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return value;
}

/* One queued run. */
static inline int64_t fixture_submit(const char *name, const char *tag, int64_t priority)
{
    struct store_new_run r = {.name = name,
                              .spec = "{}",
                              .spec_hash = "h",
                              .data = "kjv",
                              .priority = priority,
                              .cpus = 1,
                              .total_steps = STORE_UNKNOWN,
                              .params = STORE_UNKNOWN};
    int64_t id;
    bool repeated;
    OK(store_begin(conn, &fixture_err));
    OK(store_submit(conn, NULL, &r, 1, &tag, tag ? 1 : 0, 1000, &id, &repeated, &fixture_err));
    OK(store_commit(conn, &fixture_err));
    return id;
}

/* The next attempt of a queued run. */
static inline int64_t fixture_claim(int64_t run, int64_t resume_step)
{
    int64_t n;
    OK(store_begin(conn, &fixture_err));
    OK(store_attempt_claim(conn, run, resume_step ? "checkpoints/x" : "", resume_step, 0, 2000, &n, &fixture_err));
    OK(store_commit(conn, &fixture_err));
    return n;
}

/* Ends the attempt and puts the run back into the queue. */
static inline void fixture_finish(int64_t run, int64_t n)
{
    struct store_attempt_end end = {"lost", STORE_UNKNOWN, STORE_UNKNOWN, STORE_UNKNOWN};
    OK(store_begin(conn, &fixture_err));
    OK(store_attempt_finish(conn, run, n, &end, 3000, &fixture_err));
    OK(store_run_transition(conn, run, RUN_STARTING, RUN_QUEUED, "lost", 3000, &fixture_err));
    OK(store_commit(conn, &fixture_err));
}

/* --- a journal in memory ----------------------------------------------------------------------------------------- */

struct journal_text {
    char *text;
    size_t size, capacity;
};

static inline void journal_add_bytes(struct journal_text *j, const char *bytes, size_t size)
{
    if (j->size + size > j->capacity) {
        j->capacity = 2 * (j->size + size) + 4096;
        j->text = realloc(j->text, j->capacity);
        assert_non_null(j->text);
    }
    memcpy(j->text + j->size, bytes, size);
    j->size += size;
}

static inline void journal_add(struct journal_text *j, const struct journal_record *r)
{
    char line[JOURNAL_LINE_MAX];
    journal_add_bytes(j, line, journal_print(r, line));
}

enum { FIXTURE_STEP_TOKENS = 100, FIXTURE_STEPS_PER_EPOCH = 200 };

static inline void journal_add_start(struct journal_text *j, int attempt, int64_t resume_step, const char *numerics_id)
{
    struct journal_record r = {.kind = JOURNAL_START};
    r.start = (struct journal_start){.attempt = attempt,
                                     .resume_step = resume_step,
                                     .threads = 1,
                                     .micro_batch = 1,
                                     .params = 10,
                                     .tokens_per_epoch = FIXTURE_STEP_TOKENS * FIXTURE_STEPS_PER_EPOCH,
                                     .steps_per_epoch = FIXTURE_STEPS_PER_EPOCH,
                                     .total_steps = 100000,
                                     .memory_bytes = 1000,
                                     .pid = 1,
                                     .time_ms = 1};
    snprintf(r.start.numerics_id, sizeof r.start.numerics_id, "%s", numerics_id);
    snprintf(r.start.spec_hash, sizeof r.start.spec_hash, "s");
    snprintf(r.start.data_hash, sizeof r.start.data_hash, "d");
    snprintf(r.start.build, sizeof r.start.build, "b");
    snprintf(r.start.backend, sizeof r.start.backend, "cpu");
    snprintf(r.start.device, sizeof r.start.device, "cpu-test");
    journal_add(j, &r);
}

static inline struct journal_step fixture_step(int64_t step, double loss)
{
    return (struct journal_step){.step = step,
                                 .tokens = step * FIXTURE_STEP_TOKENS,
                                 .epoch = (double)step / FIXTURE_STEPS_PER_EPOCH,
                                 .loss = loss,
                                 .lr = 1e-3 / (double)(step + 1),
                                 .grad_norm = 1.5,
                                 .ms = 10,
                                 .tok_s = 10000};
}

static inline void journal_add_step(struct journal_text *j, int64_t step, double loss)
{
    struct journal_record r = {.kind = JOURNAL_STEP, .step = fixture_step(step, loss)};
    journal_add(j, &r);
}

static inline void journal_add_eval(struct journal_text *j, int64_t step, double loss)
{
    struct journal_record r = {.kind = JOURNAL_EVAL};
    r.eval = (struct journal_eval){.step = step,
                                   .tokens = step * FIXTURE_STEP_TOKENS,
                                   .predictions = 5,
                                   .epoch = (double)step / FIXTURE_STEPS_PER_EPOCH,
                                   .loss = loss,
                                   .perplexity = exp(loss),
                                   .bits_per_byte = NAN,
                                   .word_perplexity = step % 2 ? NAN : 2 * exp(loss),
                                   .ms = 1,
                                   .split = "val"};
    journal_add(j, &r);
}

static inline void journal_free(struct journal_text *j)
{
    free(j->text);
    *j = (struct journal_text){0};
}

/* What a supervisor does: read from where the store stands, in pieces of at most `piece` bytes. Returns all that was
 * told: steps, records, nondeterminism summed, damaged or-ed. */
static inline struct ingest_news fixture_ingest(struct ingest *g, const struct journal_text *j, size_t piece)
{
    struct ingest_news news, all = {0};
    OK(store_begin(conn, &fixture_err));
    OK(ingest_feed(conn, g, 0, NULL, 0, 5000, &news, &fixture_err));
    OK(store_commit(conn, &fixture_err));
    int64_t at = news.offset;
    for (;;) {
        size_t size = j->size - (size_t)at < piece ? j->size - (size_t)at : piece;
        if (size == 0)
            break;
        OK(store_begin(conn, &fixture_err));
        OK(ingest_feed(conn, g, at, j->text + at, size, 5000, &news, &fixture_err));
        OK(store_commit(conn, &fixture_err));
        all.steps += news.steps;
        all.records += news.records;
        all.nondeterminism += news.nondeterminism;
        all.damaged |= news.damaged;
        all.started |= news.started;
        all.ended |= news.ended;
        all.offset = news.offset;
        if (news.offset == at && size < piece)
            break;
        if (news.offset == at)
            fail_msg("a full piece brought nothing");
        at = news.offset;
    }
    return all;
}

static inline int fixture_event_count(int64_t run, const char *kind)
{
    struct store_event *e;
    size_t n;
    int count = 0;
    OK(store_events(conn, run, 100000, &e, &n, &fixture_err));
    for (size_t i = 0; i < n; i++)
        count += strcmp(e[i].kind, kind) == 0;
    store_events_free(e, n);
    return count;
}

#endif
