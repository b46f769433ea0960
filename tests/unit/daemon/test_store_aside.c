/* Pause and resume of a run and of the queue: states, marks, events, and that both outlive the connection. */
#include "store_fixture.h"
#include "daemon/store_aside.h"

static struct store_run get(int64_t id)
{
    struct store_run r;
    OK(store_run_get(conn, id, &r, &fixture_err));
    store_run_finish(&r);
    return r;
}

static int64_t running(const char *name)
{
    int64_t n, id = fixture_submit(name, NULL, 0);
    OK(store_attempt_claim(conn, id, "", 0, 0, 10, &n, &fixture_err));
    OK(store_run_transition(conn, id, RUN_STARTING, RUN_RUNNING, "", 11, &fixture_err));
    return id;
}

static void test_one_run(void **state)
{
    (void)state;
    enum run_state now;
    int64_t id = fixture_submit("r", NULL, 0);
    OK(store_run_pause(conn, id, 1, &now, &fixture_err));
    assert_int_equal(now, RUN_PAUSED);
    assert_int_equal(get(id).state, RUN_PAUSED);
    assert_int_equal(store_run_pause(conn, id, 2, &now, &fixture_err), -ERR_CONFLICT);
    OK(store_run_resume(conn, id, 3, &fixture_err));
    assert_int_equal(get(id).state, RUN_QUEUED);
    assert_int_equal(store_run_resume(conn, id, 4, &fixture_err), -ERR_CONFLICT);
    assert_int_equal(store_run_pause(conn, 77, 4, &now, &fixture_err), -ERR_NOT_FOUND);

    int64_t busy = running("busy");
    OK(store_run_pause(conn, busy, 20, &now, &fixture_err));
    assert_int_equal(now, RUN_RUNNING);
    assert_int_equal(get(busy).aside, ASIDE_PAUSE);
    OK(store_run_pause(conn, busy, 21, &now, &fixture_err)); /* once more is fine, and no second event */
    assert_int_equal(fixture_event_count(busy, "pause_requested"), 1);
    OK(store_run_resume(conn, busy, 22, &fixture_err));
    assert_int_equal(get(busy).aside, ASIDE_NONE);
    assert_int_equal(store_run_resume(conn, busy, 23, &fixture_err), -ERR_CONFLICT);
    OK(store_run_pause(conn, busy, 24, &now, &fixture_err));
    OK(store_run_transition(conn, busy, RUN_RUNNING, RUN_PAUSED, "", 25, &fixture_err));
    assert_int_equal(get(busy).aside, ASIDE_NONE); /* done */

    int64_t going = running("going");
    OK(store_run_cancel(conn, going, 30, &now, &fixture_err));
    assert_int_equal(store_run_pause(conn, going, 31, &now, &fixture_err), -ERR_CONFLICT);
    assert_int_equal(store_run_step_aside(conn, going, ASIDE_DISK, "", 31, &fixture_err), -ERR_CONFLICT);
}

static void test_reasons(void **state)
{
    (void)state;
    enum run_state now;
    int64_t id = running("r");
    OK(store_run_step_aside(conn, id, ASIDE_PREEMPT, "for b00002", 12, &fixture_err));
    assert_int_equal(get(id).aside, ASIDE_PREEMPT);
    assert_int_equal(store_run_step_aside(conn, id, ASIDE_DISK, "", 13, &fixture_err), -ERR_CONFLICT);
    OK(store_run_pause(conn, id, 14, &now, &fixture_err)); /* a request by name is stronger */
    assert_int_equal(get(id).aside, ASIDE_PAUSE);
    int64_t queued = fixture_submit("q", NULL, 0);
    assert_int_equal(store_run_step_aside(conn, queued, ASIDE_DISK, "", 15, &fixture_err), -ERR_CONFLICT);
}

static void test_queue(void **state)
{
    (void)state;
    bool paused = true;
    enum run_state now;
    int64_t a = running("a"), b = running("b"), c = fixture_submit("c", NULL, 0), d = fixture_submit("d", NULL, 0), n;
    OK(store_queue_is_paused(conn, &paused, &fixture_err));
    assert_false(paused);
    OK(store_run_pause(conn, b, 20, &now, &fixture_err));
    OK(store_run_pause(conn, d, 20, &now, &fixture_err));
    OK(store_queue_pause(conn, 21, &n, &fixture_err));
    assert_int_equal(n, 1);
    assert_int_equal(get(a).aside, ASIDE_QUEUE);
    assert_int_equal(get(b).aside, ASIDE_PAUSE);
    assert_int_equal(get(c).state, RUN_QUEUED);
    OK(store_queue_pause(conn, 22, &n, &fixture_err));
    assert_int_equal(n, 0);
    store_conn_close(conn);
    OK(store_conn_open(fixture_path, STORE_WRITER, &conn, &fixture_err));
    OK(store_queue_is_paused(conn, &paused, &fixture_err));
    assert_true(paused);
    OK(store_queue_resume(conn, 23, &n, &fixture_err));
    assert_int_equal(n, 1);
    assert_int_equal(get(d).state, RUN_QUEUED);
    OK(store_queue_is_paused(conn, &paused, &fixture_err));
    assert_false(paused);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {TEST(test_one_run), TEST(test_reasons), TEST(test_queue)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
