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
    static const struct sched_demand demands[] = {{1, 0, 0}, {2, 0, 0},  {3, 0, 0},  {4, 0, 0}, {1, 1, 0},  {2, 1, 0},
                                                  {1, 2, 0}, {1, 1, 10}, {1, 1, 60}, {2, 2, 10}, {1, 2, 60}, {1, 1, 200}};
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
                        struct sched_decision d = scheduler_decide(&m, NULL, 0, jobs, 3, 0, out, 3);
                        struct sched_holding held[3];
                        size_t last = 0;
                        for (size_t i = 0; i < d.launch_count; i++) {
                            assert_true(i == 0 || out[i].job > last); /* in the queue's order, each once */
                            last = out[i].job;
                            held[i] = (struct sched_holding){jobs[out[i].job].demand, out[i].gpu_mask};
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
                        struct sched_decision e = scheduler_decide(&m, held, d.launch_count, rest, n, 0, again, 3);
                        assert_int_equal(e.launch_count, 0);
                    }
}

static void test_head_is_not_starved(void **state)
{
    (void)state;
    struct sched_machine m = {.cpu_slots = 3};
    struct sched_holding held[2] = {{{1, 0, 0}, 0}, {{1, 0, 0}, 0}};
    struct sched_job jobs[] = {job(1, 2, 0, 0, 0), job(2, 1, 0, 0, 0)};
    struct sched_launch out[2];
    assert_int_equal(scheduler_decide(&m, held, 2, jobs, 2, 0, out, 2).launch_count, 0);
    struct sched_decision d = scheduler_decide(&m, held, 1, jobs, 2, 0, out, 2);
    assert_int_equal(d.launch_count, 1);
    assert_int_equal(out[0].job, 0);
}

static void test_backfill_beside_a_gpu_head(void **state)
{
    (void)state;
    struct sched_machine m = {.cpu_slots = 4, .gpu_count = 1, .gpu_memory_mib = {100}};
    struct sched_holding held = {{1, 1, 10}, 1};
    struct sched_job jobs[] = {job(1, 1, 1, 0, 0), job(2, 1, 1, 10, 0), job(3, 1, 0, 0, 0), job(4, 1, 0, 0, 0),
                               job(5, 1, 0, 0, 0)};
    struct sched_launch out[5];
    struct sched_decision d = scheduler_decide(&m, &held, 1, jobs, 5, 0, out, 5);
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
    struct sched_decision d = scheduler_decide(&m, NULL, 0, jobs, 3, 100, out, 3);
    assert_int_equal(d.launch_count, 1);
    assert_int_equal(out[0].job, 2);
    assert_int_equal(d.next_due_ms, 500);
    d = scheduler_decide(&m, NULL, 0, jobs, 3, 900, out, 3);
    assert_int_equal(d.launch_count, 1);
    assert_int_equal(out[0].job, 0);
    assert_true(d.next_due_ms == INT64_MAX);
}

static void test_gpu_choice(void **state)
{
    (void)state;
    struct sched_machine m = {.cpu_slots = 8, .gpu_count = 3, .gpu_memory_mib = {100, 40, 100}};
    struct sched_holding held = {{1, 1, 50}, 4}; /* GPU 2 has 50 left */
    struct sched_job jobs[] = {job(1, 1, 1, 45, 0), job(2, 1, 1, 30, 0), job(3, 1, 1, 0, 0)};
    struct sched_launch out[3];
    struct sched_decision d = scheduler_decide(&m, &held, 1, jobs, 3, 0, out, 3);
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
    struct sched_machine m = {.cpu_slots = 2 + (int)(seed % 5), .gpu_count = (int)(seed % 4), .gpu_memory_mib = {80, 40, 80}};
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
                    queue[at] = (struct sched_job){held_id[i], held[i].demand, now + rng(30)};
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
                queue[queued++] = (struct sched_job){arrived++, d, now};
            }
        } else if (arrived < JOBS) {
            ended += JOBS - arrived; /* the days are over: let the rest drain */
            arrived = JOBS;
        }
        struct sched_launch out[MAX_HELD];
        struct sched_decision d = scheduler_decide(&m, held, holding, queue, queued, now, out, MAX_HELD);
        for (size_t i = d.launch_count; i-- > 0;) {
            struct sched_job *j = &queue[out[i].job];
            assert_true(j->not_before_ms <= now);
            held[holding] = (struct sched_holding){j->demand, out[i].gpu_mask};
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exhaustive),      cmocka_unit_test(test_head_is_not_starved),
        cmocka_unit_test(test_backfill_beside_a_gpu_head), cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_gpu_choice),      cmocka_unit_test(test_check),
        cmocka_unit_test(test_days),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
