/* test_store_gpu.c: MFU, energy and a GPU's health from journals into the store, and the migration that made room. */
#include "daemon/store_gpu.h"
#include "schema/plan.h"
#include "store_fixture.h"

#include <unistd.h>

static struct journal_text text;

/* A database of the first schema, with a run, is brought up to date and keeps what it has. */
static void test_an_old_database(void **state)
{
    (void)state;
    int64_t application = fixture_int("PRAGMA application_id");
    char pragmas[96];
    store_conn_close(conn);
    assert_int_equal(unlink(fixture_path), 0);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(fixture_path, &db), SQLITE_OK);
    snprintf(pragmas, sizeof pragmas, "PRAGMA application_id = %lld; PRAGMA user_version = 1", (long long)application);
    assert_int_equal(sqlite3_exec(db, store_migrations[0].text, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, pragmas, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db,
                     "INSERT INTO runs (name, kind, state, spec_hash, data, priority, cpus, gpus, gpu_memory,"
                     " created_ms, attempts, tok_s, spec) VALUES ('old', 'train', 'queued', 'h', 'd', 0, 1, 0, 0,"
                     " 1, 1, 5.5, '{}');"
                     "INSERT INTO attempts (run, n, active, gpu_mask, resume, resume_step, last_step,"
                     " claimed_ms) VALUES (1, 1, 0, 0, '', 0, 7, 1)",
                     NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    OK(store_conn_open(fixture_path, STORE_WRITER, &conn, &fixture_err));
    assert_int_equal(fixture_int("PRAGMA user_version"), STORE_MIGRATIONS);
    struct store_run r;
    OK(store_run_get(conn, 1, &r, &fixture_err));
    assert_string_equal(r.name, "old");
    assert_true(r.tok_s.value == 5.5 && !r.mfu.known && !r.energy_j.known);
    store_run_finish(&r);
    struct store_attempt *a;
    size_t n;
    OK(store_attempts(conn, 1, &a, &n, &fixture_err));
    assert_int_equal(n, 1);
    assert_true(a[0].last_step == 7 && !a[0].peak_flops.known);
    store_attempts_free(a, n);
}

enum { FLOPS_PER_TOKEN = 3000 };

static void add_gpu_start(int attempt, int64_t resume_step, double peak_flops)
{
    struct journal_record r;
    struct journal_text one = {0};
    journal_add_start(&one, attempt, resume_step, "n");
    OK(journal_parse(one.text, one.size - 1, &r, &fixture_err));
    r.start.flops_per_token = FLOPS_PER_TOKEN;
    r.start.peak_flops = peak_flops;
    journal_add(&text, &r);
    journal_free(&one);
}

static void add_gpu_steps(int64_t first, int64_t last, double peak_flops)
{
    for (int64_t s = first; s <= last; s++) {
        struct journal_record r = {.kind = JOURNAL_STEP, .step = fixture_step(s, 5.0 / (double)s)};
        r.step.tok_s += (double)(s % 7);
        r.step.mfu = plan_mfu(FLOPS_PER_TOKEN, r.step.tok_s, peak_flops);
        journal_add(&text, &r);
    }
}

static void add_sample(int64_t step, double energy_j, int64_t xid)
{
    struct journal_record r = {.kind = JOURNAL_GPU, .gpu = {.step = step, .time_ms = 1000 * step + 1}};
    r.gpu.health = gpu_health_unknown;
    r.gpu.health.memory_used = 5;
    r.gpu.health.power_w = 300 + (double)step;
    r.gpu.health.energy_j = energy_j;
    r.gpu.health.throttle = step % 2 ? 1 << GPU_SW_THERMAL | 1 << GPU_HW_POWER_BRAKE : 0;
    r.gpu.health.xid = xid;
    journal_add(&text, &r);
}

static void ingest_attempt(int64_t run, int64_t n, size_t piece)
{
    struct ingest *g = ingest_create(run, n);
    struct ingest_news news = fixture_ingest(g, &text, piece);
    assert_true(!news.damaged && news.offset == (int64_t)text.size);
    ingest_destroy(g);
    journal_free(&text);
}

/* Two attempts on different GPUs, the second from step 5000 on; the steps of each are measured by its own peak. */
static void test_mfu_and_energy(void **state)
{
    (void)state;
    int64_t run = fixture_submit("r", NULL, 0), n = fixture_claim(run, 0);
    add_gpu_start(1, 0, 1e9);
    add_sample(0, 0, 0);
    add_gpu_steps(1, 6000, 1e9);
    add_sample(3000, 500, 0);
    add_sample(6000, 1000.5, 79);
    ingest_attempt(run, n, 60000);
    fixture_finish(run, n);
    n = fixture_claim(run, 5000);
    add_gpu_start(2, 5000, 4e9);
    add_gpu_steps(5001, 5003, 4e9);
    add_sample(5003, 200, 0);
    ingest_attempt(run, n, 60000);

    struct store_curve v;
    OK(store_curve_load(conn, run, 4998, 5003, 0, COLUMN_MFU, &v, &fixture_err));
    assert_int_equal(v.n, 6);
    for (size_t i = 0; i < v.n; i++)
        assert_true(v.mfu[i] == plan_mfu(FLOPS_PER_TOKEN, 10000 + (double)(v.step[i] % 7), i < 3 ? 1e9 : 4e9));
    store_curve_finish(&v);

    struct store_run r;
    OK(store_run_get(conn, run, &r, &fixture_err));
    assert_true(r.energy_j.known && r.energy_j.value == 1200.5);
    assert_true(r.flops_per_token.value == FLOPS_PER_TOKEN);
    double sum = 0; /* the window of 1/20 epoch is steps 4994 to 5003, of equal times */
    for (int64_t s = 4994; s <= 5003; s++)
        sum += plan_mfu(FLOPS_PER_TOKEN, 10000 + (double)(s % 7), s <= 5000 ? 1e9 : 4e9) / 10;
    assert_true(r.mfu.known && fabs(r.mfu.value - sum) < 1e-12);
    store_run_finish(&r);

    struct store_gpu *samples;
    size_t count;
    OK(store_gpu_newest(conn, run, &samples, &count, &fixture_err));
    assert_int_equal(count, 2);
    assert_int_equal(samples[0].attempt, 1);
    assert_int_equal(samples[0].sample.step, 6000);
    assert_int_equal(samples[0].sample.health.xid, 79);
    assert_int_equal(samples[0].sample.health.throttle, 0);
    assert_int_equal(samples[1].attempt, 2);
    assert_int_equal(samples[1].sample.time_ms, 5003001);
    assert_int_equal(samples[1].sample.health.memory_used, 5);
    assert_int_equal(samples[1].sample.health.memory_total, GPU_UNKNOWN);
    assert_true(samples[1].sample.health.power_w == 5303);
    assert_int_equal(samples[1].sample.health.throttle, 1 << GPU_SW_THERMAL | 1 << GPU_HW_POWER_BRAKE);
    free(samples);
    OK(store_gpu_list(conn, run, &samples, &count, &fixture_err));
    assert_int_equal(count, 4);
    assert_int_equal(samples[1].sample.step, 3000);
    free(samples);
}

static void test_no_mfu_without_a_peak(void **state)
{
    (void)state;
    int64_t run = fixture_submit("r", NULL, 0), n = fixture_claim(run, 0);
    add_gpu_start(1, 0, 0);
    add_gpu_steps(1, 5, 0);
    add_sample(5, NAN, GPU_UNKNOWN);
    ingest_attempt(run, n, 60000);
    struct store_run r;
    OK(store_run_get(conn, run, &r, &fixture_err));
    assert_true(!r.mfu.known && !r.energy_j.known && r.tok_s.known);
    store_run_finish(&r);
    struct store_curve v;
    OK(store_curve_load(conn, run, 1, 5, 0, COLUMN_MFU, &v, &fixture_err));
    for (size_t i = 0; i < v.n; i++)
        assert_true(v.mfu[i] == 0);
    store_curve_finish(&v);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_an_old_database), TEST(test_mfu_and_energy),
                                       TEST(test_no_mfu_without_a_peak)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
