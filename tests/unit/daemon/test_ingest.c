/* Journals into the store: whole and torn, in pieces of any size, damaged, replayed, rolled back. */
#include "store_fixture.h"

static struct journal_text text;

static int set_up(void **state)
{
    return fixture_set_up(state);
}

static int tear_down(void **state)
{
    journal_free(&text);
    return fixture_tear_down(state);
}

static double loss_of(int64_t step)
{
    return 5.0 / (1.0 + 0.001 * (double)step) + 1e-9 * (double)(step * 7919 % 1000);
}

static void add_steps(struct journal_text *j, int64_t first, int64_t last)
{
    for (int64_t s = first; s <= last; s++)
        journal_add_step(j, s, loss_of(s));
}

/* The curve is exactly 1..last with loss_of. */
static void check_curve(int64_t run, int64_t last)
{
    struct store_curve v;
    OK(store_curve_load(conn, run, 0, INT64_MAX, 0, COLUMNS_ALL, &v, &fixture_err));
    assert_int_equal(v.n, last);
    for (int64_t i = 0; i < last; i++) {
        struct journal_step s = fixture_step(i + 1, loss_of(i + 1));
        if (v.step[i] != i + 1 || v.loss[i] != s.loss || v.tokens[i] != s.tokens || v.epoch[i] != s.epoch ||
            v.lr[i] != s.lr || v.grad_norm[i] != s.grad_norm || v.ms[i] != s.ms || v.tok_s[i] != s.tok_s)
            fail_msg("step %lld at %lld", (long long)v.step[i], (long long)i);
    }
    store_curve_finish(&v);
}

static void test_a_whole_run(void **state)
{
    (void)state;
    static const size_t pieces[] = {JOURNAL_LINE_MAX + 1, 60000, INGEST_BUFFER_BYTES, 64 << 20};
    journal_add_start(&text, 1, 0, "n");
    add_steps(&text, 1, 4500);
    journal_add_eval(&text, 4500, 3.0);
    add_steps(&text, 4501, 10000);
    journal_add_eval(&text, 10000, 3.5);
    struct journal_record k = {.kind = JOURNAL_CHECKPOINT,
                               .checkpoint = {.step = 10000, .bytes = 77, .path = "checkpoints/10000-a1"}};
    journal_add(&text, &k);
    struct journal_record end = {.kind = JOURNAL_END, .end = {.reason = END_FINISHED, .step = 10000}};
    journal_add(&text, &end);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        int64_t run = fixture_submit("r", NULL, 0), n = fixture_claim(run, 0);
        struct ingest *g = ingest_create(run, n);
        struct ingest_news news = fixture_ingest(g, &text, pieces[i]);
        assert_int_equal(news.steps, 10000);
        assert_int_equal(news.records, 10005);
        assert_true(news.started && news.ended && !news.damaged);
        assert_int_equal(news.offset, text.size);
        check_curve(run, 10000);
        struct store_run r;
        OK(store_run_get(conn, run, &r, &fixture_err));
        assert_int_equal(r.step, 10000);
        assert_int_equal(r.total_steps, 100000);
        assert_int_equal(r.tokens, 10000 * FIXTURE_STEP_TOKENS);
        assert_true(r.val_loss.value == 3.5 && r.best_val_loss.value == 3.0 && r.last_loss.value == loss_of(10000));
        double mean = 0; /* 1/20 of 200 steps */
        for (int64_t s = 9991; s <= 10000; s++)
            mean += loss_of(s) / 10;
        assert_true(fabs(r.train_loss.value - mean) < 1e-12);
        assert_true(fabs(r.tok_s.value - 10000) < 1e-6 && fabs(r.step_ms.value - 10) < 1e-9);
        store_run_finish(&r);
        struct store_checkpoint newest;
        OK(store_checkpoint_newest(conn, run, &newest, &fixture_err));
        assert_string_equal(newest.path, "checkpoints/10000-a1");
        OK(store_begin(conn, &fixture_err));
        OK(store_checkpoint_set_mark(conn, run, newest.path, CHECKPOINT_BAD, &fixture_err));
        OK(store_commit(conn, &fixture_err));
        assert_int_equal(store_checkpoint_newest(conn, run, &newest, &fixture_err), -ERR_NOT_FOUND);
        fixture_finish(run, n); /* the tail becomes a chunk */
        assert_int_equal(fixture_int("SELECT count(*) FROM steps_tail"), 0);
        check_curve(run, 10000);
        ingest_destroy(g);
    }
}

