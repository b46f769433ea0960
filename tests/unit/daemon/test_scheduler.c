/* Exhaustive small cases against the rules stated one by one, and simulated days of arrivals, ends and backoffs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/err.h"
#include "daemon/scheduler.h"

static struct sched_job job(int64_t id, int cpus, int gpus, int64_t mib, int64_t due)
{
    return (struct sched_job){.id = id, .demand = {cpus, gpus, mib}, .not_before_ms = due};
}

/* Without preemption. */
static struct sched_decision decide(const struct sched_machine *m, const struct sched_holding *h, size_t n,
                                    const struct sched_job *jobs, size_t job_count, int64_t now,
                                    struct sched_launch *out, size_t max)
{
    struct sched_room room = {.launches = out, .max_launches = max};
    return scheduler_decide(m, h, n, jobs, job_count, now, &room);
}

/* Nothing over capacity, whole GPUs alone, masks of the right size. */
static void check_holdings(const struct sched_machine *m, const struct sched_holding *h, size_t n)
{
    int cpus = 0;
    int users[SCHEDULER_MAX_GPUS] = {0}, whole[SCHEDULER_MAX_GPUS] = {0};
    int64_t mib[SCHEDULER_MAX_GPUS] = {0};
    for (size_t i = 0; i < n; i++) {
        cpus += h[i].demand.cpus;
        assert_int_equal(__builtin_popcountll(h[i].gpu_mask), h[i].demand.gpus);
        for (int g = 0; g < SCHEDULER_MAX_GPUS; g++)
            if (h[i].gpu_mask >> g & 1) {
                assert_true(g < m->gpu_count);
                users[g]++;
                whole[g] += h[i].demand.gpu_memory_mib == 0;
                mib[g] += h[i].demand.gpu_memory_mib;
            }
    }
    assert_true(cpus <= m->cpu_slots);
    for (int g = 0; g < m->gpu_count; g++) {
        assert_true(whole[g] == 0 || users[g] == 1);
        assert_true(mib[g] <= m->gpu_memory_mib[g]);
    }
}

/* Every machine of 1-3 slots and 0-2 GPUs, every queue of 3 jobs out of 16 demands, empty and part-filled. */
static void test_exhaustive(void **state)
{
    (void)state;
    static const struct sched_demand demands[] = {{1, 0, 0},  {2, 0, 0},  {3, 0, 0},  {4, 0, 0},
                                                  {1, 1, 0},  {2, 1, 0},  {1, 2, 0},  {1, 1, 10},
                                                  {1, 1, 60}, {2, 2, 10}, {1, 2, 60}, {1, 1, 200}};
    const size_t count = sizeof demands / sizeof *demands;
    for (int cpus = 1; cpus <= 3; cpus++)
        for (int gpus = 0; gpus <= 2; gpus++)
            for (size_t a = 0; a < count; a++)
                for (size_t b = 0; b < count; b++)
                    for (size_t c = 0; c < count; c++) {
                        struct sched_machine m = {.cpu_slots = cpus, .gpu_count = gpus, .gpu_memory_mib = {100, 64}};
                        struct sched_job jobs[3] = {{.id = 1, .demand = demands[a]},
                                                    {.id = 2, .demand = demands[b]},
                                                    {.id = 3, .demand = demands[c]}};
                        struct sched_launch out[3];
                        struct sched_decision d = decide(&m, NULL, 0, jobs, 3, 0, out, 3);
                        struct sched_holding held[3];
                        size_t last = 0;
                        for (size_t i = 0; i < d.launch_count; i++) {
                            assert_true(i == 0 || out[i].job > last); /* in the queue's order, each once */
                            last = out[i].job;
                            held[i] =
                                (struct sched_holding){.demand = jobs[out[i].job].demand, .gpu_mask = out[i].gpu_mask};
                            assert_int_equal(scheduler_check(&m, &held[i].demand, NULL), 0);
                        }
                        check_holdings(&m, held, d.launch_count);
                        /* the first that can ever run starts on an empty machine */
                        for (int i = 0; i < 3; i++)
                            if (scheduler_check(&m, &jobs[i].demand, NULL) == 0) {
                                assert_true(d.launch_count >= 1);
                                assert_int_equal(out[0].job, i);
                                break;
                            }
                        /* asked again at once, with those running, it starts nothing more */
                        struct sched_job rest[3];
                        size_t n = 0, next = 0;
                        for (size_t i = 0; i < 3; i++)
                            if (next < d.launch_count && out[next].job == i)
                                next++;
                            else
                                rest[n++] = jobs[i];
                        struct sched_launch again[3];
                        struct sched_decision e = decide(&m, held, d.launch_count, rest, n, 0, again, 3);
                        assert_int_equal(e.launch_count, 0);
                    }
}

