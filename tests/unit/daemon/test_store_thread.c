/* The writer and the readers under a libuv loop: order, savepoints, a full disk, closing. */
#include "store_fixture.h"

static struct store *store;
static uv_loop_t loop;

enum { JOBS = 2000 };

struct work {
    struct store_job job;
    int number, rc;
    bool fails;
    int64_t value;
};

static struct work works[JOBS];
static int ended, in_order, closed_calls;

static int insert(struct store_conn *c, void *arg, struct err *err)
{
    struct work *w = arg;
    struct store_new_run r = {.name = "r",
                              .spec = "{}",
                              .spec_hash = "",
                              .data = "",
                              .cpus = w->number,
                              .total_steps = STORE_UNKNOWN,
                              .params = STORE_UNKNOWN};
    int64_t id;
    bool repeated;
    int rc = store_submit(c, NULL, &r, 1, NULL, 0, 1, &id, &repeated, err);
    if (!rc && w->fails) /* what it wrote must go */
        rc = err_set(err, ERR_INVALID, "meant to fail");
    return rc;
}

static int count(struct store_conn *c, void *arg, struct err *err)
{
    struct work *w = arg;
    int64_t counts[RUN_STATES];
    int rc = store_count_states(c, counts, err);
    w->value = counts[RUN_QUEUED];
    return rc;
}

static void on_done(void *arg, int rc, const struct err *err)
{
    struct work *w = arg;
    w->rc = rc;
    assert_int_equal(rc, -(int)err->code);
    in_order += w->number == ended;
    ended++;
}

static void run_until(int n)
{
    while (ended < n)
        uv_run(&loop, UV_RUN_ONCE);
}

static void on_closed(void *arg)
{
    closed_calls += *(int *)arg;
}

static struct work *prepare(int number, int (*run)(struct store_conn *, void *, struct err *))
{
    struct work *w = &works[number];
    *w = (struct work){.number = number, .job = {.run = run, .done = on_done, .arg = w}};
    return w;
}

static int set_up(void **state)
{
    if (fixture_set_up(state))
        return -1;
    store_conn_close(conn);
    conn = NULL;
    ended = in_order = closed_calls = 0;
    return uv_loop_init(&loop) || store_open(&loop, fixture_path, &store, &fixture_err);
}

static int tear_down(void **state)
{
    static int one = 1;
    store_close(store, on_closed, &one);
    uv_run(&loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&loop) || closed_calls != 1)
        return -1;
    char wal[128];
    snprintf(wal, sizeof wal, "%s-wal", fixture_path); /* the last close checkpoints */
    return file_exists(wal) ? -1 : fixture_tear_down(state);
}

static void test_writes_in_order_and_failures_alone(void **state)
{
    (void)state;
    for (int i = 0; i < JOBS; i++) {
        struct work *w = prepare(i, insert);
        w->fails = i % 7 == 3;
        store_write(store, &w->job);
    }
    run_until(JOBS);
    assert_int_equal(in_order, JOBS);
    int good = 0;
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(works[i].rc, works[i].fails ? -ERR_INVALID : 0);
        good += !works[i].fails;
    }
    struct work *w = prepare(0, count);
    store_read(store, &w->job);
    run_until(JOBS + 1);
    assert_int_equal(w->value, good);
}

static int shrink(struct store_conn *c, void *arg, struct err *err)
{
    (void)arg;
    (void)err;
    sqlite3_exec(c->db, "PRAGMA max_page_count = 1", NULL, NULL, NULL); /* it takes no less than there are */
    return 0;
}

static int widen(struct store_conn *c, void *arg, struct err *err)
{
    (void)arg;
    (void)err;
    sqlite3_exec(c->db, "PRAGMA max_page_count = 1000000", NULL, NULL, NULL);
    return 0;
}

static void test_a_full_disk_fails_jobs_only(void **state)
{
    (void)state;
    store_write(store, &prepare(0, shrink)->job);
    run_until(1);
    for (int i = 1; i < JOBS; i++)
        store_write(store, &prepare(i, insert)->job);
    run_until(JOBS);
    int good = 0, full = 0;
    for (int i = 1; i < JOBS; i++) {
        good += works[i].rc == 0;
        full += works[i].rc == -ERR_NO_SPACE;
    }
    assert_true(full > 0);
    assert_int_equal(good + full, JOBS - 1);
    store_write(store, &prepare(0, widen)->job);
    store_write(store, &prepare(1, insert)->job);
    run_until(JOBS + 2);
    assert_int_equal(works[1].rc, 0);
    store_read(store, &prepare(0, count)->job);
    run_until(JOBS + 3);
    assert_int_equal(works[0].value, good + 1);
}

static void test_close_runs_what_waits(void **state)
{
    (void)state;
    static int two = 2;
    for (int i = 0; i < 500; i++)
        store_write(store, &prepare(i, insert)->job);
    for (int i = 500; i < 600; i++)
        store_read(store, &prepare(i, count)->job);
    store_close(store, on_closed, &two);
    store_write(store, &prepare(600, insert)->job);
    store_read(store, &prepare(601, count)->job);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(closed_calls, 2);
    assert_int_equal(ended, 602);
    for (int i = 0; i < 600; i++)
        assert_int_equal(works[i].rc, 0);
    assert_int_equal(works[600].rc, -ERR_UNAVAILABLE);
    assert_int_equal(works[601].rc, -ERR_UNAVAILABLE);
    OK(store_conn_open(fixture_path, STORE_WRITER, &conn, &fixture_err));
    assert_int_equal(fixture_int("SELECT count(*) FROM runs"), 500);
    store_conn_close(conn);
    conn = NULL;
    closed_calls = 0;
    OK(store_open(&loop, fixture_path, &store, &fixture_err)); /* for tear_down */
}

static void test_a_bad_file_is_told(void **state)
{
    (void)state;
    struct store *other;
    assert_int_equal(store_open(&loop, "/nonexistent/baka.db", &other, &fixture_err), -ERR_NOT_FOUND);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_writes_in_order_and_failures_alone),
        TEST(test_a_full_disk_fails_jobs_only),
        TEST(test_close_runs_what_waits),
        TEST(test_a_bad_file_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
