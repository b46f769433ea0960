/* supervisor_aside.c: workers that the supervisor itself asks to step aside: the reason is recorded first, so that the
 * next daemon and the attempt's end know it, then the worker is told. */
#include "daemon/supervisor_internal.h"

#include <stdlib.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "daemon/store_aside.h"
#include "daemon/stream.h"

/* The attempt may end, and another one of its run begin, before the store has answered. */
struct request {
    struct store_job job;
    struct supervisor *supervisor;
    int64_t run, attempt;
    enum run_aside why;
    char text[160];
};

bool aside_is_possible(const struct supervised *a)
{
    return a->phase == PHASE_ALIVE && a->journal_started && a->source == STORE_UNKNOWN && a->stop == STOP_NONE &&
           a->aside == ASIDE_NONE && !a->cancelling && a->terminate_at == 0;
}

bool aside_leaves(const struct supervised *a)
{
    return !a->stuck && (a->aside != ASIDE_NONE || a->cancelling || a->stop != STOP_NONE || a->has_end ||
                         a->phase == PHASE_DRAINING || a->phase == PHASE_ENDING);
}

static int run_mark(struct store_conn *c, void *arg, struct err *err)
{
    struct request *r = arg;
    return store_run_step_aside(c, r->run, r->why, r->text, clock_wall_ms(), err);
}

static void on_marked(void *arg, int rc, const struct err *err)
{
    struct request *r = arg;
    struct supervisor *s = r->supervisor;
    if (rc != 0 && rc != -ERR_CONFLICT) /* it ended, or somebody else asked */
        log_event(LOG_LEVEL_WARN, "step_aside_unrecorded", "error=\"%s\"", err->message);
    for (struct supervised *a = s->active; a != NULL && !s->stopping; a = a->next) {
        if (a->run != r->run || a->attempt != r->attempt || a->aside != r->why || a->phase != PHASE_ALIVE)
            continue;
        if (rc == 0)
            watch_step_aside(a);
        else
            a->aside = ASIDE_NONE;
        stream_run_changed(s->bakad->streams, a->run);
    }
    if (rc != 0 && !s->stopping)
        supervisor_wake_in(s, RETRY_MS);
    free(r);
}

void aside_begin(struct supervised *a, enum run_aside why, const char *text)
{
    struct supervisor *s = a->supervisor;
    struct request *r = calloc(1, sizeof *r);
    if (r == NULL) {
        supervisor_wake_in(s, RETRY_MS);
        return;
    }
    *r = (struct request){.supervisor = s, .run = a->run, .attempt = a->attempt, .why = why};
    snprintf(r->text, sizeof r->text, "%s", text);
    a->aside = why; /* not asked twice */
    r->job = (struct store_job){.run = run_mark, .done = on_marked, .arg = r};
    store_write(s->bakad->store, &r->job);
}
