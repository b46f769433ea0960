/* queue.c: the table of states. One row a state: its word, what it is, and the set of states that may follow. */
#include "daemon/queue.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#define BIT(state) (1u << (state))

enum { ACTIVE = 1, FINAL = 2 };

static const struct {
    const char *word;
    unsigned kind;
    unsigned next;
} states[RUN_STATES] = {
    [RUN_QUEUED] = {"queued", 0,
                    BIT(RUN_STARTING) | BIT(RUN_BLOCKED) | BIT(RUN_PAUSED) | BIT(RUN_FAILED) | BIT(RUN_CANCELLED)},
    [RUN_BLOCKED] = {"blocked", 0, BIT(RUN_QUEUED) | BIT(RUN_CANCELLED)},
    [RUN_STARTING] = {"starting", ACTIVE,
                      BIT(RUN_RUNNING) | BIT(RUN_QUEUED) | BIT(RUN_PAUSED) | BIT(RUN_FINISHED) | BIT(RUN_STOPPED) |
                          BIT(RUN_FAILED) | BIT(RUN_DIVERGED) | BIT(RUN_CANCELLED)},
    [RUN_RUNNING] = {"running", ACTIVE,
                     BIT(RUN_QUEUED) | BIT(RUN_PAUSED) | BIT(RUN_FINISHED) | BIT(RUN_STOPPED) | BIT(RUN_FAILED) |
                         BIT(RUN_DIVERGED) | BIT(RUN_CANCELLED)},
    [RUN_PAUSED] = {"paused", 0, BIT(RUN_QUEUED) | BIT(RUN_CANCELLED)},
    [RUN_FINISHED] = {"finished", FINAL, 0},
    [RUN_STOPPED] = {"stopped", FINAL, BIT(RUN_QUEUED)},
    [RUN_FAILED] = {"failed", FINAL, BIT(RUN_QUEUED)},
    [RUN_DIVERGED] = {"diverged", FINAL, BIT(RUN_QUEUED)},
    [RUN_CANCELLED] = {"cancelled", FINAL, BIT(RUN_QUEUED)},
};

const char *run_state_word(enum run_state state)
{
    assert((unsigned)state < RUN_STATES);
    return states[state].word;
}

bool run_state_parse(const char *word, enum run_state *out)
{
    for (unsigned i = 0; i < RUN_STATES; i++)
        if (strcmp(states[i].word, word) == 0) {
            *out = (enum run_state)i;
            return true;
        }
    return false;
}

bool run_state_may_follow(enum run_state from, enum run_state to)
{
    assert((unsigned)from < RUN_STATES && (unsigned)to < RUN_STATES);
    return (states[from].next & BIT(to)) != 0;
}

bool run_state_is_active(enum run_state state)
{
    assert((unsigned)state < RUN_STATES);
    return states[state].kind == ACTIVE;
}

bool run_state_is_final(enum run_state state)
{
    assert((unsigned)state < RUN_STATES);
    return states[state].kind == FINAL;
}

bool run_state_is_retriable(enum run_state state)
{
    return run_state_is_final(state) && run_state_may_follow(state, RUN_QUEUED);
}

static const struct {
    const char *word, *reason;
} asides[RUN_ASIDES] = {
    [ASIDE_NONE] = {"", ""},
    [ASIDE_PAUSE] = {"pause", "paused by request"},
    [ASIDE_QUEUE] = {"queue", "the queue is paused"},
    [ASIDE_PREEMPT] = {"preempt", "made room for a run of higher priority"},
    [ASIDE_DISK] = {"disk", "stepped aside for want of room on the disk"},
};

const char *run_aside_word(enum run_aside why)
{
    assert((unsigned)why < RUN_ASIDES);
    return asides[why].word;
}

bool run_aside_parse(const char *word, enum run_aside *out)
{
    for (unsigned i = 0; i < RUN_ASIDES; i++)
        if (strcmp(asides[i].word, word) == 0) {
            *out = (enum run_aside)i;
            return true;
        }
    return false;
}

const char *run_aside_reason(enum run_aside why)
{
    assert((unsigned)why < RUN_ASIDES);
    return asides[why].reason;
}
