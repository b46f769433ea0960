/* Jobs in the store: beside the run whose model it is, its name and its checkpoints; and their journals. */
#include "store_fixture.h"

#include "daemon/store_job.h"

static int64_t submit_job(enum store_kind kind, int64_t source)
{
    struct store_new_run r = {.name = "model",
                              .spec = "{}",
                              .spec_hash = "h",
                              .data = "wiki",
                              .priority = 1,
                              .cpus = 1,
                              .total_steps = STORE_UNKNOWN,
                              .params = STORE_UNKNOWN,
                              .kind = kind,
                              .source = source,
                              .parameters = "{\"data\":\"wiki\"}"};
    int64_t id;
    bool repeated;
    OK(store_begin(conn, &fixture_err));
    OK(store_submit(conn, NULL, &r, 1, NULL, 0, 1000, &id, &repeated, &fixture_err));
    OK(store_commit(conn, &fixture_err));
    return id;
}

static bool is_pinned(int64_t source, const char *checkpoint)
{
    bool pinned;
    OK(store_job_is_pinned(conn, source, checkpoint, &pinned, &fixture_err));
    return pinned;
}

static void pin(int64_t job, const char *checkpoint)
{
    OK(store_begin(conn, &fixture_err));
    OK(store_job_pin(conn, job, checkpoint, &fixture_err));
    OK(store_commit(conn, &fixture_err));
}

static void test_beside_its_run(void **state)
{
    (void)state;
    int64_t source = fixture_submit("model", NULL, 0), job = submit_job(KIND_EVAL, source), found;
    struct store_run r;
    struct store_asked asked;
    struct store_queued *q;
    size_t n;
    OK(store_run_get(conn, job, &r, &fixture_err));
    assert_int_equal(r.kind, KIND_EVAL);
    assert_int_equal(r.source, source);
    store_run_finish(&r);
    OK(store_run_get(conn, source, &r, &fixture_err));
    assert_int_equal(r.kind, KIND_TRAIN);
    assert_int_equal(r.source, STORE_UNKNOWN);
    store_run_finish(&r);
    OK(store_resolve(conn, "model", &found, &fixture_err));
    assert_int_equal(found, source); /* though the job is newer */
    OK(store_queue(conn, 10, &q, &n, &fixture_err));
    assert_int_equal(n, 2);
    assert_int_equal(q[0].id, job); /* though the run is older */
    free(q);
    OK(store_job_get(conn, job, &asked, &fixture_err));
    assert_int_equal(asked.source, source);
    assert_string_equal(asked.checkpoint, "");
    assert_string_equal(asked.parameters, "{\"data\":\"wiki\"}");
    free(asked.parameters);
    assert_int_equal(store_job_get(conn, source, &asked, &fixture_err), -ERR_NOT_FOUND);
}

static void test_pins_until_it_ends(void **state)
{
    (void)state;
    int64_t source = fixture_submit("model", NULL, 0), job = submit_job(KIND_EVAL, source);
    enum run_state now;
    assert_false(is_pinned(source, "checkpoints/20-a1"));
    pin(job, "checkpoints/20-a1");
    assert_true(is_pinned(source, "checkpoints/20-a1"));
    assert_false(is_pinned(source, "checkpoints/40-a1"));
    assert_false(is_pinned(job, "checkpoints/20-a1"));
    int64_t n = fixture_claim(job, 20);
    assert_true(is_pinned(source, "checkpoints/20-a1"));
    fixture_finish(job, n); /* between two attempts */
    assert_true(is_pinned(source, "checkpoints/20-a1"));
    OK(store_begin(conn, &fixture_err));
    OK(store_run_cancel(conn, job, 4000, &now, &fixture_err));
    OK(store_commit(conn, &fixture_err));
    assert_false(is_pinned(source, "checkpoints/20-a1"));
}

/* It begins at the step of its checkpoint, which is no step of its own that could be missing. */
static void test_its_journal(void **state)
{
    (void)state;
    int64_t source = fixture_submit("model", NULL, 0), job = submit_job(KIND_EVAL, source);
    struct journal_text text = {0};
    struct store_job_eval *evals;
    struct store_run r;
    size_t n;
    OK(store_job_eval(conn, job, &evals, &n, &fixture_err));
    assert_int_equal(n, 0);
    pin(job, "checkpoints/400-a1");
    for (int attempt = 1; attempt <= 2; attempt++) { /* the first one's evaluation counts no more */
        journal_add_start(&text, attempt, 400, "n");
        journal_add_eval(&text, 400, 3.25 - attempt);
        assert_int_equal(fixture_claim(job, 400), attempt);
        struct ingest *g = ingest_create(job, attempt);
        assert_false(fixture_ingest(g, &text, JOURNAL_LINE_MAX).damaged);
        ingest_destroy(g);
        fixture_finish(job, attempt);
        journal_free(&text);
    }
    OK(store_run_get(conn, job, &r, &fixture_err));
    assert_int_equal(r.missing_steps, 0);
    assert_int_equal(r.step, STORE_UNKNOWN);
    assert_int_equal(r.total_steps, STORE_UNKNOWN);
    assert_true(r.val_loss.known && r.val_loss.value == 1.25);
    store_run_finish(&r);
    OK(store_run_get(conn, source, &r, &fixture_err));
    assert_false(r.val_loss.known);
    store_run_finish(&r);
    OK(store_job_evals(conn, source, &evals, &n, &fixture_err));
    assert_int_equal(n, 1);
    assert_int_equal(evals[0].run, job);
    assert_int_equal(evals[0].step, 400);
    assert_int_equal(evals[0].predictions, 5);
    assert_true(evals[0].loss == 1.25 && evals[0].epoch == 2);
    assert_false(evals[0].bits_per_byte.known);
    assert_string_equal(evals[0].checkpoint, "checkpoints/400-a1");
    store_job_evals_free(evals, n);
    OK(store_job_evals(conn, job, &evals, &n, &fixture_err));
    assert_int_equal(n, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_beside_its_run),
        TEST(test_pins_until_it_ends),
        TEST(test_its_journal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
