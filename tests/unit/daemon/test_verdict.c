/* Each line of the failure policy, and the limits: 50 attempts without progress, three crashes at one step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <string.h>
#include <cmocka.h>
#include "daemon/verdict.h"

static struct verdict decide(struct verdict_evidence e)
{
    struct verdict v;
    if (e.text == NULL)
        e.text = "";
    verdict_decide(&e, &v);
    return v;
}

static struct verdict_evidence ended(enum journal_end_reason reason)
{
    return (struct verdict_evidence){
        .has_exit = true, .exit_status = reason > END_STOPPED, .has_end = true, .end_reason = reason, .last_step = 5};
}

static void test_ends(void **state)
{
    (void)state;
    static const struct {
        enum journal_end_reason reason;
        enum run_state to;
    } rows[] = {{END_FINISHED, RUN_FINISHED},    {END_STOPPED, RUN_QUEUED},           {END_DIVERGED, RUN_DIVERGED},
                {END_BAD_SPEC, RUN_FAILED},      {END_BAD_DATA, RUN_FAILED},          {END_BAD_CHECKPOINT, RUN_QUEUED},
                {END_DISK_FULL, RUN_QUEUED},     {END_OOM_HOST, RUN_QUEUED},          {END_OOM_GPU, RUN_QUEUED},
                {END_BACKEND_ERROR, RUN_QUEUED}, {END_SILENT_CORRUPTION, RUN_QUEUED}, {END_INTERNAL_ERROR, RUN_QUEUED}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct verdict v = decide(ended(rows[i].reason));
        assert_int_equal(v.to, rows[i].to);
        assert_int_equal(v.mark_checkpoint_bad, rows[i].reason == END_BAD_CHECKPOINT);
        assert_true(v.outcome[0] != '\0');
        /* the request of a user wins over everything but the finish */
        struct verdict_evidence e = ended(rows[i].reason);
        e.cancelling = true;
        assert_int_equal(decide(e).to, rows[i].reason == END_FINISHED ? RUN_FINISHED : RUN_CANCELLED);
    }
}

static void test_time_limit(void **state)
{
    (void)state;
    struct verdict_evidence e = ended(END_STOPPED);
    e.stop = STOP_TIME_LIMIT;
    e.time_limit_s = 90;
    struct verdict v = decide(e);
    assert_int_equal(v.to, RUN_STOPPED);
    assert_string_equal(v.reason, "time limit of 90 s reached");
    e.has_end = false; /* had to be killed */
    e.exit_status = -1;
    e.exit_signal = SIGKILL;
    assert_int_equal(decide(e).to, RUN_STOPPED);
    e = ended(END_DIVERGED);
    e.stop = STOP_TIME_LIMIT;
    assert_int_equal(decide(e).to, RUN_DIVERGED);
    e = ended(END_FINISHED);
    e.stop = STOP_TIME_LIMIT;
    assert_int_equal(decide(e).to, RUN_FINISHED);
}

static void test_outside_kills_resume(void **state)
{
    (void)state;
    static const int signals[] = {SIGKILL, SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < 4; i++) {
        struct verdict_evidence e = {
            .has_exit = true, .exit_status = -1, .exit_signal = signals[i], .resume_step = 4, .last_step = 5};
        struct verdict v = decide(e);
        assert_int_equal(v.to, RUN_QUEUED);
        assert_int_equal(v.backoff_ms, 0);
        assert_int_equal(v.crash_count, 0);
    }
    struct verdict_evidence lost = {.resume_step = 4, .last_step = 4};
    int64_t last = 0;
    for (int n = 1; n < VERDICT_MAX_NO_PROGRESS; n++) {
        struct verdict v = decide(lost);
        assert_int_equal(v.to, RUN_QUEUED);
        assert_int_equal(v.no_progress, n);
        assert_true(v.backoff_ms >= last && v.backoff_ms <= VERDICT_MAX_BACKOFF_MS);
        assert_true(n > 1 || v.backoff_ms == 100);
        last = v.backoff_ms;
        lost.no_progress = v.no_progress;
    }
    assert_int_equal(last, VERDICT_MAX_BACKOFF_MS);
    assert_int_equal(decide(lost).to, RUN_FAILED);
    lost.last_step = 5; /* progress forgives everything */
    assert_int_equal(decide(lost).to, RUN_QUEUED);
    assert_int_equal(decide(lost).no_progress, 0);
}

