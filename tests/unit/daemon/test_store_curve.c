/* The effective curve against a naive model: an array that each attempt, in order, writes over. */
#include "store_fixture.h"

enum { STEPS = 9000 };

static unsigned next_random(unsigned *r)
{
    *r = *r * 1664525 + 1013904223;
    return *r >> 8;
}

struct model {
    double loss[STEPS + 1]; /* by step; NaN: nobody recorded it */
    int attempt[STEPS + 1];
    double eval[STEPS + 1];
};

static double loss_by(int attempt, int64_t step)
{
    return (double)attempt + (double)step * 1e-6;
}

static void check_range(int64_t run, const struct model *m, int64_t first, int64_t last, size_t limit)
{
    struct store_curve v;
    OK(store_curve_load(conn, run, first, last, limit, COLUMN_LOSS | COLUMN_TOKENS, &v, &fixture_err));
    size_t i = 0;
    for (int64_t s = first < 1 ? 1 : first; s <= last && s <= STEPS && (limit == 0 || i < limit); s++) {
        if (isnan(m->loss[s]))
            continue;
        if (i >= v.n || v.step[i] != s || v.loss[i] != m->loss[s] || v.tokens[i] != s * FIXTURE_STEP_TOKENS)
            fail_msg("step %lld of %lld..%lld: got %lld", (long long)s, (long long)first, (long long)last,
                     i < v.n ? (long long)v.step[i] : -1LL);
        i++;
    }
    assert_int_equal(i, v.n);
    store_curve_finish(&v);
}

static void check_evals(int64_t run, const struct model *m)
{
    struct store_eval *e;
    size_t n, i = 0;
    OK(store_evals(conn, run, &e, &n, &fixture_err));
    for (int64_t s = 1; s <= STEPS; s++)
        if (!isnan(m->eval[s])) {
            assert_true(i < n);
            assert_int_equal(e[i].step, s);
            assert_true(e[i].loss == m->eval[s]);
            assert_true(!e[i].bits_per_byte.known && e[i].word_perplexity.known == (s % 2 == 0));
            if (e[i].word_perplexity.known)
                assert_true(e[i].word_perplexity.value == 2 * exp(m->eval[s]));
            i++;
        }
    assert_int_equal(i, n);
    struct store_quality q;
    OK(store_eval_newest(conn, run, &q, &fixture_err));
    assert_int_equal(q.perplexity.known, n > 0);
    assert_int_equal(q.word_perplexity.known, n > 0 && e[n - 1].step % 2 == 0);
    if (n > 0)
        assert_true(q.perplexity.value == exp(e[n - 1].loss));
    if (q.word_perplexity.known)
        assert_true(q.word_perplexity.value == 2 * exp(e[n - 1].loss));
    free(e);
}

static void run_one(unsigned seed)
{
    static struct model m;
    struct journal_text text = {0};
    unsigned r = seed;
    int64_t run = fixture_submit("r", NULL, 0), reached = 0;
    for (int i = 0; i <= STEPS; i++)
        m.loss[i] = m.eval[i] = NAN;
    int attempts = 2 + (int)(next_random(&r) % 7);
    for (int k = 1; k <= attempts; k++) {
        int64_t resume = reached ? next_random(&r) % (unsigned)(reached + 1) : 0;
        int64_t length = next_random(&r) % 3 == 0 ? 0 : next_random(&r) % (next_random(&r) % 2 ? 6000 : 300);
        int64_t last = resume + length < STEPS ? resume + length : STEPS;
        int64_t n = fixture_claim(run, resume);
        assert_int_equal(n, k);
        struct ingest *g = ingest_create(run, n);
        journal_add_start(&text, k, resume, next_random(&r) % 2 ? "n" : "m");
        for (int64_t s = resume + 1; s <= last; s++) {
            journal_add_step(&text, s, loss_by(k, s));
            m.loss[s] = loss_by(k, s);
            m.attempt[s] = k;
            if (s % 97 == 0) {
                journal_add_eval(&text, s, loss_by(k, s) + 0.5);
                m.eval[s] = loss_by(k, s) + 0.5;
            }
        }
        fixture_ingest(g, &text, 4097 + next_random(&r) % 400000);
        reached = last > reached ? last : reached;
        check_range(run, &m, 0, INT64_MAX, 0); /* with a tail of rows */
        if (k < attempts)
            fixture_finish(run, n);
        ingest_destroy(g);
        journal_free(&text);
    }
    for (int i = 0; i < 20; i++) {
        int64_t first = next_random(&r) % (STEPS + 1), last = first + next_random(&r) % 5000;
        check_range(run, &m, first, last, next_random(&r) % 2 ? 0 : 1 + next_random(&r) % 4500);
    }
    check_evals(run, &m);
}

static void test_random_attempts(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 25; seed++)
        run_one(seed);
}

static void test_pages(void **state)
{
    (void)state;
    struct journal_text text = {0};
    int64_t run = fixture_submit("r", NULL, 0), n = fixture_claim(run, 0), after = 0, seen = 0;
    struct ingest *g = ingest_create(run, n);
    journal_add_start(&text, 1, 0, "n");
    for (int64_t s = 1; s <= 9500; s++)
        journal_add_step(&text, s, 1);
    fixture_ingest(g, &text, 50000);
    for (;;) {
        struct store_curve v;
        OK(store_curve_load(conn, run, after + 1, INT64_MAX, 1000, COLUMNS_ALL, &v, &fixture_err));
        for (size_t i = 0; i < v.n; i++)
            assert_int_equal(v.step[i], ++seen);
        size_t got = v.n;
        after = got ? v.step[got - 1] : after;
        store_curve_finish(&v);
        if (got < 1000)
            break;
    }
    assert_int_equal(seen, 9500);
    struct store_curve v;
    OK(store_curve_load(conn, 12345, 0, INT64_MAX, 0, COLUMNS_ALL, &v, &fixture_err)); /* no such run: no steps */
    assert_int_equal(v.n, 0);
    store_curve_finish(&v);
    ingest_destroy(g);
    journal_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random_attempts, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_pages, fixture_set_up, fixture_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