static void test_head_is_not_starved(void **state)
{
    (void)state;
    struct sched_machine m = {.cpu_slots = 3};
    struct sched_holding held[2] = {{.demand = {1, 0, 0}}, {.demand = {1, 0, 0}}};
    struct sched_job jobs[] = {job(1, 2, 0, 0, 0), job(2, 1, 0, 0, 0)};
    struct sched_launch out[2];
    assert_int_equal(decide(&m, held, 2, jobs, 2, 0, out, 2).launch_count, 0);
    struct sched_decision d = decide(&m, held, 1, jobs, 2, 0, out, 2);
    assert_int_equal(d.launch_count, 1);
    assert_int_equal(out[0].job, 0);
}

static void test_backfill_beside_a_gpu_head(void **state)
{
    (void)state;
    struct sched_machine m = {.cpu_slots = 4, .gpu_count = 1, .gpu_memory_mib = {100}};
    struct sched_holding held = {.demand = {1, 1, 10}, .gpu_mask = 1};
    struct sched_job jobs[] = {job(1, 1, 1, 0, 0), job(2, 1, 1, 10, 0), job(3, 1, 0, 0, 0), job(4, 1, 0, 0, 0),
                               job(5, 1, 0, 0, 0)};
    struct sched_launch out[5];
    struct sched_decision d = decide(&m, &held, 1, jobs, 5, 0, out, 5);
    assert_int_equal(d.launch_count, 2); /* one slot held, one set aside for the head; no share past the head */
    assert_int_equal(out[0].job, 2);
    assert_int_equal(out[1].job, 3);
}

static void test_backoff(void **state)
{
    (void)state;
    struct sched_machine m = {.cpu_slots = 2};
    struct sched_job jobs[] = {job(1, 2, 0, 0, 900), job(2, 1, 0, 0, 500), job(3, 1, 0, 0, 100)};
    struct sched_launch out[3];
    struct sched_decision d = decide(&m, NULL, 0, jobs, 3, 100, out, 3);
    assert_int_equal(d.launch_count, 1);
    assert_int_equal(out[0].job, 2);
    assert_int_equal(d.next_due_ms, 500);
    d = decide(&m, NULL, 0, jobs, 3, 900, out, 3);
    assert_int_equal(d.launch_count, 1);
    assert_int_equal(out[0].job, 0);
    assert_true(d.next_due_ms == INT64_MAX);
}

static void test_gpu_choice(void **state)
{
    (void)state;
    struct sched_machine m = {.cpu_slots = 8, .gpu_count = 3, .gpu_memory_mib = {100, 40, 100}};
    struct sched_holding held = {.demand = {1, 1, 50}, .gpu_mask = 4}; /* GPU 2 has 50 left */
    struct sched_job jobs[] = {job(1, 1, 1, 45, 0), job(2, 1, 1, 30, 0), job(3, 1, 1, 0, 0)};
    struct sched_launch out[3];
    struct sched_decision d = decide(&m, &held, 1, jobs, 3, 0, out, 3);
    assert_int_equal(d.launch_count, 3);
    assert_int_equal(out[0].gpu_mask, 4); /* the fullest that fits */
    assert_int_equal(out[1].gpu_mask, 2);
    assert_int_equal(out[2].gpu_mask, 1); /* the only empty one */
}