/* Told apart from a lost worker, and no crash however often it comes. */
static void test_reboot(void **state)
{
    (void)state;
    struct verdict_evidence e = {
        .rebooted = true, .resume_step = 4, .last_step = 7, .furthest = 7, .crash_step = 7, .crash_count = 2};
    for (int n = 1; n < VERDICT_MAX_NO_PROGRESS; n++) {
        struct verdict v = decide(e);
        assert_int_equal(v.to, RUN_QUEUED);
        assert_string_equal(v.outcome, "reboot");
        assert_int_equal(v.crash_count, 2);
        e.no_progress = v.no_progress;
    }
    assert_int_equal(decide(e).to, RUN_FAILED); /* one that takes the machine down each time does not for ever */
    e.has_exit = true;                          /* it had ended before */
    e.exit_status = -1;
    e.exit_signal = SIGSEGV;
    assert_string_equal(decide(e).outcome, "crashed: SIGSEGV");
}

static void test_progress(void **state)
{
    (void)state;
    struct verdict_evidence e = {.resume_step = 5, .last_step = 7, .furthest = 7, .checkpoint_step = 5};
    assert_int_equal(decide(e).no_progress, 1); /* the same two steps again */
    assert_int_equal(decide(e).backoff_ms, 100);
    e.last_step = 8;
    assert_int_equal(decide(e).no_progress, 0);
    e.last_step = 7;
    e.checkpoint_step = 6;
    assert_int_equal(decide(e).no_progress, 0);
}