static void test_torn_line_waits(void **state)
{
    (void)state;
    int64_t run = fixture_submit("r", NULL, 0), n = fixture_claim(run, 0);
    struct ingest *g = ingest_create(run, n);
    journal_add_start(&text, 1, 0, "n");
    add_steps(&text, 1, 10);
    size_t whole = text.size;
    add_steps(&text, 11, 11);
    for (size_t size = 0; size <= text.size; size++) { /* as if the file grew byte by byte */
        struct ingest_news news;
        int64_t at = (int64_t)fixture_int("SELECT journal_offset FROM attempts");
        OK(store_begin(conn, &fixture_err));
        OK(ingest_feed(conn, g, at, text.text + at, size - (size_t)at, 1, &news, &fixture_err));
        OK(store_commit(conn, &fixture_err));
        assert_false(news.damaged);
        assert_true(news.offset <= (int64_t)size);
        if (size >= whole && size < text.size)
            assert_int_equal(news.offset, whole);
    }
    check_curve(run, 11);
    ingest_destroy(g);
}

static void test_not_a_number(void **state)
{
    (void)state;
    int64_t run = fixture_submit("r", NULL, 0), n = fixture_claim(run, 0);
    struct ingest *g = ingest_create(run, n);
    journal_add_start(&text, 1, 0, "n");
    journal_add_step(&text, 1, 2.0);
    journal_add_step(&text, 2, NAN);
    journal_add_step(&text, 3, INFINITY);
    journal_add_step(&text, 4, -INFINITY);
    journal_add_eval(&text, 4, NAN);
    assert_false(fixture_ingest(g, &text, 1 << 20).damaged);
    for (int round = 0; round < 2; round++) {
        struct store_curve v;
        OK(store_curve_load(conn, run, 0, INT64_MAX, 0, COLUMN_LOSS, &v, &fixture_err));
        assert_int_equal(v.n, 4);
        assert_true(v.loss[0] == 2.0 && isnan(v.loss[1]) && v.loss[2] == INFINITY && v.loss[3] == -INFINITY);
        store_curve_finish(&v);
        if (round == 0)
            fixture_finish(run, n);
    }
    struct store_run r;
    OK(store_run_get(conn, run, &r, &fixture_err));
    assert_true(r.last_loss.known && r.last_loss.value == -INFINITY);
    assert_true(r.train_loss.known && isnan(r.train_loss.value));
    assert_true(r.val_loss.known && isnan(r.val_loss.value));
    store_run_finish(&r);
    ingest_destroy(g);
}

static void test_damage_is_shown(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "not json\n",
        "{\"kind\":\"step\"}\n",
        "\n",
        "{\"kind\":\"Dance\",\"step\":1}\n",
        "{\"kind\":\"step\",\"step\":6,\n",
        "\0\0\0\n",
        "{\"kind\":\"checkpoint\",\"step\":5,\"path\":\"../../etc\",\"bytes\":1,\"ms\":1}\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t run = fixture_submit("r", NULL, 0), n = fixture_claim(run, 0);
        struct ingest *g = ingest_create(run, n);
        journal_add_start(&text, 1, 0, "n");
        add_steps(&text, 1, 5);
        journal_add_bytes(&text, bad[i], i == 5 ? 4 : strlen(bad[i]));
        add_steps(&text, 6, 5000);
        assert_true(fixture_ingest(g, &text, 100000).damaged);
        check_curve(run, 5000); /* what is whole is taken */
        struct store_attempt a;
        OK(store_attempt_get(conn, run, n, &a, &fixture_err));
        assert_true(a.journal_damaged);
        free(a.outcome);
        free(a.end_text);
        assert_int_equal(fixture_event_count(run, "journal_damaged"), 1);
        ingest_destroy(g);
        journal_free(&text);
    }
}

