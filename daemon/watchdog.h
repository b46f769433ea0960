/* watchdog.h: how long a worker may bring nothing new, by what it is about to do. Pure: records and passed time in, "it
 * hangs" out; no clock, no I/O.
 *
 * What counts is progress: a start, a step not recorded before, an evaluation or checkpoint of another step, an end. A
 * process that lives, writes half lines, repeats itself or keeps a GPU busy makes none.
 *
 * The phase follows from the last record and the spec: before the `start` and until the first step START; after a step
 * EVALUATION where one is due, CHECKPOINT where one is certain, else STEP; after the `end` EXIT. The budget of a phase
 * is WATCHDOG_FACTOR times what the run itself was seen to need for it lately, at least the floor and at most the
 * ceiling (but never less than three times what is usual, so that no honest run is killed for being slow). For what was
 * not seen yet an estimate from the run's own figures stands in. A checkpoint that may come by time adds its budget to
 * a step's.
 *
 * Time is given in small passes by who watches; a pass counts for a second at most, so that a machine that slept, a
 * daemon that was stopped or a clock that jumped is no silence of the worker's.
 */
#ifndef BAKA_DAEMON_WATCHDOG_H
#define BAKA_DAEMON_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

enum watchdog_phase { WATCHDOG_START, WATCHDOG_STEP, WATCHDOG_EVALUATION, WATCHDOG_CHECKPOINT, WATCHDOG_EXIT };
/* "start", "step", ... */
const char *watchdog_phase_word(enum watchdog_phase phase);

enum { WATCHDOG_FACTOR = 10, WATCHDOG_LEAST_FACTOR = 3, WATCHDOG_MAX_PASS_MS = 1000 };

struct watchdog_limits {
    double start_s;            /* until the first record, and from there to the first step beside what that takes */
    double floor_s, ceiling_s; /* of every other phase */
};

/* Milliseconds, by records; 0: none seen. */
struct watchdog_usual {
    double step_ms, evaluation_ms, checkpoint_ms;
};

/* What the `start` tells of the work to come; 0: not known. */
struct watchdog_work {
    double flops_per_step, peak_flops; /* peak: the device's rate */
    double memory_bytes;               /* no checkpoint is larger */
    double tokens_per_epoch;
    bool evaluates_first; /* before the first step */
    bool steps;           /* false: a job, which records its result alone */
};

/* Progress that the journal brought since the last call. */
struct watchdog_news {
    bool started, ended;
    struct watchdog_work work; /* when started, or adopted */
    int64_t steps, last_step;  /* new ones; the newest of all */
    double slowest_step_ms, tok_s;
    bool evaluated, checkpointed;
    int64_t evaluated_step, checkpointed_step;
    double evaluation_ms, checkpoint_ms;
    /* after last_step, by the spec and what was asked of the worker */
    bool evaluation_due, checkpoint_due, checkpoint_possible;
};

struct watchdog {
    struct watchdog_limits limits;
    struct watchdog_usual usual;
    struct watchdog_work work;
    enum watchdog_phase phase;
    bool started, stepped, checkpoint_possible;
    int64_t evaluated_step, checkpointed_step; /* -1: none */
    double tok_s;
    double silent_ms;
};

/* At each start, resume and adoption: nothing of the silence before counts. */
void watchdog_init(struct watchdog *w, const struct watchdog_limits *limits, const struct watchdog_usual *usual);
/* A worker that has recorded its start is adopted; `where` says what it has recorded so far (with started unset), times
 * apart. */
void watchdog_adopt(struct watchdog *w, const struct watchdog_news *where);
/* True when it was progress. */
bool watchdog_hear(struct watchdog *w, const struct watchdog_news *news);
double watchdog_budget_s(const struct watchdog *w);
/* True when the budget of the phase is used up. */
bool watchdog_pass(struct watchdog *w, uint64_t elapsed_ms);

#endif