static void test_check(void **state)
{
    (void)state;
    struct sched_machine m = {.cpu_slots = 2, .gpu_count = 1, .gpu_memory_mib = {100}};
    struct err err;
    assert_int_equal(scheduler_check(&m, &(struct sched_demand){3, 0, 0}, &err), -ERR_INVALID);
    assert_string_equal(err.path, "resources.cpus");
    assert_int_equal(scheduler_check(&m, &(struct sched_demand){0, 0, 0}, &err), -ERR_INVALID);
    assert_int_equal(scheduler_check(&m, &(struct sched_demand){1, 2, 0}, &err), -ERR_INVALID);
    assert_string_equal(err.path, "resources.gpus");
    assert_int_equal(scheduler_check(&m, &(struct sched_demand){1, 1, 101}, &err), -ERR_INVALID);
    assert_string_equal(err.path, "resources.gpu_memory");
    assert_int_equal(scheduler_check(&m, &(struct sched_demand){1, 1, 100}, &err), 0);
}

static uint32_t rng_state;

static uint32_t rng(uint32_t bound)
{
    rng_state = rng_state * 1664525u + 1013904223u;
    return (rng_state >> 8) % bound;
}

/* Ten days at one decision a minute: random arrivals, lengths, failures with backoff. Nobody over capacity, everything
 * ends, and no job is overtaken in a way that makes it wait longer than all work that was running when it became head
 * plus all that arrived before it. */
static void simulate(uint32_t seed)
{
    enum { JOBS = 600, MAX_HELD = 64 };
    static struct sched_job queue[JOBS];
    static int64_t length[JOBS], waited_as_head[JOBS];
    struct sched_machine m = {
        .cpu_slots = 2 + (int)(seed % 5), .gpu_count = (int)(seed % 4), .gpu_memory_mib = {80, 40, 80}};
    struct sched_holding held[MAX_HELD];
    int64_t held_id[MAX_HELD], held_until[MAX_HELD];
    size_t queued = 0, holding = 0;
    int64_t arrived = 0, ended = 0;
    rng_state = seed;
    memset(waited_as_head, 0, sizeof waited_as_head);
    for (int64_t now = 0; ended < JOBS; now++) {
        assert_true(now < 2000000);
        for (size_t i = 0; i < holding;)
            if (held_until[i] <= now) {
                if (rng(10) == 0) { /* interrupted: back to its place in the queue with a backoff */
                    size_t at = 0;
                    while (at < queued && queue[at].id < held_id[i])
                        at++;
                    memmove(&queue[at + 1], &queue[at], (queued - at) * sizeof *queue);
                    queue[at] =
                        (struct sched_job){.id = held_id[i], .demand = held[i].demand, .not_before_ms = now + rng(30)};
                    queued++;
                } else
                    ended++;
                holding--;
                held[i] = held[holding];
                held_id[i] = held_id[holding];
                held_until[i] = held_until[holding];
            } else
                i++;
        if (arrived < JOBS && now < 14400) {
            for (uint32_t n = rng(100) < 8 ? rng(4) : 0; n > 0 && arrived < JOBS; n--) {
                int gpus = m.gpu_count > 0 ? (int)rng((uint32_t)m.gpu_count + 1) : 0;
                struct sched_demand d = {1 + (int)rng((uint32_t)m.cpu_slots), gpus, gpus && rng(2) ? 5 + rng(35) : 0};
                length[arrived] = 1 + rng(60);
                queue[queued++] = (struct sched_job){.id = arrived++, .demand = d, .not_before_ms = now};
            }
        } else if (arrived < JOBS) {
            ended += JOBS - arrived; /* the days are over: let the rest drain */
            arrived = JOBS;
        }
        struct sched_launch out[MAX_HELD];
        struct sched_decision d = decide(&m, held, holding, queue, queued, now, out, MAX_HELD);
        for (size_t i = d.launch_count; i-- > 0;) {
            struct sched_job *j = &queue[out[i].job];
            assert_true(j->not_before_ms <= now);
            held[holding] = (struct sched_holding){.demand = j->demand, .gpu_mask = out[i].gpu_mask};
            held_id[holding] = j->id;
            held_until[holding++] = now + length[j->id];
            memmove(j, j + 1, (size_t)(queue + queued - (j + 1)) * sizeof *j);
            queued--;
        }
        check_holdings(&m, held, holding);
        for (size_t i = 0; i < queued; i++)
            if (queue[i].not_before_ms <= now) {
                /* each holder lasts at most 60, and what leaves is never given past the head */
                assert_true(++waited_as_head[queue[i].id] <= 60 * 8);
                break;
            }
        assert_true(queued == 0 || holding > 0 || d.next_due_ms != INT64_MAX);
    }
}

