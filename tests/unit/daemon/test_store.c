/* Opening, migrations, query plans, runs, lists, states, attempts, checkpoints, imports: plain functions, no threads.
 */
#include "store_fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_opens_and_reopens(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(stat(fixture_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(fixture_int("PRAGMA user_version"), STORE_MIGRATIONS);
    assert_int_equal(fixture_int("PRAGMA foreign_keys"), 1);
    assert_int_equal(fixture_int("PRAGMA synchronous"), 2);
    int64_t id = fixture_submit("one", "t", 0);
    store_conn_close(conn);
    OK(store_conn_open(fixture_path, STORE_WRITER, &conn, &fixture_err));
    struct store_run r;
    OK(store_run_get(conn, id, &r, &fixture_err));
    assert_string_equal(r.name, "one");
    assert_string_equal(r.tags, "t");
    assert_int_equal(r.step, STORE_UNKNOWN);
    assert_false(r.train_loss.known);
    store_run_finish(&r);
}

/* A database of the first release, with a run in it. */
static void test_upgrades_an_old_database(void **state)
{
    (void)state;
    int32_t application = (int32_t)fixture_int("PRAGMA application_id");
    sqlite3 *old;
    char sql[128];
    store_conn_close(conn);
    conn = NULL;
    assert_int_equal(unlink(fixture_path), 0);
    assert_int_equal(sqlite3_open(fixture_path, &old), SQLITE_OK);
    assert_int_equal(sqlite3_exec(old, store_migrations[0].text, NULL, NULL, NULL), SQLITE_OK);
    snprintf(sql, sizeof sql, "PRAGMA user_version = 1; PRAGMA application_id = %d", application);
    assert_int_equal(sqlite3_exec(old, sql, NULL, NULL, NULL), SQLITE_OK);
    const char *insert = "INSERT INTO runs (name, kind, state, spec, spec_hash, data, priority, cpus, gpus, gpu_memory,"
                         "created_ms) VALUES ('old', 'train', 'queued', '{}', 'h', 'kjv', 0, 1, 0, 0, 5)";
    assert_int_equal(sqlite3_exec(old, insert, NULL, NULL, NULL), SQLITE_OK);
    const char *notes = "INSERT INTO events (run, time_ms, attempt, kind, from_state, to_state, text) VALUES "
                        "(1, 6, 1, 'note', '', '', 'step 31: the loss is not finite, the update was skipped'),"
                        "(1, 7, 1, 'note', '', '', 'step 32: the gradient norm is not finite, the update was skipped'),"
                        "(1, 8, 2, 'note', '', '', 'step 32: the gradient norm is not finite, the update was skipped'),"
                        "(1, 9, 2, 'note', '', '', 'resumed under another numerics id')";
    assert_int_equal(sqlite3_exec(old, notes, NULL, NULL, NULL), SQLITE_OK);
    const char *more = "INSERT INTO tags VALUES (1, 'kept');"
                       "INSERT INTO checkpoints VALUES (1, 20, 1, 'checkpoints/20-a1', 5, 'good')";
    assert_int_equal(sqlite3_exec(old, more, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(old);
    OK(store_conn_open(fixture_path, STORE_WRITER, &conn, &fixture_err));
    assert_int_equal(fixture_int("PRAGMA user_version"), STORE_MIGRATIONS);
    struct store_run r;
    OK(store_run_get(conn, 1, &r, &fixture_err));
    assert_string_equal(r.name, "old");
    assert_int_equal(r.micro_batch, 0);
    assert_int_equal(r.micro_batch_limit, 0);
    assert_int_equal(r.skipped_steps, 2);
    assert_int_equal(fixture_int("SELECT max(step) FROM steps_skipped"), 32);
    assert_int_equal(r.kind, KIND_TRAIN);
    /* the table of runs was made anew: what refers to it is still there, and still refers to it */
    assert_string_equal(r.tags, "kept");
    assert_int_equal(fixture_int("SELECT count(*) FROM events WHERE run = 1"), 4);
    assert_int_equal(fixture_int("SELECT count(*) FROM checkpoints WHERE run = 1"), 1);
    assert_int_equal(fixture_int("PRAGMA foreign_keys"), 1);
    assert_int_equal(fixture_int("SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert_int_equal(fixture_int("SELECT count(*) FROM pragma_foreign_key_list('events') WHERE \"table\" = 'runs'"), 1);
    store_run_finish(&r);
}

static void reopen_refused(int code, const char *word)
{
    struct store_conn *c = NULL;
    assert_int_equal(store_conn_open(fixture_path, STORE_WRITER, &c, &fixture_err), -code);
    assert_null(c);
    if (!strstr(fixture_err.message, word))
        fail_msg("\"%s\" does not say \"%s\"", fixture_err.message, word);
}

static void test_refuses_what_is_not_its_own(void **state)
{
    (void)state;
    fixture_execute("PRAGMA user_version = 99");
    reopen_refused(ERR_CONFLICT, "newer baka");
    fixture_execute("PRAGMA user_version = 1; PRAGMA application_id = 7");
    reopen_refused(ERR_CONFLICT, "another program");
    store_conn_close(conn);
    conn = NULL;
    FILE *f = fopen(fixture_path, "w");
    for (int i = 0; i < 1000; i++)
        fputs("this is not a database, not at all; ", f);
    fclose(f);
    reopen_refused(ERR_DAMAGED, "not a whole SQLite database");
    /* an empty file is a new database */
    assert_int_equal(truncate(fixture_path, 0), 0);
    OK(store_conn_open(fixture_path, STORE_WRITER, &conn, &fixture_err));
}

static void test_refuses_a_damaged_file(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++)
        fixture_submit("somewhat-long-name-to-fill-pages", NULL, 0);
    int64_t root = fixture_int("SELECT rootpage FROM sqlite_schema WHERE name = 'runs'");
    int64_t page = fixture_int("PRAGMA page_size");
    store_conn_close(conn);
    conn = NULL;
    FILE *f = fopen(fixture_path, "r+");
    fseek(f, (long)((root - 1) * page), SEEK_SET);
    for (int i = 0; i < 512; i++)
        fputc(0xa5, f);
    fclose(f);
    reopen_refused(ERR_DAMAGED, "damaged");
}

static void test_query_plans(void **state)
{
    (void)state;
    /* scans that are meant: the whole of a covering index of run states; the active attempts' own partial index */
    static const struct {
        enum store_query query;
        const char *detail;
    } listed[] = {
        {QUERY_RUN_COUNT_STATES, "SCAN runs USING COVERING INDEX runs_by_state"},
        {QUERY_ATTEMPT_ACTIVE, "SCAN attempts USING INDEX attempts_active"},
        {QUERY_QUEUE, "SCAN runs USING INDEX runs_queue"},
    };
    for (int i = 0; i < QUERY_COUNT; i++) {
        char sql[8192];
        sqlite3_stmt *st;
        snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", store_queries[i].text);
        if (sqlite3_prepare_v2(conn->db, sql, -1, &st, NULL) != SQLITE_OK)
            fail_msg("%s: %s", store_queries[i].name, sqlite3_errmsg(conn->db));
        while (sqlite3_step(st) == SQLITE_ROW) {
            const char *detail = (const char *)sqlite3_column_text(st, 3);
            bool allowed = strncmp(detail, "SCAN", 4) != 0 || strstr(detail, "CONSTANT ROW");
            for (size_t k = 0; k < sizeof listed / sizeof *listed; k++)
                allowed = allowed || ((int)listed[k].query == i && strcmp(detail, listed[k].detail) == 0);
            if (!allowed || strstr(detail, "TEMP B-TREE"))
                fail_msg("%s: %s", store_queries[i].name, detail);
        }
        sqlite3_finalize(st);
    }
}

static void test_submit_is_repeatable(void **state)
{
    (void)state;
    struct store_new_run r[3] = {{.name = "a",
                                  .spec = "{\"x\":1}",
                                  .spec_hash = "h",
                                  .data = "d",
                                  .cpus = 1,
                                  .total_steps = 7,
                                  .params = 9,
                                  .flops_per_token = {true, 1.5}}};
    r[1] = r[2] = r[0];
    r[1].name = "b";
    const char *const tags[] = {"z", "y", "z"};
    int64_t ids[3], again[3], *known;
    size_t n;
    bool repeated;
    OK(store_begin(conn, &fixture_err));
    OK(store_submit(conn, "req", r, 3, tags, 3, 10, ids, &repeated, &fixture_err));
    assert_false(repeated);
    OK(store_submit(conn, "req", r, 3, tags, 3, 11, again, &repeated, &fixture_err));
    assert_true(repeated);
    assert_memory_equal(ids, again, sizeof ids);
    assert_int_equal(store_submit(conn, "req", r, 2, tags, 3, 11, again, &repeated, &fixture_err), -ERR_CONFLICT);
    OK(store_commit(conn, &fixture_err));
    OK(store_request_runs(conn, "req", &known, &n, &fixture_err));
    assert_int_equal(n, 3);
    assert_memory_equal(known, ids, sizeof ids);
    free(known);
    assert_int_equal(store_request_runs(conn, "other", &known, &n, &fixture_err), -ERR_NOT_FOUND);
    struct store_run run;
    char *spec;
    OK(store_run_get(conn, ids[1], &run, &fixture_err));
    assert_string_equal(run.tags, "y,z");
    assert_int_equal(run.total_steps, 7);
    assert_true(run.flops_per_token.known && run.flops_per_token.value == 1.5);
    store_run_finish(&run);
    OK(store_run_spec(conn, ids[1], &spec, &fixture_err));
    assert_string_equal(spec, "{\"x\":1}");
    free(spec);
    assert_int_equal(fixture_int("SELECT count(*) FROM runs"), 3);
}

static void test_references(void **state)
{
    (void)state;
    int64_t first = fixture_submit("same", "t1", 0), second = fixture_submit("same", "t1", 0), id, *ids;
    int64_t named = fixture_submit("b00001", NULL, 0); /* an id comes before a name */
    size_t n;
    char text[STORE_ID_SIZE];
    store_id_text(first, text);
    assert_string_equal(text, "b00001");
    OK(store_resolve(conn, "b00001", &id, &fixture_err));
    assert_int_equal(id, first);
    assert_int_not_equal(id, named);
    OK(store_resolve(conn, "same", &id, &fixture_err));
    assert_int_equal(id, second);
    assert_int_equal(store_resolve(conn, "t1", &id, &fixture_err), -ERR_NOT_FOUND);
    OK(store_resolve_list(conn, "t1", &ids, &n, &fixture_err));
    assert_int_equal(n, 2);
    assert_int_equal(ids[0], first);
    assert_int_equal(ids[1], second);
    free(ids);
    assert_int_equal(store_resolve_list(conn, "nobody", &ids, &n, &fixture_err), -ERR_NOT_FOUND);
    static const char *const no_ids[] = {
        "b0001", "b000001", "b", "", "B00001", "b00001x", "b00000", "b-0001", "b99999999999999999999"};
    for (size_t i = 0; i < sizeof no_ids / sizeof *no_ids; i++)
        assert_false(store_id_parse(no_ids[i], &id));
    assert_true(store_id_parse("b1234567", &id));
    assert_int_equal(id, 1234567);
}

static int count_pages(struct store_filter f, int64_t *ids)
{
    int count = 0;
    do {
        struct store_run *rows;
        size_t n;
        OK(store_run_list(conn, &f, &rows, &n, &f.after, &fixture_err));
        assert_true(n <= (size_t)f.limit);
        for (size_t i = 0; i < n; i++)
            ids[count++] = rows[i].id;
        store_runs_free(rows, n);
    } while (f.after);
    return count;
}

static void test_lists(void **state)
{
    (void)state;
    int64_t ids[64];
    for (int i = 0; i < 20; i++)
        fixture_submit(i % 2 ? "odd" : "even", i % 5 == 0 ? "fifth" : i % 2 ? "t-odd" : NULL, 0);
    OK(store_begin(conn, &fixture_err));
    enum run_state now;
    for (int64_t id = 1; id <= 20; id += 5)
        OK(store_run_cancel(conn, id, 5, &now, &fixture_err));
    OK(store_commit(conn, &fixture_err));
    for (int limit = 1; limit <= 21; limit++) {
        assert_int_equal(count_pages((struct store_filter){.limit = limit}, ids), 20);
        for (int i = 0; i < 20; i++)
            assert_int_equal(ids[i], i + 1);
        assert_int_equal(count_pages((struct store_filter){.limit = limit, .by_state = true, .state = RUN_QUEUED}, ids),
                         16);
        assert_int_equal(count_pages((struct store_filter){.limit = limit, .tag = "fifth"}, ids), 4);
        assert_int_equal(ids[3], 16);
        assert_int_equal(
            count_pages((struct store_filter){.limit = limit, .ref = "fifth", .by_state = true, .state = RUN_CANCELLED},
                        ids),
            4);
        assert_int_equal(count_pages((struct store_filter){.limit = limit, .ref = "fifth", .tag = "t-odd"}, ids), 0);
    }
    assert_int_equal(count_pages((struct store_filter){.limit = 3, .ref = "odd"}, ids), 1);
    assert_int_equal(ids[0], 20);
    assert_int_equal(
        count_pages((struct store_filter){.limit = 3, .ref = "b00006", .by_state = true, .state = RUN_QUEUED}, ids), 0);
    assert_int_equal(count_pages((struct store_filter){.limit = 3, .ref = "b00006", .tag = "fifth"}, ids), 1);
    assert_int_equal(count_pages((struct store_filter){.limit = 3, .ref = "nobody"}, ids), 0);
    int64_t counts[RUN_STATES];
    OK(store_count_states(conn, counts, &fixture_err));
    assert_int_equal(counts[RUN_QUEUED], 16);
    assert_int_equal(counts[RUN_CANCELLED], 4);
    struct store_run *rows;
    size_t n;
    int64_t next;
    struct store_filter bad = {.limit = 201};
    assert_int_equal(store_run_list(conn, &bad, &rows, &n, &next, &fixture_err), -ERR_INVALID);
}

static void test_states(void **state)
{
    (void)state;
    int64_t id = fixture_submit("r", NULL, 0);
    enum run_state now;
    OK(store_begin(conn, &fixture_err));
    assert_int_equal(store_run_transition(conn, id, RUN_RUNNING, RUN_FINISHED, "", 1, &fixture_err), -ERR_CONFLICT);
    assert_int_equal(store_run_transition(conn, id, RUN_QUEUED, RUN_FINISHED, "", 1, &fixture_err), -ERR_CONFLICT);
    assert_int_equal(store_run_transition(conn, 77, RUN_QUEUED, RUN_STARTING, "", 1, &fixture_err), -ERR_NOT_FOUND);
    assert_int_equal(store_run_retry(conn, id, 2, &fixture_err), -ERR_CONFLICT);
    OK(store_run_transition(conn, id, RUN_QUEUED, RUN_STARTING, "", 3, &fixture_err));
    OK(store_run_cancel(conn, id, 4, &now, &fixture_err));
    assert_int_equal(now, RUN_STARTING);
    OK(store_run_cancel(conn, id, 5, &now, &fixture_err));
    struct store_run r;
    OK(store_run_get(conn, id, &r, &fixture_err));
    assert_true(r.cancelling);
    store_run_finish(&r);
    OK(store_run_set_backoff(conn, id, &(struct store_backoff){123, 4, 5, 6, 7}, &fixture_err));
    OK(store_run_transition(conn, id, RUN_STARTING, RUN_CANCELLED, "asked", 6, &fixture_err));
    OK(store_run_get(conn, id, &r, &fixture_err));
    assert_false(r.cancelling);
    assert_int_equal(r.ended_ms, 6);
    assert_int_equal(r.crash_count, 6);
    assert_int_equal(r.micro_batch_limit, 7);
    assert_string_equal(r.reason, "asked");
    store_run_finish(&r);
    assert_int_equal(store_run_cancel(conn, id, 7, &now, &fixture_err), -ERR_CONFLICT);
    OK(store_run_retry(conn, id, 8, &fixture_err));
    OK(store_run_get(conn, id, &r, &fixture_err));
    assert_int_equal(r.state, RUN_QUEUED);
    assert_int_equal(r.ended_ms, STORE_UNKNOWN);
    assert_int_equal(r.not_before_ms + r.no_progress + r.crash_step + r.crash_count, 0);
    store_run_finish(&r);
    OK(store_commit(conn, &fixture_err));
    assert_int_equal(fixture_event_count(id, "state"), 3);
    assert_int_equal(fixture_event_count(id, "cancel_requested"), 1);
    struct store_event *e;
    size_t n;
    OK(store_events(conn, id, 2, &e, &n, &fixture_err));
    assert_int_equal(n, 2);
    assert_string_equal(e[0].to, "cancelled");
    assert_string_equal(e[1].from, "cancelled");
    assert_string_equal(e[1].to, "queued");
    store_events_free(e, n);
}

static void test_attempts_and_queue(void **state)
{
    (void)state;
    int64_t low = fixture_submit("low", NULL, 0), high = fixture_submit("high", NULL, 5),
            low2 = fixture_submit("l2", NULL, 0);
    struct store_queued *q;
    size_t n;
    OK(store_queue(conn, 10, &q, &n, &fixture_err));
    assert_int_equal(n, 3);
    assert_int_equal(q[0].id, high);
    assert_int_equal(q[1].id, low);
    assert_int_equal(q[2].id, low2);
    free(q);
    assert_int_equal(fixture_claim(low, 0), 1);
    int64_t again;
    OK(store_begin(conn, &fixture_err));
    assert_int_equal(store_attempt_claim(conn, low, "", 0, 0, 1, &again, &fixture_err), -ERR_CONFLICT);
    OK(store_attempt_spawned(conn, low, 1, 4242, 99, "boot", &fixture_err));
    OK(store_commit(conn, &fixture_err));
    struct store_run *runs;
    struct store_attempt *a, one;
    OK(store_active(conn, &runs, &a, &n, &fixture_err));
    assert_int_equal(n, 1);
    assert_int_equal(runs[0].id, low);
    assert_int_equal(runs[0].running_since_ms, 2000);
    assert_int_equal(a[0].pid, 4242);
    assert_string_equal(a[0].boot_id, "boot");
    store_runs_free(runs, n);
    store_attempts_free(a, n);
    struct store_attempt_end end = {"crashed: signal 11", -1, 11, 1 << 20};
    end.exit_status = STORE_UNKNOWN;
    OK(store_begin(conn, &fixture_err));
    OK(store_attempt_finish(conn, low, 1, &end, 2500, &fixture_err));
    assert_int_equal(store_attempt_finish(conn, low, 1, &end, 2600, &fixture_err), -ERR_CONFLICT);
    OK(store_run_transition(conn, low, RUN_STARTING, RUN_QUEUED, "again", 2500, &fixture_err));
    OK(store_commit(conn, &fixture_err));
    assert_int_equal(fixture_claim(low, 0), 2);
    OK(store_attempts(conn, low, &a, &n, &fixture_err));
    assert_int_equal(n, 2);
    assert_false(a[0].active);
    assert_true(a[1].active);
    assert_int_equal(a[0].exit_signal, 11);
    assert_int_equal(a[0].exit_status, STORE_UNKNOWN);
    store_attempts_free(a, n);
    OK(store_attempt_get(conn, low, 1, &one, &fixture_err));
    assert_string_equal(one.outcome, "crashed: signal 11");
    free(one.outcome);
    free(one.end_text);
    assert_int_equal(store_attempt_get(conn, low, 3, &one, &fixture_err), -ERR_NOT_FOUND);
    struct store_run r;
    OK(store_run_get(conn, low, &r, &fixture_err));
    assert_int_equal(r.attempts, 2);
    assert_int_equal(r.ran_ms, 500);
    assert_int_equal(r.peak_memory_bytes, 1 << 20);
    store_run_finish(&r);
}

static void test_import(void **state)
{
    (void)state;
    enum { N = 5000 };
    struct store_import_row *rows = calloc(N, sizeof *rows);
    for (int i = 0; i < N; i++) /* every tenth step was recorded */
        rows[i] = (struct store_import_row){.step = 10 * i,
                                            .tokens = 1000 * i,
                                            .epoch = i / 1000.0,
                                            .loss = 1.0 / (i + 1),
                                            .val_loss = i == 1000 ? 0.5 : 2.0,
                                            .has_val_loss = i % 1000 == 0};
    int64_t id, again;
    bool repeated;
    const char *const tags[] = {"foreign"};
    OK(store_begin(conn, &fixture_err));
    OK(store_import(conn, "q", "theirs", tags, 1, rows, N, 9, &id, &repeated, &fixture_err));
    OK(store_import(conn, "q", "theirs", tags, 1, rows, N, 9, &again, &repeated, &fixture_err));
    assert_true(repeated && again == id);
    rows[7].step = rows[6].step;
    assert_int_equal(store_import(conn, NULL, "x", NULL, 0, rows, N, 9, &again, &repeated, &fixture_err), -ERR_INVALID);
    assert_string_equal(fixture_err.path, "rows[7]");
    assert_int_equal(store_import(conn, NULL, "x", NULL, 0, rows, 0, 9, &again, &repeated, &fixture_err), -ERR_INVALID);
    OK(store_commit(conn, &fixture_err));
    struct store_curve v;
    OK(store_curve_load(conn, id, 0, INT64_MAX, 0, COLUMNS_ALL, &v, &fixture_err));
    assert_int_equal(v.n, N);
    for (int i = 0; i < N; i++) {
        assert_int_equal(v.step[i], 10 * i);
        assert_true(v.loss[i] == 1.0 / (i + 1) && v.tokens[i] == 1000 * i && isnan(v.lr[i]));
    }
    store_curve_finish(&v);
    OK(store_curve_load(conn, id, 40955, 41001, 3, COLUMN_LOSS, &v, &fixture_err));
    assert_int_equal(v.n, 3);
    assert_int_equal(v.step[0], 40960);
    assert_int_equal(v.step[2], 40980);
    store_curve_finish(&v);
    struct store_run r;
    OK(store_run_get(conn, id, &r, &fixture_err));
    assert_true(r.kind == KIND_IMPORT && r.state == RUN_FINISHED && r.best_val_loss.value == 0.5 && r.val_loss.value == 2.0);
    assert_int_equal(r.step, 10 * (N - 1));
    store_run_finish(&r);
    struct store_eval *e;
    size_t n;
    OK(store_evals(conn, id, &e, &n, &fixture_err));
    assert_int_equal(n, 5);
    assert_true(e[1].loss == 0.5 && e[1].step == 10000 && !e[1].bits_per_byte.known && !e[1].word_perplexity.known);
    free(e);
    free(rows);
}

static void test_real_columns_keep_every_bit(void **state)
{
    (void)state;
    const double values[] = {-0.0,      5e-324, 1.7976931348623157e308, 0.1, 1.0, 9007199254740993.0, INFINITY,
                             -INFINITY, NAN};
    int64_t id = fixture_submit("r", NULL, 0);
    struct store_block *b;
    OK(store_begin(conn, &fixture_err));
    for (int round = 0; round < 2; round++) { /* rows, then one chunk */
        size_t n = sizeof values / sizeof *values;
        if (round == 0) {
            b = calloc(1, sizeof *b);
            for (size_t i = 0; i < n; i++) {
                b->step[i] = b->tokens[i] = (int64_t)i + 1;
                b->loss[i] = b->epoch[i] = b->lr[i] = b->grad_norm[i] = b->ms[i] = b->tok_s[i] = values[i];
            }
            b->n = n;
            OK(store_steps_write_tail(conn, id, 1, b, &fixture_err));
            free(b);
        } else {
            OK(store_steps_seal(conn, id, 1, &fixture_err));
            assert_int_equal(fixture_int("SELECT count(*) FROM steps_tail"), 0);
            assert_int_equal(fixture_int("SELECT nonfinite FROM steps_chunk"), 3);
        }
        struct store_curve v;
        OK(store_curve_load(conn, id, 0, INT64_MAX, 0, COLUMNS_ALL, &v, &fixture_err));
        assert_int_equal(v.n, n);
        for (size_t i = 0; i < n; i++) {
            if (isnan(values[i]))
                assert_true(isnan(v.loss[i]) && isnan(v.tok_s[i]));
            else
                assert_true(memcmp(&v.loss[i], &values[i], 8) == 0 && memcmp(&v.tok_s[i], &values[i], 8) == 0);
        }
        store_curve_finish(&v);
    }
    OK(store_commit(conn, &fixture_err));
}

static void test_a_reader_cannot_write(void **state)
{
    (void)state;
    struct store_conn *reader;
    int64_t id = fixture_submit("r", NULL, 0);
    OK(store_conn_open(fixture_path, STORE_READER, &reader, &fixture_err));
    assert_true(store_event_add(reader, id, 0, "note", "x", 1, &fixture_err) < 0);
    struct store_run r;
    OK(store_run_get(reader, id, &r, &fixture_err));
    store_run_finish(&r);
    store_conn_close(reader);
}

/* As a disk that is full, or a quota: the write fails, the database is whole, and goes on when there is room. */
static void test_no_room_is_told_and_survived(void **state)
{
    (void)state;
    struct rlimit before, small;
    int64_t id = fixture_submit("r", NULL, 0), kept = 0;
    char big[4001];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 1 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = 0;
    for (int i = 0; i < 2000 && !rc; i++) {
        rc = store_begin(conn, &fixture_err);
        if (!rc)
            rc = store_event_add(conn, id, 0, "note", big, 1, &fixture_err);
        if (rc)
            store_rollback(conn);
        else
            rc = store_commit(conn, &fixture_err);
        kept += !rc;
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(rc, -ERR_NO_SPACE);
    assert_int_equal(fixture_event_count(id, "note"), kept);
    OK(store_begin(conn, &fixture_err));
    OK(store_event_add(conn, id, 0, "note", big, 1, &fixture_err));
    OK(store_commit(conn, &fixture_err));
    store_conn_close(conn);
    OK(store_conn_open(fixture_path, STORE_WRITER, &conn, &fixture_err));
    assert_int_equal(fixture_event_count(id, "note"), kept + 1);
    assert_int_equal(fixture_int("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"), 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_opens_and_reopens),
        TEST(test_upgrades_an_old_database),
        TEST(test_refuses_what_is_not_its_own),
        TEST(test_refuses_a_damaged_file),
        TEST(test_query_plans),
        TEST(test_submit_is_repeatable),
        TEST(test_references),
        TEST(test_lists),
        TEST(test_states),
        TEST(test_attempts_and_queue),
        TEST(test_import),
        TEST(test_real_columns_keep_every_bit),
        TEST(test_a_reader_cannot_write),
        TEST(test_no_room_is_told_and_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
