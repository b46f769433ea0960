/* A month of a machine with 8 GPUs in seconds: scheduler, verdict and watchdog, which know no clock, driven by a
 * virtual one. 10,000 runs of three priorities arrive; faults come at the rate that was published of a large training
 * (419 unexpected interruptions in 54 days: Llama 3, Dubey et al. 2024, section 3.3.4) times 100, as crashes, kills,
 * hangs, full disks and reboots of the whole machine; some runs have a step that always crashes.
 *
 * After each event: nobody over capacity, no run twice at work, no run that steps aside loses a step, none goes back
 * behind its checkpoint. At the end: every run has finished, but those with a bad step, which failed by the limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <string.h>
#include <cmocka.h>
#include "daemon/scheduler.h"
#include "daemon/verdict.h"
#include "daemon/watchdog.h"

enum { RUNS = 10000, GPUS = 8, SLOTS = 32, QUEUE_LOOK = 1000, START_MS = 20000, STEP_ASIDE_MS = 8000 };
static const double DAY_MS = 86400e3, MONTH_MS = 30 * 86400e3, FAULTS_PER_DAY = 100 * 419 / 54.0;

enum what { ARRIVES, STEPS_DONE, BAD_STEP, HANG_NOTICED, STEPPED_ASIDE, FAULT, WAIT_OVER };

struct run {
    enum run_state state;
    struct sched_job job;
    int64_t arrives_ms, steps, step_ms, checkpoint_every, bad_step; /* 0: none */
    int64_t checkpoint, furthest, no_progress, crash_step, crash_count;
    int attempts, stepped_aside;
};

struct active {
    struct run *run;
    struct sched_holding holding;
    int64_t began_ms, resume;
    int64_t leaves_ms; /* it was asked to step aside and will have by then; 0: no */
    int64_t hung_at;   /* step that it hangs in; 0: no */
    int64_t noticed_ms;
};

struct world {
    uint32_t seed;
    uint64_t rng;
    int64_t now;
    struct run *runs;
    struct run *queue[RUNS]; /* by priority, then number */
    size_t queued;
    struct active active[SLOTS];
    size_t busy;
    int64_t next_fault_ms;
    int arrived, ended, faults, hangs, reboots, yields, failed;
};

#define CHECK(w, condition)                                                                                            \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            fail_msg("seed %u, %.3f days: %s", (w)->seed, (double)(w)->now / DAY_MS, #condition);                      \
    } while (0)

static double uniform(struct world *w)
{
    w->rng = w->rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(w->rng >> 11) * 0x1p-53;
}

static int64_t below(struct world *w, int64_t bound)
{
    return (int64_t)(uniform(w) * (double)bound);
}

static int64_t waiting_time(struct world *w, double mean_ms)
{
    return (int64_t)(-log(1 - uniform(w)) * mean_ms) + 1;
}

static void make_runs(struct world *w)
{
    int64_t at = 0;
    for (int i = 0; i < RUNS; i++) {
        struct run *r = &w->runs[i];
        int gpus = (int)below(w, 8) == 0 ? 2 : 1;
        at += waiting_time(w, 20 * DAY_MS / RUNS);
        *r = (struct run){.state = RUN_QUEUED,
                          .arrives_ms = at,
                          .steps = 20 + below(w, 1100),
                          .step_ms = 500 + below(w, 4000),
                          .checkpoint_every = 5 + below(w, 50)};
        r->job = (struct sched_job){.id = i,
                                    .demand = {1 + (int)below(w, 4), gpus, below(w, 3) == 0 ? 20000 : 0},
                                    .priority = below(w, 10) == 0  ? 2
                                                : below(w, 3) == 0 ? 1
                                                                   : 0,
                                    .may_preempt = true};
        r->bad_step = below(w, 100) == 0 ? 1 + below(w, r->steps) : 0;
    }
}

static void enqueue(struct world *w, struct run *r)
{
    size_t at = w->queued;
    while (at > 0 && (w->queue[at - 1]->job.priority < r->job.priority ||
                      (w->queue[at - 1]->job.priority == r->job.priority && w->queue[at - 1]->job.id > r->job.id)))
        at--;
    memmove(&w->queue[at + 1], &w->queue[at], (w->queued - at) * sizeof(*w->queue));
    w->queue[at] = r;
    w->queued++;
}