static void test_days(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 12; seed++)
        simulate(seed);
}

/* --- preemption ----------------------------------------------------------------------------------------------------
 */

static struct sched_holding at_work(int cpus, int64_t priority)
{
    return (struct sched_holding){.demand = {cpus, 0, 0}, .priority = priority, .may_yield = true};
}

static struct sched_job wanted(int cpus, int64_t priority)
{
    return (struct sched_job){.demand = {cpus, 0, 0}, .priority = priority, .may_preempt = true};
}

/* Who is asked, as digits in ascending order of holdings; "" for nobody. */
static const char *asked(const struct sched_machine *m, const struct sched_holding *h, size_t n,
                         const struct sched_job *jobs, size_t job_count)
{
    static char text[16];
    struct sched_launch launches[8];
    struct sched_yield yields[8];
    struct sched_room room = {launches, 8, yields, 8};
    struct sched_decision d = scheduler_decide(m, h, n, jobs, job_count, 0, &room);
    size_t used = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < d.yield_count; k++)
            if (yields[k].holding == i)
                text[used++] = (char)('0' + i);
    assert_int_equal(used, d.yield_count); /* nobody twice */
    text[used] = 0;
    return text;
}

static void test_who_is_asked(void **state)
{
    (void)state;
    struct sched_machine m = {.cpu_slots = 4};
    struct sched_holding held[] = {at_work(1, 0), at_work(2, -1), at_work(1, 5)};
    struct sched_job one = wanted(1, 7), two = wanted(2, 7), low = wanted(1, 0), lowest = wanted(1, -1);
    assert_string_equal(asked(&m, held, 3, &one, 1), "1"); /* the lowest, though the first would do */
    assert_string_equal(asked(&m, held, 3, &two, 1), "1");
    two.demand.cpus = 3;
    assert_string_equal(asked(&m, held, 3, &two, 1), "01");
    two.demand.cpus = 4;
    assert_string_equal(asked(&m, held, 3, &two, 1), "012");
    two.priority = 5; /* all of them are not lower: nobody is asked for nothing */
    assert_string_equal(asked(&m, held, 3, &two, 1), "");
    assert_string_equal(asked(&m, held, 3, &low, 1), "1");
    assert_string_equal(asked(&m, held, 3, &lowest, 1), ""); /* equal is not lower */
    held[1].may_yield = false;
    assert_string_equal(asked(&m, held, 3, &one, 1), "0");
    held[0].leaves = true; /* its slot is coming */
    assert_string_equal(asked(&m, held, 3, &one, 1), "");
    one.may_preempt = false;
    held[0].leaves = false;
    assert_string_equal(asked(&m, held, 3, &one, 1), "");
    one.may_preempt = true;
    one.not_before_ms = 5; /* not due */
    assert_string_equal(asked(&m, held, 3, &one, 1), "");
    struct sched_holding few[] = {at_work(1, 0)}; /* there is room */
    one.not_before_ms = 0;
    assert_string_equal(asked(&m, few, 1, &one, 1), "");
}