static void test_a_newer_worker_is_no_damage(void **state)
{
    (void)state;
    static const char line[] = "{\"kind\":\"dance\",\"step\":1}\n";
    int64_t run = fixture_submit("r", NULL, 0), n = fixture_claim(run, 0);
    struct ingest *g = ingest_create(run, n);
    journal_add_start(&text, 1, 0, "n");
    add_steps(&text, 1, 5);
    for (int i = 0; i < 3; i++)
        journal_add_bytes(&text, line, strlen(line));
    add_steps(&text, 6, 10);
    struct ingest_news news = fixture_ingest(g, &text, 100000);
    assert_true(!news.damaged && news.offset == (int64_t)text.size);
    check_curve(run, 10);
    assert_int_equal(fixture_event_count(run, "journal_damaged"), 0);
    assert_int_equal(fixture_event_count(run, "journal_unknown"), 1);
    ingest_destroy(g);
}

static void test_gaps_and_repeats(void **state)
{
    (void)state;
    int64_t run = fixture_submit("r", NULL, 0), n = fixture_claim(run, 0);
    struct ingest *g = ingest_create(run, n);
    journal_add_start(&text, 1, 0, "n");
    add_steps(&text, 1, 10);
    add_steps(&text, 15, 20); /* a gap */
    add_steps(&text, 18, 22); /* a repeat: 18 to 20 are refused */
    journal_add_start(&text, 1, 0, "n");
    assert_true(fixture_ingest(g, &text, 5000).damaged);
    struct store_curve v;
    OK(store_curve_load(conn, run, 0, INT64_MAX, 0, COLUMN_LOSS, &v, &fixture_err));
    assert_int_equal(v.n, 18);
    assert_int_equal(v.step[9], 10);
    assert_int_equal(v.step[10], 15);
    assert_int_equal(v.step[17], 22);
    store_curve_finish(&v);
    assert_int_equal(fixture_event_count(run, "journal_damaged"), 1);
    ingest_destroy(g);
}

static struct store_run row_of(int64_t run)
{
    struct store_run r;
    OK(store_run_get(conn, run, &r, &fixture_err));
    store_run_finish(&r);
    return r;
}

static void add_end(struct journal_text *j, int64_t step)
{
    struct journal_record end = {.kind = JOURNAL_END, .end = {.reason = END_FINISHED, .step = step}};
    journal_add(j, &end);
}

/* One attempt of `run` with this journal, in pieces, to its end. */
static void attempt_of(int64_t run, int64_t resume_step, const struct journal_text *j)
{
    int64_t n = fixture_claim(run, resume_step);
    struct ingest *g = ingest_create(run, n);
    fixture_ingest(g, j, JOURNAL_LINE_MAX);
    ingest_destroy(g);
    fixture_finish(run, n);
}

/* Every step that is in no journal is counted, wherever it was, until an attempt brings it again. */
static void test_missing_steps(void **state)
{
    (void)state;
    int64_t run = fixture_submit("r", NULL, 0);
    journal_add_start(&text, 1, 0, "n");
    add_steps(&text, 3, 100); /* the first two */
    add_steps(&text, 104, 300);
    attempt_of(run, 0, &text);
    assert_int_equal(row_of(run).missing_steps, 5);
    assert_int_equal(row_of(run).step, 300);
    journal_free(&text);
    journal_add_start(&text, 2, 102, "n"); /* brings one of them back, and loses the last */
    add_steps(&text, 103, 399);
    journal_add_eval(&text, 400, 3.0);
    add_end(&text, 400);
    attempt_of(run, 102, &text);
    assert_int_equal(row_of(run).missing_steps, 5);
    assert_int_equal(row_of(run).step, 399);
    journal_free(&text);
    journal_add_start(&text, 3, 400, "n"); /* the last is known by the checkpoint alone */
    attempt_of(run, 400, &text);
    assert_int_equal(row_of(run).missing_steps, 5);
    int events = fixture_event_count(run, "missing_steps");
    assert_true(events > 0);
    journal_free(&text);
    journal_add_start(&text, 4, 0, "n");
    add_steps(&text, 1, 400);
    attempt_of(run, 0, &text);
    assert_int_equal(row_of(run).missing_steps, 0);
    assert_int_equal(fixture_event_count(run, "missing_steps"), events + 1);
    check_curve(run, 400);
}

