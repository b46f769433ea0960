/* test_store_race.c: 10,000 claims, cancels, retries and ends of a few runs race through two stores on one database,
 * each with a thread of its own, as if two daemons served it. No run is ever started twice, and its events tell a story
 * in which each change begins where the one before ended. BAKA_SEED repeats the order in which they are asked for. */
#include "store_fixture.h"
#include <pthread.h>
#include "base/clock.h"
#include "base/philox.h"

enum { STORES = 2, REQUESTS = 5000, RUNS = 40 };

enum wish { CLAIM, CANCEL, RETRY, END, WISHES };

struct request {
    struct store_job job;
    enum wish wish;
    int64_t run;
    int rc;
};

struct racer {
    pthread_t thread;
    uv_loop_t loop;
    struct store *store;
    struct request *requests;
    int ended, granted[WISHES];
    bool doubled;
};

static struct racer racers[STORES];
static int64_t runs[RUNS];

static int active_attempts(struct store_conn *c, int64_t run, struct err *err)
{
    struct store_attempt *attempts;
    size_t n;
    int active = 0, rc = store_attempts(c, run, &attempts, &n, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++)
        active += attempts[i].active;
    store_attempts_free(attempts, n);
    return active;
}

/* As the supervisor does it: what a cancel asked for decides. */
static int end(struct store_conn *c, int64_t run, struct err *err)
{
    static const struct store_attempt_end how = {"lost", STORE_UNKNOWN, STORE_UNKNOWN, STORE_UNKNOWN};
    struct store_run r;
    int rc = store_run_get(c, run, &r, err);
    if (rc)
        return rc;
    if (!run_state_is_active(r.state))
        rc = err_set(err, ERR_CONFLICT, "nothing to end");
    if (!rc)
        rc = store_attempt_finish(c, run, r.attempts, &how, 3000, err);
    if (!rc)
        rc = store_run_transition(c, run, r.state, r.cancelling ? RUN_CANCELLED : RUN_QUEUED, "", 3000, err);
    store_run_finish(&r);
    return rc;
}

static int perform(struct store_conn *c, void *arg, struct err *err)
{
    struct request *q = arg;
    enum run_state state;
    int64_t n;
    int rc = 0;
    switch (q->wish) {
    case CLAIM:
        rc = store_attempt_claim(c, q->run, "", 0, 0, 2000, &n, err);
        break;
    case CANCEL:
        rc = store_run_cancel(c, q->run, 2000, &state, err);
        break;
    case RETRY:
        rc = store_run_retry(c, q->run, 2000, err);
        break;
    default:
        rc = end(c, q->run, err);
    }
    if (rc)
        return rc;
    int active = active_attempts(c, q->run, err);
    return active > 1 ? err_set(err, ERR_INTERNAL, "%d attempts at once", active) : active < 0 ? active : 0;
}

static struct racer *racer_of(const struct request *q)
{
    for (int i = 0; i < STORES; i++)
        if (q >= racers[i].requests && q < racers[i].requests + REQUESTS)
            return &racers[i];
    return NULL;
}

static void on_done(void *arg, int rc, const struct err *err)
{
    struct request *q = arg;
    struct racer *r = racer_of(q);
    (void)err;
    q->rc = rc;
    r->ended++;
    r->granted[q->wish] += rc == 0;
    r->doubled |= rc == -ERR_INTERNAL;
}

static void *race(void *arg)
{
    struct racer *r = arg;
    for (int i = 0; i < REQUESTS; i++)
        store_write(r->store, &r->requests[i].job);
    while (r->ended < REQUESTS)
        uv_run(&r->loop, UV_RUN_ONCE);
    store_close(r->store, NULL, NULL);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void prepare(struct racer *r, struct philox *random)
{
    r->requests = calloc(REQUESTS, sizeof *r->requests);
    assert_non_null(r->requests);
    for (int i = 0; i < REQUESTS; i++) {
        struct request *q = &r->requests[i];
        *q = (struct request){.wish = (enum wish)philox_below(random, WISHES), .run = runs[philox_below(random, RUNS)]};
        q->job = (struct store_job){.run = perform, .done = on_done, .arg = q};
    }
    assert_int_equal(uv_loop_init(&r->loop), 0);
    OK(store_open(&r->loop, fixture_path, &r->store, &fixture_err));
}

/* Its changes of state in their order, and one claim for each attempt. */
static void check_story(int64_t run)
{
    struct store_event *events;
    size_t n;
    int64_t starts = 0;
    char at[32] = "queued";
    OK(store_events(conn, run, 1 << 20, &events, &n, &fixture_err));
    for (size_t i = 0; i < n; i++) {
        const struct store_event *e = &events[i];
        if (strcmp(e->kind, "state") != 0)
            continue;
        if (e->from[0] != 0)
            assert_string_equal(e->from, at);
        snprintf(at, sizeof at, "%s", e->to);
        starts += strcmp(e->to, "starting") == 0;
    }
    store_events_free(events, n);
    struct store_run r;
    OK(store_run_get(conn, run, &r, &fixture_err));
    assert_string_equal(run_state_word(r.state), at);
    assert_int_equal(r.attempts, starts);
    store_run_finish(&r);
}

static void test_no_double_start(void **state)
{
    (void)state;
    const char *given = getenv("BAKA_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)clock_wall_ms();
    struct philox random;
    philox_init(&random, seed, "test", "store_race");
    for (int i = 0; i < RUNS; i++)
        runs[i] = fixture_submit("r", NULL, 0);
    for (int i = 0; i < STORES; i++)
        prepare(&racers[i], &random);
    for (int i = 0; i < STORES; i++)
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    int granted[WISHES] = {0}, failed = 0;
    for (int i = 0; i < STORES; i++) {
        struct racer *r = &racers[i];
        pthread_join(r->thread, NULL);
        for (int w = 0; w < WISHES; w++)
            granted[w] += r->granted[w];
        for (int k = 0; k < REQUESTS; k++)
            failed += r->requests[k].rc && r->requests[k].rc != -ERR_CONFLICT && r->requests[k].rc != -ERR_BUSY;
        uv_loop_close(&r->loop);
        free(r->requests);
        assert_false(r->doubled);
    }
    print_message("%d requests, BAKA_SEED=%llu: %d claims, %d cancels, %d retries, %d ends granted\n",
                  STORES * REQUESTS, (unsigned long long)seed, granted[CLAIM], granted[CANCEL], granted[RETRY],
                  granted[END]);
    assert_int_equal(failed, 0);
    assert_true(granted[CLAIM] > RUNS);
    for (int i = 0; i < RUNS; i++)
        check_story(runs[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_double_start, fixture_set_up, fixture_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