static int64_t step_at(const struct active *a, int64_t now)
{
    int64_t worked = now - a->began_ms - START_MS;
    int64_t step = a->resume + (worked > 0 ? worked / a->run->step_ms : 0);
    if (a->hung_at > 0 && step > a->hung_at)
        step = a->hung_at;
    return step < a->run->steps ? step : a->run->steps;
}

static int64_t time_of_step(const struct active *a, int64_t step)
{
    return a->began_ms + START_MS + (step - a->resume) * a->run->step_ms;
}

/* What the watchdog makes of a worker that says nothing more after this step. */
static int64_t budget_ms(const struct run *r, int64_t steps, int64_t step)
{
    struct watchdog w;
    static const struct watchdog_limits limits = {900, 300, 21600};
    struct watchdog_news start = {.started = true, .work = {.steps = true}};
    struct watchdog_news news = {
        .steps = steps, .last_step = step, .slowest_step_ms = (double)r->step_ms, .checkpoint_possible = true};
    watchdog_init(&w, &limits, &(struct watchdog_usual){.step_ms = steps > 0 ? 0 : (double)r->step_ms});
    watchdog_hear(&w, &start);
    if (steps > 0)
        watchdog_hear(&w, &news);
    return (int64_t)(1000 * watchdog_budget_s(&w));
}

/* --- ends ---------------------------------------------------------------------------------------------------------
 */

static void end(struct world *w, size_t index, struct verdict_evidence e)
{
    struct active *a = &w->active[index];
    struct run *r = a->run;
    struct verdict v;
    e.text = e.text != NULL ? e.text : "";
    e.resume_step = a->resume;
    e.last_step = step_at(a, w->now);
    e.furthest = r->furthest;
    bool kept = e.aside != ASIDE_NONE || (e.has_end && e.end_reason == END_FINISHED);
    int64_t newest = kept ? e.last_step : e.last_step / r->checkpoint_every * r->checkpoint_every;
    if (newest > r->checkpoint)
        r->checkpoint = newest;
    e.checkpoint_step = r->checkpoint;
    e.no_progress = r->no_progress;
    e.crash_step = r->crash_step;
    e.crash_count = r->crash_count;
    verdict_decide(&e, &v);
    CHECK(w, r->checkpoint <= e.last_step && e.last_step >= a->resume);
    CHECK(w, e.aside == ASIDE_NONE || r->checkpoint == e.last_step); /* not a step lost */
    CHECK(w, run_state_may_follow(r->state, v.to));
    if (e.last_step > r->furthest)
        r->furthest = e.last_step;
    r->state = v.to;
    r->no_progress = v.no_progress;
    r->crash_step = v.crash_step;
    r->crash_count = v.crash_count;
    r->job.not_before_ms = v.backoff_ms > 0 ? w->now + v.backoff_ms : 0;
    r->job.may_preempt = v.no_progress == 0;
    w->active[index] = w->active[--w->busy];
    if (v.to == RUN_QUEUED) {
        enqueue(w, r);
        return;
    }
    CHECK(w, v.to == RUN_FINISHED || v.to == RUN_FAILED);
    CHECK(w, v.to != RUN_FINISHED || (r->checkpoint == r->steps && r->bad_step == 0));
    CHECK(w, v.to != RUN_FAILED || (r->bad_step > 0 && v.crash_count == VERDICT_MAX_CRASHES));
    w->failed += v.to == RUN_FAILED;
    w->ended++;
}

static void reboot(struct world *w)
{
    w->reboots++;
    while (w->busy > 0)
        end(w, w->busy - 1, (struct verdict_evidence){.rebooted = true});
}