/* Only the end tells of it: a run that finishes with a step too few. */
static void test_the_last_step_is_missing(void **state)
{
    (void)state;
    int64_t run = fixture_submit("r", NULL, 0);
    journal_add_start(&text, 1, 0, "n");
    add_steps(&text, 1, 9);
    add_end(&text, 10);
    attempt_of(run, 0, &text);
    assert_int_equal(row_of(run).missing_steps, 1);
    assert_int_equal(fixture_event_count(run, "journal_damaged"), 1);
}

/* The row tells of the curve's last step, whatever an attempt computes again. */
static void test_a_replay_does_not_rewind_the_row(void **state)
{
    (void)state;
    int64_t run = fixture_submit("r", NULL, 0);
    journal_add_start(&text, 1, 0, "n");
    add_steps(&text, 1, 50);
    journal_add_eval(&text, 50, 4.0);
    add_steps(&text, 51, 100);
    journal_add_eval(&text, 100, 3.0);
    attempt_of(run, 0, &text);
    struct store_run before = row_of(run);
    int64_t n = fixture_claim(run, 20);
    struct ingest *g = ingest_create(run, n);
    journal_free(&text);
    journal_add_start(&text, 2, 20, "n");
    for (int64_t step = 21; step <= 130; step++) {
        add_steps(&text, step, step);
        if (step == 50)
            journal_add_eval(&text, 50, 4.0);
        fixture_ingest(g, &text, JOURNAL_LINE_MAX);
        struct store_run r = row_of(run);
        int64_t last = step > 100 ? step : 100;
        struct store_curve v;
        OK(store_curve_load(conn, run, 0, INT64_MAX, 0, COLUMN_LOSS, &v, &fixture_err));
        assert_int_equal(v.step[v.n - 1], last);
        store_curve_finish(&v);
        assert_int_equal(r.step, last);
        assert_int_equal(r.tokens, last * FIXTURE_STEP_TOKENS);
        assert_true(r.last_loss.value == loss_of(last));
        assert_int_equal(r.at_step, step);
        assert_true(r.val_loss.value == 3.0);
        assert_true(step > 100 || r.train_loss.value == before.train_loss.value);
    }
    ingest_destroy(g);
}

/* Each step of the curve once, however often it is computed; and none where the run ends by it. */
static void test_skipped_steps(void **state)
{
    (void)state;
    static const char *const specs[] = {"skip", "stop"};
    for (int i = 0; i < 2; i++) {
        int64_t run = fixture_submit("r", NULL, 0);
        char sql[128];
        snprintf(sql, sizeof sql, "UPDATE runs SET spec = '{\"train\":{\"on_nonfinite\":\"%s\"}}' WHERE id = %lld",
                 specs[i], (long long)run);
        fixture_execute(sql);
        for (int attempt = 1; attempt <= 2; attempt++) {
            journal_free(&text);
            journal_add_start(&text, attempt, 0, attempt == 1 ? "n" : "m");
            add_steps(&text, 1, 5000);
            journal_add_step(&text, 5001, NAN);
            journal_add_step(&text, 5002, attempt == 1 ? INFINITY : 2.0);
            struct journal_record r = {.kind = JOURNAL_STEP, .step = fixture_step(5003, 2.0)};
            r.step.grad_norm = INFINITY;
            journal_add(&text, &r);
            add_steps(&text, 5004, 5010);
            attempt_of(run, 0, &text);
            assert_int_equal(row_of(run).skipped_steps, i == 1 ? 0 : attempt == 1 ? 3 : 2);
        }
    }
}

