/* queue.h: the states of a run and which may follow which. Pure; words are those of the database and the API.
 *
 *            submit                    journal `start`
 *   blocked ──────► queued ──► starting ──────────► running ──► finished
 *      ▲ ◄────────── │ ▲ ▲        │                  │ │ │ └──► stopped, diverged, failed, cancelled
 *                    │ │ └────────┴── interrupted ───┘ ▼
 *                    │ └───────────────────────────► paused
 *                    └──► cancelled, failed          retry: stopped, diverged, failed, cancelled ──► queued
 *
 * `starting` lasts from the claim of an attempt to the journal's `start`; an attempt that ends before its first record
 * leaves `starting` by the same doors as `running`. A queued run is paused at once.
 */
#ifndef BAKA_DAEMON_QUEUE_H
#define BAKA_DAEMON_QUEUE_H

#include <stdbool.h>

enum run_state {
    RUN_QUEUED,
    RUN_BLOCKED,
    RUN_STARTING,
    RUN_RUNNING,
    RUN_PAUSED,
    RUN_FINISHED,
    RUN_STOPPED,
    RUN_FAILED,
    RUN_DIVERGED,
    RUN_CANCELLED,
    RUN_STATES
};

const char *run_state_word(enum run_state state);
/* False when the word is none of the states; out is untouched then. */
bool run_state_parse(const char *word, enum run_state *out);
bool run_state_may_follow(enum run_state from, enum run_state to);
/* An attempt is claimed: a worker may exist. */
bool run_state_is_active(enum run_state state);
/* Nothing happens any more unless somebody asks for it. */
bool run_state_is_final(enum run_state state);
/* `retry` accepts it. */
bool run_state_is_retriable(enum run_state state);

/* Why a run that has a worker was asked to checkpoint and step aside. */
enum run_aside {
    ASIDE_NONE,
    ASIDE_PAUSE,   /* by request: it becomes paused; after all others it goes back to the queue */
    ASIDE_QUEUE,   /* the whole queue is paused */
    ASIDE_PREEMPT, /* for a run of higher priority */
    ASIDE_DISK,    /* little room is left */
    RUN_ASIDES
};
const char *run_aside_word(enum run_aside why); /* "" for none */
bool run_aside_parse(const char *word, enum run_aside *out);
const char *run_aside_reason(enum run_aside why); /* for people */

#endif
