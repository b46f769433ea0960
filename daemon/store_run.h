/* store_run.h: runs, their tags, requests and events. Any thread that owns the connection; functions that change
 * something need the writer and a transaction. Times are Unix milliseconds. Results are the caller's to free with the
 * function named. ERR_NOT_FOUND, ERR_CONFLICT (the run is in another state) and those of the database: ERR_NO_SPACE,
 * ERR_IO, ERR_DAMAGED, ERR_NO_MEMORY, ERR_INTERNAL.
 */
#ifndef BAKA_DAEMON_STORE_RUN_H
#define BAKA_DAEMON_STORE_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/path.h"
#include "base/sha256.h"
#include "daemon/queue.h"
#include "daemon/store.h"

enum { STORE_ID_SIZE = 24, STORE_PAGE_MAX = 200, STORE_UNKNOWN = -1 };

/* "b00012" */
void store_id_text(int64_t id, char out[STORE_ID_SIZE]);
bool store_id_parse(const char *text, int64_t *out);

/* A number that may be unknown (API: null), and may be NaN or infinite when known. */
struct store_real {
    bool known;
    double value;
};

enum store_kind { KIND_TRAIN, KIND_IMPORT, KIND_EVAL, KIND_SAMPLE };
const char *store_kind_word(enum store_kind kind);
bool store_kind_is_job(enum store_kind kind); /* of a run's model: eval, sample */

struct store_run {
    int64_t id;
    char id_text[STORE_ID_SIZE], name[NAME_SIZE], spec_hash[SHA256_HEX_SIZE] /* "" for imports */, data[NAME_SIZE];
    enum store_kind kind;
    enum run_state state;
    char *reason; /* "" when there is none */
    char *tags;   /* sorted, joined by ','; "" when there are none */
    int64_t priority, cpus, gpus, gpu_memory /* MiB, 0: whole */;
    int64_t attempts; /* claimed so far */
    int64_t step, total_steps, tokens_per_epoch, steps_per_epoch, tokens, params, peak_memory_bytes; /* STORE_UNKNOWN */
    struct store_real epoch, flops_per_token, train_loss /* mean over the last 1/20 epoch */, last_loss, val_loss,
        best_val_loss, tok_s, step_ms, mfu /* the last three over the newest steps of that window */, energy_j;
    int64_t created_ms, started_ms, ended_ms; /* STORE_UNKNOWN */
    int64_t ran_ms;                           /* by its finished attempts */
    int64_t running_since_ms;                 /* STORE_UNKNOWN: no attempt runs */
    int64_t nondeterminism;                   /* steps that came out otherwise when replayed */
    int64_t skipped_steps /* by train.on_nonfinite */, missing_steps /* reached, recorded by no attempt */;
    int64_t at_step; /* of the newest attempt, which may be behind `step`; STORE_UNKNOWN */
    int64_t source;  /* of a job: the run whose model it is; STORE_UNKNOWN */
    bool cancelling;
    enum run_aside aside;     /* asked to step aside */
    int64_t checkpoint_bytes; /* by the plan; STORE_UNKNOWN */
    /* the supervisor's */
    int64_t not_before_ms, no_progress /* attempts in a row */, crash_step, crash_count;
    int64_t micro_batch, micro_batch_limit; /* of the newest start, of the next one; 0: none */
};
void store_run_finish(struct store_run *r);          /* frees what it holds */
void store_runs_free(struct store_run *r, size_t n); /* and the array */

/* --- making ------------------------------------------------------------------------------------------------------ */

struct store_new_run {
    const char *name, *spec, *spec_hash, *data; /* spec: JSON text of the whole spec */
    int64_t priority, cpus, gpus, gpu_memory;
    int64_t total_steps, params; /* from the plan; STORE_UNKNOWN */
    int64_t checkpoint_bytes;    /* the same; 0 of a job, which has none */
    struct store_real flops_per_token;
    enum store_kind kind;
    int64_t source;         /* of a job */
    const char *parameters; /* of a job: its JSON */
};
/* All or none. ids (n of them) are filled in order. A request_id (may be NULL: no protection) that was seen before
 * makes nothing: *repeated becomes true and ids are the first ones' (ERR_CONFLICT when their number differs from n). */
