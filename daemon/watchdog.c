/* watchdog.c: see watchdog.h for what is watched and why. */
#include "daemon/watchdog.h"

#include <math.h>
#include <stddef.h>

/* Slower than any device that baka runs on: arithmetic of a step where the device's own rate is not known, the share of
 * a known rate that even a tiny model reaches, and bytes a second of a disk. */
#define SLOWEST_FLOPS 1e9
#define LEAST_SHARE 1e-3
#define SLOWEST_DISK 5e6
/* How much of a maximum is left after one more record, and how fast it may grow: one stall that was survived must not
 * stretch what is taken for usual by more. */
#define STEP_DECAY 0.99
#define OTHER_DECAY 0.8
#define MAX_GROWTH 4

const char *watchdog_phase_word(enum watchdog_phase phase)
{
    static const char *const words[] = {[WATCHDOG_START] = "start",
                                        [WATCHDOG_STEP] = "step",
                                        [WATCHDOG_EVALUATION] = "evaluation",
                                        [WATCHDOG_CHECKPOINT] = "checkpoint",
                                        [WATCHDOG_EXIT] = "exit"};
    return words[phase];
}

void watchdog_init(struct watchdog *w, const struct watchdog_limits *limits, const struct watchdog_usual *usual)
{
    *w = (struct watchdog){.limits = *limits,
                           .usual = *usual,
                           .work = {.steps = true},
                           .phase = WATCHDOG_START,
                           .evaluated_step = -1,
                           .checkpointed_step = -1};
    if (w->limits.ceiling_s < w->limits.floor_s)
        w->limits.ceiling_s = w->limits.floor_s;
}

/* What the worker is about to do. */
static void settle(struct watchdog *w, const struct watchdog_news *n)
{
    w->checkpoint_possible = n->checkpoint_possible && w->checkpointed_step < n->last_step;
    if (n->ended)
        w->phase = WATCHDOG_EXIT;
    else if (w->started && !w->work.steps)
        w->phase = WATCHDOG_EVALUATION;
    else if (n->evaluation_due && w->evaluated_step < n->last_step)
        w->phase = WATCHDOG_EVALUATION;
    else if (n->checkpoint_due && w->checkpointed_step < n->last_step)
        w->phase = WATCHDOG_CHECKPOINT;
    else
        w->phase = w->stepped ? WATCHDOG_STEP : WATCHDOG_START;
    w->silent_ms = 0;
}

void watchdog_adopt(struct watchdog *w, const struct watchdog_news *where)
{
    w->started = true;
    w->stepped = where->steps > 0;
    w->work = where->work;
    w->tok_s = where->tok_s;
    settle(w, where);
}

/* The slowest of late. */
static void learn(double *usual_ms, double ms, double decay, int64_t records)
{
    if (!(ms >= 0) || !isfinite(ms))
        return;
    double old = *usual_ms * pow(decay, (double)records);
    if (*usual_ms > 0 && ms > MAX_GROWTH * *usual_ms)
        ms = MAX_GROWTH * *usual_ms;
    *usual_ms = ms > old ? ms : old;
}

bool watchdog_hear(struct watchdog *w, const struct watchdog_news *n)
{
    bool new_evaluation = n->evaluated && n->evaluated_step != w->evaluated_step;
    bool new_checkpoint = n->checkpointed && n->checkpointed_step != w->checkpointed_step;
    bool progress = n->started || n->steps > 0 || new_evaluation || new_checkpoint || n->ended;
    if (!progress)
        return false;
    if (n->started) {
        w->started = true;
        w->work = n->work;
    }
    if (n->steps > 0) {
        w->stepped = true;
        learn(&w->usual.step_ms, n->slowest_step_ms, STEP_DECAY, n->steps);
        w->tok_s = n->tok_s;
    }
    if (new_evaluation) {
        w->evaluated_step = n->evaluated_step;
        learn(&w->usual.evaluation_ms, n->evaluation_ms, OTHER_DECAY, 1);
    }
    if (new_checkpoint) {
        w->checkpointed_step = n->checkpointed_step;
        learn(&w->usual.checkpoint_ms, n->checkpoint_ms, OTHER_DECAY, 1);
    }
    settle(w, n);
    return true;
}

/* Seconds for what usually takes usual_ms, or, unseen, about as long as the estimate. */
static double budget(const struct watchdog *w, double usual_ms, double estimate_s)
{
    double s = usual_ms > 0 ? WATCHDOG_FACTOR * usual_ms / 1e3 : estimate_s;
    double least = WATCHDOG_LEAST_FACTOR * usual_ms / 1e3;
    if (!(s > w->limits.floor_s)) /* a NaN too */
        s = w->limits.floor_s;
    if (s > w->limits.ceiling_s)
        s = w->limits.ceiling_s;
    return s > least ? s : least;
}

static double step_budget(const struct watchdog *w)
{
    double rate = w->work.peak_flops > 0 ? LEAST_SHARE * w->work.peak_flops : SLOWEST_FLOPS;
    return budget(w, w->usual.step_ms, w->work.flops_per_step / rate);
}

/* A validation split has hardly more tokens than an epoch, and no backward pass. Before the first step, and for a job,
 * nothing is known. */
static double evaluation_budget(const struct watchdog *w)
{
    return budget(w, w->usual.evaluation_ms, w->tok_s > 0 ? w->work.tokens_per_epoch / w->tok_s : INFINITY);
}

static double checkpoint_budget(const struct watchdog *w)
{
    return budget(w, w->usual.checkpoint_ms, w->work.memory_bytes / SLOWEST_DISK);
}

double watchdog_budget_s(const struct watchdog *w)
{
    switch (w->phase) {
    case WATCHDOG_START:
        if (!w->started)
            return w->limits.start_s;
        return w->limits.start_s + step_budget(w) + (w->work.evaluates_first ? evaluation_budget(w) : 0);
    case WATCHDOG_STEP:
        return step_budget(w) + (w->checkpoint_possible ? checkpoint_budget(w) : 0);
    case WATCHDOG_EVALUATION:
        return evaluation_budget(w);
    case WATCHDOG_CHECKPOINT:
        return checkpoint_budget(w);
    case WATCHDOG_EXIT:
        break;
    }
    return w->limits.floor_s;
}

bool watchdog_pass(struct watchdog *w, uint64_t elapsed_ms)
{
    w->silent_ms += elapsed_ms < WATCHDOG_MAX_PASS_MS ? (double)elapsed_ms : WATCHDOG_MAX_PASS_MS;
    return w->silent_ms >= 1e3 * watchdog_budget_s(w);
}