/* Three of a kind at step 0 are a bug, unless there was no room: then they are no crash at all. */
static void test_no_room_is_no_crash(void **state)
{
    (void)state;
    struct verdict_evidence rows[] = {
        {.has_exit = true, .exit_status = JOURNAL_EXIT_NO_SPACE, .no_room = true},
        {.no_room = true}, /* no room for exit.json either */
        {.has_exit = true, .exit_status = -1, .exit_signal = SIGBUS, .no_room = true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int n = 0; n < 3 * VERDICT_MAX_NO_PROGRESS; n++) {
            struct verdict v = decide(rows[i]);
            assert_int_equal(v.to, RUN_QUEUED);
            assert_int_equal(v.crash_count, 0);
            assert_int_equal(v.backoff_ms, n < 6 ? VERDICT_WAIT_MS << n : VERDICT_MAX_WAIT_MS);
            assert_string_equal(v.outcome, "disk_full");
            assert_string_equal(v.reason, "disk full: the worker had no room to begin");
            rows[i].no_progress = v.no_progress;
        }
    rows[0].last_step = 7;
    assert_string_equal(decide(rows[0]).reason, "disk full: the worker had no room for its last word");
}

static void test_crashes(void **state)
{
    (void)state;
    struct verdict_evidence e = {.has_exit = true, .exit_status = -1, .exit_signal = SIGSEGV, .last_step = 7};
    for (int n = 1; n <= 3; n++) {
        struct verdict v = decide(e);
        assert_int_equal(v.crash_count, n);
        assert_int_equal(v.to, n < 3 ? RUN_QUEUED : RUN_FAILED);
        e.crash_count = v.crash_count;
        e.crash_step = v.crash_step;
    }
    e.last_step = 8; /* another place */
    assert_int_equal(decide(e).crash_count, 1);
    assert_int_equal(decide(e).to, RUN_QUEUED);
    struct verdict_evidence status = {.has_exit = true, .exit_status = 0, .last_step = 0};
    assert_int_equal(decide(status).crash_count, 1); /* status 0 without an end is a crash too */
    assert_string_equal(decide(status).outcome, "crashed: exit 0");
}

/* A turned bit is bad luck; three of them at one step are no bits. */
static void test_silent_corruption(void **state)
{
    (void)state;
    struct verdict_evidence e = ended(END_SILENT_CORRUPTION);
    e.last_step = 9;
    e.text = "step 10 was done twice";
    for (int n = 1; n <= 3; n++) {
        struct verdict v = decide(e);
        assert_int_equal(v.to, n < 3 ? RUN_QUEUED : RUN_FAILED);
        assert_string_equal(v.outcome, "silent_corruption");
        assert_non_null(strstr(v.reason, "silent_corruption: step 10 was done twice"));
        e.crash_count = v.crash_count;
        e.crash_step = v.crash_step;
    }
}

static void test_never_started(void **state)
{
    (void)state;
    struct verdict v = decide((struct verdict_evidence){.never_started = true, .no_progress = 3});
    assert_int_equal(v.to, RUN_QUEUED);
    assert_int_equal(v.no_progress, 3);
    assert_int_equal(v.backoff_ms, 0);
    v = decide((struct verdict_evidence){.launch_failed = true, .text = "no such file"});
    assert_int_equal(v.to, RUN_QUEUED);
    assert_int_equal(v.no_progress, 1);
    assert_non_null(strstr(v.reason, "no such file"));
}

/* No room, no worker program: with growing patience, and never to the limit. */
static void test_waits_for_better(void **state)
{
    (void)state;
    struct verdict_evidence rows[] = {
        ended(END_DISK_FULL),
        {.launch_failed = true, .launch_waits = true, .text = "no space"},
    };
    rows[0].resume_step = rows[0].furthest = rows[0].last_step;
    for (size_t i = 0; i < 2; i++) {
        struct verdict_evidence e = rows[i];
        for (int n = 0; n < 3 * VERDICT_MAX_NO_PROGRESS; n++) {
            struct verdict v = decide(e);
            assert_int_equal(v.to, RUN_QUEUED);
            assert_int_equal(v.backoff_ms, n < 6 ? VERDICT_WAIT_MS << n : VERDICT_MAX_WAIT_MS);
            e.no_progress = v.no_progress;
        }
        e.last_step++; /* there was room meanwhile */
        assert_int_equal(decide(e).backoff_ms, VERDICT_WAIT_MS);
        assert_int_equal(decide(e).to, RUN_QUEUED);
    }
    assert_non_null(strstr(decide(rows[0]).reason, "disk full"));
}

/* A first start that computed nothing is halved, at once and down to 1; then, and in every other case, it waits. */
static void test_gpu_memory(void **state)
{
    (void)state;
    struct verdict_evidence first = ended(END_OOM_GPU);
    first.last_step = 0;
    first.micro_batch_auto = true;
    first.text = "no room";
    static const int64_t halves[] = {12, 6, 3, 1};
    for (int i = 0; i < 3; i++) {
        first.micro_batch = halves[i];
        struct verdict v = decide(first);
        assert_int_equal(v.to, RUN_QUEUED);
        assert_int_equal(v.micro_batch_limit, halves[i + 1]);
        assert_int_equal(v.backoff_ms, 0);
        assert_int_equal(v.crash_count, 0);
        first.micro_batch_limit = v.micro_batch_limit;
    }
    struct verdict_evidence waits[6];
    for (int i = 0; i < 6; i++) {
        waits[i] = first;
        waits[i].micro_batch = 8;
        waits[i].micro_batch_limit = 8;
    }
    waits[0].micro_batch = 1;
    waits[1].micro_batch = 0; /* before it had a plan */
    waits[2].micro_batch_auto = false;
    waits[3].last_step = 5;
    waits[4].furthest = 5; /* an earlier attempt began the curve with this micro-batch */
    waits[5].checkpoint_step = waits[5].resume_step = waits[5].last_step = 5;
    for (int i = 0; i < 6; i++) {
        for (int n = 0; n < 3 * VERDICT_MAX_NO_PROGRESS; n++) {
            struct verdict v = decide(waits[i]);
            assert_int_equal(v.to, RUN_QUEUED);
            assert_int_equal(v.micro_batch_limit, waits[i].micro_batch_limit);
            assert_true(v.backoff_ms >= VERDICT_WAIT_MS);
            assert_string_equal(v.reason, "oom_gpu: no room");
            waits[i].no_progress = v.no_progress;
        }
    }
    struct verdict_evidence host = first;
    host.end_reason = END_OOM_HOST;
    host.crash_count = VERDICT_MAX_CRASHES - 1;
    struct verdict v = decide(host);
    assert_int_equal(v.to, RUN_FAILED); /* as a crash */
    assert_non_null(strstr(v.reason, "oom_host: no room"));
    assert_int_equal(v.micro_batch_limit, first.micro_batch_limit);
}

static void test_directory_gone(void **state)
{
    (void)state;
    struct verdict_evidence e = ended(END_INTERNAL_ERROR);
    e.directory_gone = "/somewhere/attempts/1";
    struct verdict v = decide(e);
    assert_int_equal(v.to, RUN_FAILED);
    assert_non_null(strstr(v.reason, e.directory_gone));
    e.never_started = true; /* nothing of it is left to see */
    assert_int_equal(decide(e).to, RUN_FAILED);
    e.cancelling = true;
    assert_int_equal(decide(e).to, RUN_CANCELLED);
    e = ended(END_FINISHED); /* everything is recorded */
    e.directory_gone = "/somewhere/attempts/1";
    assert_int_equal(decide(e).to, RUN_FINISHED);
}

/* As a crash: three times at one step is final; what the worker said last, or that it had to be killed, changes
 * nothing. */
static void test_hung(void **state)
{
    (void)state;
    struct verdict_evidence rows[] = {{.has_exit = true, .exit_status = -1, .exit_signal = SIGKILL},
                                      {.has_end = true, .end_reason = END_STOPPED},
                                      {.no_room = true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct verdict_evidence e = rows[i];
        e.stop = STOP_HUNG;
        e.hung = "nothing new for 300 s";
        e.last_step = 7;
        for (int n = 1; n <= 3; n++) {
            struct verdict v = decide(e);
            assert_string_equal(v.outcome, "hung");
            assert_non_null(strstr(v.reason, "nothing new for 300 s"));
            assert_int_equal(v.to, n < 3 ? RUN_QUEUED : RUN_FAILED);
            e.crash_count = v.crash_count;
            e.crash_step = v.crash_step;
        }
        e.cancelling = true;
        assert_int_equal(decide(e).to, RUN_CANCELLED);
    }
    struct verdict_evidence e = ended(END_DIVERGED); /* it came to its end after all */
    e.stop = STOP_HUNG;
    e.hung = "";
    assert_int_equal(decide(e).to, RUN_DIVERGED);
    e.end_reason = END_FINISHED;
    assert_int_equal(decide(e).to, RUN_FINISHED);
}

/* Who steps aside as asked loses nothing and is not blamed; who is paused stays so however the attempt ended. */
static void test_steps_aside(void **state)
{
    (void)state;
    for (int why = ASIDE_PAUSE; why < RUN_ASIDES; why++) {
        struct verdict_evidence e = ended(END_STOPPED);
        e.aside = (enum run_aside)why;
        e.stop = STOP_ASIDE;
        e.no_progress = 3;
        e.resume_step = e.last_step; /* no step was done */
        struct verdict v = decide(e);
        enum run_state waits = why == ASIDE_PAUSE ? RUN_PAUSED : RUN_QUEUED;
        assert_int_equal(v.to, waits);
        assert_int_equal(v.no_progress, 3);
        assert_int_equal(v.backoff_ms, 0);
        assert_string_equal(v.reason, run_aside_reason((enum run_aside)why));
        e.stop = STOP_NONE; /* asked by an earlier daemon */
        assert_int_equal(decide(e).to, waits);
        e = (struct verdict_evidence){.never_started = true, .aside = (enum run_aside)why};
        assert_int_equal(decide(e).to, waits);
        e = (struct verdict_evidence){.aside = (enum run_aside)why}; /* killed over it */
        assert_int_equal(decide(e).to, waits);
        assert_string_equal(decide(e).outcome, "lost");
        e = ended(END_FINISHED);
        e.aside = (enum run_aside)why;
        assert_int_equal(decide(e).to, RUN_FINISHED);
        e = ended(END_BAD_DATA);
        e.aside = (enum run_aside)why;
        assert_int_equal(decide(e).to, RUN_FAILED);
        e = ended(END_STOPPED);
        e.aside = (enum run_aside)why;
        e.cancelling = true;
        assert_int_equal(decide(e).to, RUN_CANCELLED);
    }
    struct verdict_evidence back = ended(END_STOPPED); /* resumed before it had ended */
    back.stop = STOP_ASIDE;
    assert_int_equal(decide(back).to, RUN_QUEUED);
    assert_string_equal(decide(back).outcome, "stepped aside");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_time_limit),
        cmocka_unit_test(test_outside_kills_resume),
        cmocka_unit_test(test_no_room_is_no_crash),
        cmocka_unit_test(test_crashes),
        cmocka_unit_test(test_silent_corruption),
        cmocka_unit_test(test_never_started),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_reboot),
        cmocka_unit_test(test_waits_for_better),
        cmocka_unit_test(test_gpu_memory),
        cmocka_unit_test(test_directory_gone),
        cmocka_unit_test(test_hung),
        cmocka_unit_test(test_steps_aside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