static void fault(struct world *w)
{
    w->faults++;
    w->next_fault_ms = w->now + waiting_time(w, DAY_MS / FAULTS_PER_DAY);
    if (w->busy == 0)
        return;
    size_t index = (size_t)below(w, (int64_t)w->busy);
    struct active *a = &w->active[index];
    switch (below(w, 20)) {
    case 0:
        reboot(w);
        return;
    case 1:
    case 2:
    case 3:
        if (a->hung_at == 0 && a->leaves_ms == 0 && step_at(a, w->now) > a->resume) {
            w->hangs++;
            a->hung_at = step_at(a, w->now);
            a->noticed_ms = w->now + budget_ms(a->run, a->hung_at - a->resume, a->hung_at);
        }
        return;
    case 4:
    case 5:
        end(w, index, (struct verdict_evidence){.has_end = true, .end_reason = END_DISK_FULL});
        return;
    case 6:
    case 7:
        end(w, index, (struct verdict_evidence){.has_end = true, .end_reason = END_OOM_GPU});
        return;
    case 8:
    case 9:
    case 10:
        end(w, index, (struct verdict_evidence){0}); /* lost */
        return;
    case 11:
    case 12:
        end(w, index, (struct verdict_evidence){.has_exit = true, .exit_status = -1, .exit_signal = SIGSEGV});
        return;
    default:
        end(w, index, (struct verdict_evidence){.has_exit = true, .exit_status = -1, .exit_signal = SIGKILL});
    }
}

/* --- time ----------------------------------------------------------------------------------------------------------
 */

static void sooner(int64_t at, enum what what, size_t which, int64_t *best, enum what *best_what, size_t *best_which)
{
    if (at >= *best)
        return;
    *best = at;
    *best_what = what;
    *best_which = which;
}

static void next_event(struct world *w, int64_t due_ms)
{
    int64_t at = INT64_MAX;
    enum what what = FAULT;
    size_t which = 0;
    sooner(w->next_fault_ms, FAULT, 0, &at, &what, &which);
    if (w->arrived < RUNS)
        sooner(w->runs[w->arrived].arrives_ms, ARRIVES, 0, &at, &what, &which);
    sooner(due_ms, WAIT_OVER, 0, &at, &what, &which);
    for (size_t i = 0; i < w->busy; i++) {
        const struct active *a = &w->active[i];
        const struct run *r = a->run;
        if (a->hung_at > 0) {
            sooner(a->noticed_ms, HANG_NOTICED, i, &at, &what, &which);
            continue;
        }
        if (a->leaves_ms > 0)
            sooner(a->leaves_ms, STEPPED_ASIDE, i, &at, &what, &which);
        if (r->bad_step > a->resume)
            sooner(time_of_step(a, r->bad_step) - 1, BAD_STEP, i, &at, &what, &which); /* within it */
        sooner(time_of_step(a, r->steps), STEPS_DONE, i, &at, &what, &which);
    }
    CHECK(w, at >= w->now);
    w->now = at;
    switch (what) {
    case ARRIVES:
        enqueue(w, &w->runs[w->arrived++]);
        break;
    case STEPS_DONE:
        end(w, which, (struct verdict_evidence){.has_end = true, .end_reason = END_FINISHED});
        break;
    case BAD_STEP:
        end(w, which, (struct verdict_evidence){.has_exit = true, .exit_status = -1, .exit_signal = SIGABRT});
        break;
    case HANG_NOTICED:
        end(w, which,
            (struct verdict_evidence){
                .stop = STOP_HUNG, .hung = "", .has_exit = true, .exit_status = -1, .exit_signal = SIGKILL});
        break;
    case STEPPED_ASIDE:
        w->active[which].run->stepped_aside++;
        end(w, which,
            (struct verdict_evidence){
                .aside = ASIDE_PREEMPT, .stop = STOP_ASIDE, .has_end = true, .end_reason = END_STOPPED});
        break;
    case FAULT:
        fault(w);
        break;
    case WAIT_OVER:
        break;
    }
}

static void check_capacity(struct world *w, const struct sched_machine *m)
{
    int cpus = 0, users[GPUS] = {0}, whole[GPUS] = {0};
    int64_t mib[GPUS] = {0};
    for (size_t i = 0; i < w->busy; i++) {
        const struct sched_holding *h = &w->active[i].holding;
        cpus += h->demand.cpus;
        CHECK(w, __builtin_popcountll(h->gpu_mask) == h->demand.gpus);
        for (int g = 0; g < GPUS; g++)
            if (h->gpu_mask >> g & 1) {
                users[g]++;
                whole[g] += h->demand.gpu_memory_mib == 0;
                mib[g] += h->demand.gpu_memory_mib;
            }
        for (size_t k = 0; k < i; k++)
            CHECK(w, w->active[k].run != w->active[i].run);
    }
    CHECK(w, cpus <= m->cpu_slots);
    for (int g = 0; g < GPUS; g++)
        CHECK(w, (whole[g] == 0 || users[g] == 1) && mib[g] <= m->gpu_memory_mib[g]);
}