static void test_no_more_than_needed(void **state)
{
    (void)state;
    struct sched_machine m = {.cpu_slots = 8};
    /* the lowest have little, one of them alone would do */
    struct sched_holding held[] = {at_work(1, 0), at_work(1, 1), at_work(6, 2)};
    struct sched_job job = wanted(6, 9);
    assert_string_equal(asked(&m, held, 3, &job, 1), "2");
    struct sched_job jobs[] = {wanted(1, 9), wanted(1, 9), wanted(1, 9)}; /* each its own */
    assert_string_equal(asked(&m, held, 3, jobs, 2), "01");
    assert_string_equal(asked(&m, held, 3, jobs, 3), "012");
    jobs[0].may_preempt = false; /* what comes free would be the first one's */
    assert_string_equal(asked(&m, held, 3, jobs, 3), "");
    struct sched_machine gpus = {.cpu_slots = 8, .gpu_count = 2, .gpu_memory_mib = {100, 100}};
    struct sched_holding on_gpu[] = {{.demand = {1, 1, 0}, .gpu_mask = 1, .may_yield = true},
                                     {.demand = {1, 1, 0}, .gpu_mask = 2, .priority = 1, .may_yield = true},
                                     at_work(1, -5)};
    struct sched_job gpu_job = {.demand = {1, 1, 50}, .priority = 3, .may_preempt = true};
    assert_string_equal(asked(&gpus, on_gpu, 3, &gpu_job, 1), "0"); /* the lowest of all has no GPU to give */
}

/* Runs of three priorities that arrive, are preempted, come back and end: whoever is asked is lower than who waits,
 * who waits gets the room, a run gives way to another one once at most, and all of them end. */
static void play(uint32_t seed)
{
    enum { RUNS = 40, SLOTS = 6 };
    struct run {
        struct sched_job job;
        int left, arrives;
        bool active, leaves, ended;
        uint64_t made_room_for;
    } runs[RUNS];
    rng_state = seed;
    for (int i = 0; i < RUNS; i++)
        runs[i] = (struct run){wanted(1 + (int)rng(3), rng(3)), 3 + (int)rng(20), (int)rng(100), 0, 0, 0, 0};
    int ended = 0;
    for (int now = 0; ended < RUNS; now++) {
        assert_true(now < 2000);
        struct sched_machine m = {.cpu_slots = SLOTS};
        struct sched_holding held[RUNS];
        struct sched_job queue[RUNS];
        int held_run[RUNS], queue_run[RUNS];
        size_t n = 0, q = 0;
        for (int i = 0; i < RUNS; i++)
            if (runs[i].active && (runs[i].leaves || --runs[i].left <= 0)) {
                runs[i].ended = runs[i].left <= 0;
                ended += runs[i].ended;
                runs[i].active = runs[i].leaves = false;
            }
        for (int i = 0; i < RUNS; i++)
            if (runs[i].active) {
                held_run[n] = i;
                held[n] = at_work(runs[i].job.demand.cpus, runs[i].job.priority);
                held[n++].leaves = runs[i].leaves;
            }
        check_holdings(&m, held, n);
        for (int64_t priority = 2; priority >= 0; priority--)
            for (int i = 0; i < RUNS; i++)
                if (!runs[i].active && !runs[i].ended && runs[i].arrives <= now && runs[i].job.priority == priority) {
                    queue_run[q] = i;
                    queue[q++] = runs[i].job;
                }
        struct sched_launch launches[SLOTS];
        struct sched_yield yields[SLOTS];
        struct sched_room room = {launches, SLOTS, yields, SLOTS};
        struct sched_decision d = scheduler_decide(&m, held, n, queue, q, now, &room);
        for (size_t i = 0; i < d.launch_count; i++)
            runs[queue_run[launches[i].job]].active = true;
        for (size_t i = 0; i < d.yield_count; i++) {
            struct run *who = &runs[held_run[yields[i].holding]];
            int whom = queue_run[yields[i].job];
            assert_true(who->job.priority < runs[whom].job.priority);
            assert_false(who->leaves || runs[whom].active);
            assert_false(who->made_room_for >> whom & 1);
            who->made_room_for |= UINT64_C(1) << whom;
            who->leaves = true;
        }
    }
}

static void test_no_ping_pong(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 500; seed++)
        play(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exhaustive),
        cmocka_unit_test(test_head_is_not_starved),
        cmocka_unit_test(test_backfill_beside_a_gpu_head),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_gpu_choice),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_days),
        cmocka_unit_test(test_who_is_asked),
        cmocka_unit_test(test_no_more_than_needed),
        cmocka_unit_test(test_no_ping_pong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
