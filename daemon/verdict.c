/* verdict.c: from the strongest evidence to the weakest: a journal that says finished, a request of ours, the journal's
 * own reason, the keeper's exit.json, and silence. */
#include "daemon/verdict.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void say(char *out, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void say(char *out, size_t size, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(out, size, format, ap);
    va_end(ap);
}

#define OUTCOME(v, ...) say((v)->outcome, sizeof(v)->outcome, __VA_ARGS__)
#define REASON(v, ...) say((v)->reason, sizeof(v)->reason, __VA_ARGS__)

/* Signals that a program does to itself. The others come from outside. */
static bool is_own_signal(int signal)
{
    return signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL || signal == SIGABRT ||
           signal == SIGSYS || signal == SIGTRAP || signal == SIGXFSZ;
}

static int64_t backoff_ms(int64_t n)
{
    return n <= 0 ? 0 : n > 9 ? VERDICT_MAX_BACKOFF_MS : (int64_t)100 << (n - 1);
}

/* A step that the run had not seen before, or a checkpoint beyond the one it began from. Steps done once more are none:
 * a run that is killed at the same place each time would go on for ever. */
static bool progressed(const struct verdict_evidence *e)
{
    return (e->last_step > e->furthest && e->last_step > e->resume_step) || e->checkpoint_step > e->resume_step;
}

/* Back to the queue: at once after progress, else with growing patience, at last not at all. */
static void again(const struct verdict_evidence *e, struct verdict *v)
{
    v->no_progress = progressed(e) ? 0 : e->no_progress + 1;
    v->backoff_ms = backoff_ms(v->no_progress);
    v->to = RUN_QUEUED;
    if (v->no_progress >= VERDICT_MAX_NO_PROGRESS) {
        struct verdict last = *v;
        v->to = RUN_FAILED;
        REASON(v, "%d attempts in a row without progress; the last: %.500s", VERDICT_MAX_NO_PROGRESS, last.reason);
    }
}

/* Back to the queue for as long as it takes: the wait is not the run's fault and never brings it to its limit. */
static void wait_for_better(const struct verdict_evidence *e, struct verdict *v)
{
    int64_t n = progressed(e) ? 0 : e->no_progress;
    v->to = RUN_QUEUED;
    v->no_progress = n < 10 ? n + 1 : n;
    v->backoff_ms = n < 6 ? (int64_t)VERDICT_WAIT_MS << n : VERDICT_MAX_WAIT_MS;
}

static void crashed(const struct verdict_evidence *e, struct verdict *v)
{
    v->crash_step = e->last_step;
    v->crash_count = e->crash_count > 0 && e->crash_step == e->last_step ? e->crash_count + 1 : 1;
    again(e, v);
    if (v->crash_count >= VERDICT_MAX_CRASHES) {
        struct verdict last = *v;
        v->to = RUN_FAILED;
        REASON(v, "crashed or hung %lld times after step %lld: %.500s", (long long)v->crash_count,
               (long long)v->crash_step, last.reason);
    }
}

/* A run that has computed a step stays as it is. A first start whose micro-batch was the plan's choice may become
 * smaller; what cannot is waited for, since the plan fits the device: others have its memory. */
static void out_of_gpu_memory(const struct verdict_evidence *e, struct verdict *v)
{
    bool first = e->last_step == 0 && e->furthest == 0 && e->checkpoint_step == 0;
    if (!first || !e->micro_batch_auto || e->micro_batch <= 1) {
        wait_for_better(e, v);
        return;
    }
    v->micro_batch_limit = e->micro_batch / 2;
    REASON(v, "oom_gpu with micro_batch %lld, the next start takes at most %lld: %.400s", (long long)e->micro_batch,
           (long long)v->micro_batch_limit, e->text);
}

static void decide_by_end(const struct verdict_evidence *e, struct verdict *v)
{
    const char *word = journal_end_reason_word(e->end_reason);
    const char *text = e->text[0] != '\0' ? e->text : word;
    OUTCOME(v, "%s", word);
    REASON(v, "%s", text);
    switch (e->end_reason) {
    case END_FINISHED:
        v->to = RUN_FINISHED;
        v->reason[0] = '\0';
        break;
    case END_STOPPED:
        OUTCOME(v, "interrupted");
        REASON(v, "the worker was told to stop by somebody else; it resumes");
        again(e, v);
        break;
    case END_DIVERGED:
        v->to = RUN_DIVERGED;
        break;
    case END_BAD_SPEC:
    case END_BAD_DATA:
        v->to = RUN_FAILED;
        REASON(v, "%s: %s", word, text);
        break;
    case END_BAD_CHECKPOINT:
        v->mark_checkpoint_bad = true;
        v->to = RUN_QUEUED;
        v->no_progress = e->no_progress + 1;
        if (v->no_progress >= VERDICT_MAX_NO_PROGRESS)
            again(e, v);
        break;
    case END_DISK_FULL:
        REASON(v, "disk full: %s", text);
        wait_for_better(e, v);
        break;
    case END_OOM_GPU:
        REASON(v, "%s: %s", word, text);
        out_of_gpu_memory(e, v);
        break;
    default:
        REASON(v, "%s: %s", word, text);
        crashed(e, v);
    }
}