static void test_overlong_line(void **state)
{
    (void)state;
    int64_t run = fixture_submit("r", NULL, 0), n = fixture_claim(run, 0);
    struct ingest *g = ingest_create(run, n);
    journal_add_start(&text, 1, 0, "n");
    char *junk = malloc(3 * JOURNAL_LINE_MAX);
    memset(junk, 'x', 3 * JOURNAL_LINE_MAX);
    journal_add_bytes(&text, junk, 3 * JOURNAL_LINE_MAX);
    journal_add_bytes(&text, "\n", 1);
    add_steps(&text, 1, 3);
    assert_true(fixture_ingest(g, &text, 5000).damaged);
    check_curve(run, 3);
    free(junk);
    ingest_destroy(g);
}

/* Replays steps 51.. after 100 steps; `twist` changes one loss. */
static struct ingest_news replay(const char *first_id, const char *second_id, double twist, int64_t *run)
{
    *run = fixture_submit("r", NULL, 0);
    int64_t n = fixture_claim(*run, 0);
    struct ingest *g = ingest_create(*run, n);
    journal_free(&text);
    journal_add_start(&text, 1, 0, first_id);
    add_steps(&text, 1, 100);
    fixture_ingest(g, &text, 3000);
    ingest_destroy(g);
    fixture_finish(*run, n);
    n = fixture_claim(*run, 50);
    g = ingest_create(*run, n);
    journal_free(&text);
    journal_add_start(&text, 2, 50, second_id);
    for (int64_t s = 51; s <= 130; s++)
        journal_add_step(&text, s, s == 77 || s == 80 ? loss_of(s) * (1 + twist) : loss_of(s));
    struct ingest_news news = fixture_ingest(g, &text, 9000);
    ingest_destroy(g);
    return news;
}

static void check_certificate(int64_t run, const struct store_certificate *want)
{
    struct store_certificate found;
    OK(store_certificate_get(conn, run, &found, &fixture_err));
    assert_int_equal(found.resumes, want->resumes);
    assert_int_equal(found.replayed, want->replayed);
    assert_int_equal(found.unequal, want->unequal);
    assert_int_equal(found.other, want->other);
    assert_int_equal(found.drifted, want->drifted);
}

static void test_nondeterminism(void **state)
{
    (void)state;
    int64_t run;
    struct store_run r;
    assert_int_equal(replay("n", "n", 0, &run).nondeterminism, 0);
    assert_int_equal(fixture_event_count(run, "nondeterminism"), 0);
    check_curve(run, 130);
    check_certificate(run, &(struct store_certificate){.resumes = 1, .replayed = 50});

    assert_int_equal(replay("n", "n", 3e-16, &run).nondeterminism, 2); /* the last bit */
    assert_int_equal(fixture_event_count(run, "nondeterminism"), 1);
    OK(store_run_get(conn, run, &r, &fixture_err));
    assert_int_equal(r.nondeterminism, 2);
    store_run_finish(&r);
    check_certificate(run, &(struct store_certificate){.resumes = 1, .replayed = 50, .unequal = 2});
    struct store_event *e;
    size_t n;
    char expected[128];
    OK(store_events(conn, run, 1000, &e, &n, &fixture_err));
    snprintf(expected, sizeof expected, "step 77: loss %.17g in attempt 2, %.17g in attempt 1",
             loss_of(77) * (1 + 3e-16), loss_of(77));
    bool told = false;
    for (size_t i = 0; i < n; i++)
        told = told || strcmp(e[i].text, expected) == 0;
    assert_true(told);
    store_events_free(e, n);

    assert_int_equal(replay("n", "m", 3e-16, &run).nondeterminism, 0);
    assert_int_equal(fixture_event_count(run, "numerics_changed"), 1);
    assert_int_equal(fixture_event_count(run, "replay_drift"), 0);
    replay("n", "m", 2e-3, &run);
    assert_int_equal(fixture_event_count(run, "replay_drift"), 1);
    check_certificate(run, &(struct store_certificate){.resumes = 1, .other = 50, .drifted = 2});
}