static int64_t decide(struct world *w, const struct sched_machine *m)
{
    static struct sched_job jobs[QUEUE_LOOK];
    struct sched_holding held[SLOTS];
    struct sched_launch launches[SLOTS];
    struct sched_yield yields[SLOTS];
    const struct sched_room room = {launches, SLOTS, yields, SLOTS};
    size_t n = w->queued < QUEUE_LOOK ? w->queued : QUEUE_LOOK;
    for (size_t i = 0; i < w->busy; i++) {
        const struct active *a = &w->active[i];
        held[i] = a->holding;
        held[i].leaves = a->leaves_ms > 0;
        held[i].may_yield = a->leaves_ms == 0 && a->hung_at == 0 && w->now > a->began_ms + START_MS;
    }
    for (size_t i = 0; i < n; i++)
        jobs[i] = w->queue[i]->job;
    struct sched_decision d = scheduler_decide(m, held, w->busy, jobs, n, w->now, &room);
    for (size_t i = 0; i < d.yield_count; i++) {
        struct active *a = &w->active[yields[i].holding];
        CHECK(w, a->leaves_ms == 0 && a->holding.priority < jobs[yields[i].job].priority);
        /* it ends the step that it is in, and writes its checkpoint */
        a->leaves_ms = w->now + a->run->step_ms + STEP_ASIDE_MS;
        w->yields++;
    }
    for (size_t i = d.launch_count; i-- > 0;) {
        struct run *r = w->queue[launches[i].job];
        CHECK(w, r->state == RUN_QUEUED && r->job.not_before_ms <= w->now && w->busy < SLOTS);
        w->active[w->busy++] = (struct active){
            .run = r,
            .holding = {.demand = r->job.demand, .gpu_mask = launches[i].gpu_mask, .priority = r->job.priority},
            .began_ms = w->now,
            .resume = r->checkpoint};
        r->state = RUN_RUNNING;
        r->attempts++;
        w->queued--;
        memmove(&w->queue[launches[i].job], &w->queue[launches[i].job + 1],
                (w->queued - launches[i].job) * sizeof(*w->queue));
    }
    return d.next_due_ms;
}

static void live(uint32_t seed)
{
    struct sched_machine m = {.cpu_slots = SLOTS, .gpu_count = GPUS};
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->seed = seed;
    w->rng = seed;
    w->runs = calloc(RUNS, sizeof *w->runs);
    assert_non_null(w->runs);
    for (int g = 0; g < GPUS; g++)
        m.gpu_memory_mib[g] = 80000;
    make_runs(w);
    w->next_fault_ms = waiting_time(w, DAY_MS / FAULTS_PER_DAY);
    int64_t due = INT64_MAX;
    while (w->ended < RUNS) {
        next_event(w, due);
        due = decide(w, &m);
        check_capacity(w, &m);
        CHECK(w, (double)w->now < MONTH_MS);
    }
    CHECK(w, w->queued == 0 && w->busy == 0);
    int bad = 0, most = 0;
    for (int i = 0; i < RUNS; i++) {
        const struct run *r = &w->runs[i];
        bad += r->bad_step > 0;
        most = r->attempts > most ? r->attempts : most;
        CHECK(w, r->state == (r->bad_step > 0 ? RUN_FAILED : RUN_FINISHED));
    }
    CHECK(w, w->failed == bad);
    CHECK(w, w->faults > 10000 && w->hangs > 100 && w->reboots > 100 && w->yields > 100);
    print_message("seed %u: %.1f days, %d faults (%d hangs, %d reboots), %d times made room, %d failed, at most %d "
                  "attempts\n",
                  seed, (double)w->now / DAY_MS, w->faults, w->hangs, w->reboots, w->yields, w->failed, most);
    free(w->runs);
    free(w);
}

static void test_months(void **state)
{
    (void)state;
    const char *seed = getenv("BAKA_SEED");
    if (seed != NULL)
        live((uint32_t)strtoul(seed, NULL, 10));
    for (uint32_t s = 1; s <= 2 && seed == NULL; s++)
        live(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_months)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