/* Nothing that the run did: however often it comes, it is no crash. */
static void no_room(const struct verdict_evidence *e, struct verdict *v)
{
    OUTCOME(v, "%s", journal_end_reason_word(END_DISK_FULL));
    REASON(v, "disk full: the worker had no room %s", e->last_step > e->resume_step ? "for its last word" : "to begin");
    wait_for_better(e, v);
}

static void decide_by_exit(const struct verdict_evidence *e, struct verdict *v)
{
    if (!e->has_exit && e->rebooted) {
        OUTCOME(v, "reboot");
        REASON(v, "the machine was started anew while it ran; it resumes");
        again(e, v);
    } else if (!e->has_exit) {
        OUTCOME(v, "lost");
        REASON(v, "the worker is gone without a word (killed with its keeper)");
        again(e, v);
    } else if (e->exit_status < 0 && !is_own_signal(e->exit_signal)) {
        const char *name = sigabbrev_np(e->exit_signal);
        OUTCOME(v, "killed: SIG%s", name != NULL ? name : "?");
        REASON(v, "killed from outside by signal %d (SIG%s)", e->exit_signal, name != NULL ? name : "?");
        again(e, v);
    } else {
        const char *name = e->exit_status < 0 ? sigabbrev_np(e->exit_signal) : NULL;
        if (e->exit_status < 0)
            OUTCOME(v, "crashed: SIG%s", name != NULL ? name : "?");
        else
            OUTCOME(v, "crashed: exit %d", e->exit_status);
        if (e->exit_status < 0)
            REASON(v, "crashed by signal %d (SIG%s); see the log", e->exit_signal, name != NULL ? name : "?");
        else
            REASON(v, "ended with status %d and without its last word; see the log", e->exit_status);
        crashed(e, v);
    }
}

void verdict_decide(const struct verdict_evidence *e, struct verdict *out)
{
    struct verdict v = {.to = RUN_QUEUED,
                        .no_progress = e->no_progress,
                        .crash_step = e->crash_step,
                        .crash_count = e->crash_count,
                        .micro_batch_limit = e->micro_batch_limit};
    if (e->has_end && e->end_reason == END_FINISHED)
        decide_by_end(e, &v);
    else if (e->cancelling) {
        OUTCOME(&v, "cancelled");
        REASON(&v, "cancelled by request");
        v.to = RUN_CANCELLED;
    } else if (e->directory_gone != NULL) {
        OUTCOME(&v, "directory gone");
        REASON(&v,
               "its directory was deleted or moved while it ran: %.400s; retry goes on from a checkpoint that is "
               "there, or begins anew",
               e->directory_gone);
        v.to = RUN_FAILED;
    } else if ((e->aside != ASIDE_NONE || e->stop == STOP_ASIDE) &&
               (e->never_started || (e->has_end && e->end_reason == END_STOPPED)) && e->stop != STOP_HUNG &&
               e->stop != STOP_TIME_LIMIT) {
        OUTCOME(&v, "stepped aside");
        REASON(&v, "%s", e->aside != ASIDE_NONE ? run_aside_reason(e->aside) : "resumed while it stepped aside");
    } else if (e->never_started) {
        OUTCOME(&v, "not started");
        REASON(&v, "the daemon ended before it could start the worker");
    } else if (e->launch_failed) {
        OUTCOME(&v, "not started");
        REASON(&v, "%s: %s", e->no_room ? "disk full" : "the worker could not be started", e->text);
        if (e->launch_waits)
            wait_for_better(e, &v);
        else
            again(e, &v);
    } else if (e->stop == STOP_TIME_LIMIT && (!e->has_end || e->end_reason == END_STOPPED)) {
        OUTCOME(&v, "stopped");
        REASON(&v, "time limit of %.15g s reached", e->time_limit_s);
        v.to = RUN_STOPPED;
    } else if (e->stop == STOP_HUNG && (!e->has_end || e->end_reason == END_STOPPED)) {
        OUTCOME(&v, "hung");
        REASON(&v, "hung: %.500s", e->hung);
        crashed(e, &v);
    } else if (e->has_end)
        decide_by_end(e, &v);
    else if (e->no_room)
        no_room(e, &v);
    else
        decide_by_exit(e, &v);
    if (e->aside == ASIDE_PAUSE && v.to == RUN_QUEUED) /* however it ended: it does not go on by itself */
        v.to = RUN_PAUSED;
    *out = v;
}