/* A loss depends on the weights before its step; the gradient's norm tells one step earlier that something is off. */
static void test_gradient_norm_replayed(void **state)
{
    (void)state;
    int64_t run = fixture_submit("r", NULL, 0);
    for (int attempt = 1; attempt <= 2; attempt++) {
        int64_t n = fixture_claim(run, 0);
        struct ingest *g = ingest_create(run, n);
        journal_free(&text);
        journal_add_start(&text, attempt, 0, "n");
        add_steps(&text, 1, 5);
        struct journal_record r = {.kind = JOURNAL_STEP, .step = fixture_step(6, loss_of(6))};
        r.step.grad_norm += attempt == 2 ? 3e-16 : 0;
        journal_add(&text, &r);
        fixture_ingest(g, &text, 9000);
        ingest_destroy(g);
        fixture_finish(run, n);
    }
    assert_int_equal(fixture_event_count(run, "nondeterminism"), 1);
    check_certificate(run, &(struct store_certificate){.resumes = 1, .replayed = 6, .unequal = 1});
}

/* The state must follow the database whatever is rolled back, and a new object must go on where an old one stopped. */
static void test_offset_and_steps_agree(void **state)
{
    (void)state;
    int64_t run = fixture_submit("r", NULL, 0), n = fixture_claim(run, 0);
    struct ingest *g = ingest_create(run, n);
    journal_add_start(&text, 1, 0, "n");
    add_steps(&text, 1, 12000);
    unsigned random = 12345;
    int64_t at = 0;
    while (at < (int64_t)text.size) {
        random = random * 1103515245 + 12345;
        size_t size = 1 + random / 7 % 300000;
        size = size < text.size - (size_t)at ? size : text.size - (size_t)at;
        struct ingest_news news;
        OK(store_begin(conn, &fixture_err));
        OK(ingest_feed(conn, g, at, text.text + at, size, 1, &news, &fixture_err));
        switch (random >> 16 & 3) {
        case 0:
            store_rollback(conn);
            break;
        case 1: /* as a daemon that was killed */
            store_rollback(conn);
            ingest_destroy(g);
            store_conn_close(conn);
            OK(store_conn_open(fixture_path, STORE_WRITER, &conn, &fixture_err));
            g = ingest_create(run, n);
            break;
        default:
            OK(store_commit(conn, &fixture_err));
        }
        OK(store_begin(conn, &fixture_err));
        OK(ingest_feed(conn, g, -1, "", 0, 1, &news, &fixture_err));
        at = news.offset;
        OK(store_commit(conn, &fixture_err));
        struct store_attempt a;
        struct store_curve v;
        OK(store_attempt_get(conn, run, n, &a, &fixture_err));
        free(a.outcome);
        free(a.end_text);
        OK(store_curve_load(conn, run, 0, INT64_MAX, 0, COLUMN_LOSS, &v, &fixture_err));
        size_t lines = 0;
        for (int64_t i = 0; i < a.journal_offset; i++)
            lines += text.text[i] == '\n';
        assert_int_equal(a.journal_offset, at);
        assert_int_equal(v.n, lines ? lines - 1 : 0);
        assert_int_equal(a.last_step, v.n);
        assert_false(a.journal_damaged);
        store_curve_finish(&v);
        if (random % 11 == 0) { /* bytes from elsewhere are not taken */
            OK(store_begin(conn, &fixture_err));
            OK(ingest_feed(conn, g, at + 1, "garbage\n", 8, 1, &news, &fixture_err));
            assert_int_equal(news.offset, at);
            OK(store_commit(conn, &fixture_err));
        }
    }
    check_curve(run, 12000);
    ingest_destroy(g);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_a_whole_run),
        TEST(test_torn_line_waits),
        TEST(test_not_a_number),
        TEST(test_damage_is_shown),
        TEST(test_a_newer_worker_is_no_damage),
        TEST(test_gaps_and_repeats),
        TEST(test_missing_steps),
        TEST(test_the_last_step_is_missing),
        TEST(test_a_replay_does_not_rewind_the_row),
        TEST(test_skipped_steps),
        TEST(test_overlong_line),
        TEST(test_nondeterminism),
        TEST(test_gradient_norm_replayed),
        TEST(test_offset_and_steps_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