int store_submit(struct store_conn *c, const char *request_id, const struct store_new_run *runs, size_t n,
                 const char *const *tags, size_t tag_count, int64_t now_ms, int64_t *ids, bool *repeated,
                 struct err *err);
/* The runs that a request made; ERR_NOT_FOUND when it was never seen. Caller frees *ids. */
int store_request_runs(struct store_conn *c, const char *request_id, int64_t **ids, size_t *n, struct err *err);

struct store_import_row {
    int64_t step, tokens;
    double epoch, loss, val_loss;
    bool has_val_loss;
};
/* A foreign curve as a finished run. Steps must ascend (ERR_INVALID, path "rows[i]"). As store_submit for request_id.
 */
int store_import(struct store_conn *c, const char *request_id, const char *name, const char *const *tags,
                 size_t tag_count, const struct store_import_row *rows, size_t n, int64_t now_ms, int64_t *id,
                 bool *repeated, struct err *err);

/* --- reading ----------------------------------------------------------------------------------------------------- */

int store_run_get(struct store_conn *c, int64_t id, struct store_run *out, struct err *err);
int store_run_spec(struct store_conn *c, int64_t id, char **spec, struct err *err); /* "" for imports; caller frees */
/* An id, else the newest run of that name; jobs go by their id alone. */
int store_resolve(struct store_conn *c, const char *ref, int64_t *id, struct err *err);
/* An id, else the newest run of that name, else all runs with that tag, oldest first. Caller frees *ids. */
int store_resolve_list(struct store_conn *c, const char *ref, int64_t **ids, size_t *n, struct err *err);

struct store_filter {
    bool by_state;
    enum run_state state;
    const char *tag; /* NULL: any */
    const char *ref; /* NULL: any; as store_resolve_list, nothing found: an empty page */
    int64_t after;   /* id; 0: from the first */
    int limit;       /* 1..STORE_PAGE_MAX */
};
/* In ascending order of id. *next: the `after` of the next page, 0 when this is the last. */
int store_run_list(struct store_conn *c, const struct store_filter *f, struct store_run **out, size_t *n, int64_t *next,
                   struct err *err);
int store_count_states(struct store_conn *c, int64_t counts[RUN_STATES], struct err *err); /* imports not counted */

/* --- changing ---------------------------------------------------------------------------------------------------- */

/* ERR_CONFLICT unless the run is in `from` and `to` may follow it. A final state sets ended_ms and ends cancelling. */
int store_run_transition(struct store_conn *c, int64_t id, enum run_state from, enum run_state to, const char *reason,
                         int64_t now_ms, struct err *err);
/* queued, blocked, paused: cancelled at once. starting, running: marked as cancelling (again is fine), the caller stops
 * its worker. Else ERR_CONFLICT. *state is the state after. */
int store_run_cancel(struct store_conn *c, int64_t id, int64_t now_ms, enum run_state *state, struct err *err);
/* failed, diverged, stopped, cancelled: queued, the supervisor's counters at 0. Else ERR_CONFLICT. */
int store_run_retry(struct store_conn *c, int64_t id, int64_t now_ms, struct err *err);
/* What the supervisor keeps between attempts. Used with the transition back to queued, in the same job. */
struct store_backoff {
    int64_t not_before_ms, no_progress, crash_step, crash_count, micro_batch_limit;
};
int store_run_set_backoff(struct store_conn *c, int64_t id, const struct store_backoff *b, struct err *err);

/* --- events ------------------------------------------------------------------------------------------------------ */

struct store_event {
    int64_t time_ms, attempt /* 0: none */;
    char *kind, *from, *to, *text; /* from and to "" unless kind is "state" */
};
/* Kinds made by the store: submitted, imported, state, cancel_requested, attempt_ended, numerics_changed,
 * nondeterminism, replay_drift, journal_damaged, journal_unknown, missing_steps, note. Others may be added. */
int store_event_add(struct store_conn *c, int64_t id, int64_t attempt, const char *kind, const char *text,
                    int64_t now_ms, struct err *err);
/* The newest `limit`, oldest first. */
int store_events(struct store_conn *c, int64_t id, int limit, struct store_event **out, size_t *n, struct err *err);
void store_events_free(struct store_event *e, size_t n);

#endif
