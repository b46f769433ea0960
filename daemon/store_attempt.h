/* store_attempt.h: attempts, checkpoints, and what scheduler and supervisor need to see. Rules as in store_run.h. */
#ifndef BAKA_DAEMON_STORE_ATTEMPT_H
#define BAKA_DAEMON_STORE_ATTEMPT_H

#include "daemon/store_run.h"

enum { STORE_PATH_SIZE = 64, STORE_BOOT_ID_SIZE = 40 };

struct store_attempt {
    int64_t run, n;
    bool active;             /* claimed and not ended */
    int64_t pid, start_time; /* the keeper's; 0: not known yet */
    char boot_id[STORE_BOOT_ID_SIZE];
    uint64_t gpu_mask;
    char resume[STORE_PATH_SIZE]; /* "checkpoints/120-a1", "" : from the beginning */
    int64_t resume_step;          /* by its journal once started, else by the claim */
    int64_t last_step;            /* resume_step when it recorded none */
    int64_t journal_offset;       /* bytes of its journal that are in the store */
    bool started;                 /* its journal's `start` was seen */
    bool journal_damaged;
    char numerics_id[SHA256_HEX_SIZE]; /* "" until started */
    char device[64];
    int64_t threads, memory_bytes; /* STORE_UNKNOWN until started */
    struct store_real peak_flops;
    char end_reason[32]; /* the word of its journal's `end`, "" without one */
    char *end_text;
    char *outcome;                                  /* "" while active */
    int64_t claimed_ms, ended_ms;                   /* STORE_UNKNOWN */
    int64_t exit_status, exit_signal, maxrss_bytes; /* STORE_UNKNOWN */
};
void store_attempts_free(struct store_attempt *a, size_t n);

/* queued → starting, with the next attempt: *n. resume is "" or a checkpoint of this run. */
int store_attempt_claim(struct store_conn *c, int64_t run, const char *resume, int64_t resume_step, uint64_t gpu_mask,
                        int64_t now_ms, int64_t *n, struct err *err);
/* The keeper's identity. */
int store_attempt_spawned(struct store_conn *c, int64_t run, int64_t n, int64_t pid, int64_t start_time,
                          const char *boot_id, struct err *err);

struct store_attempt_end {
    const char *outcome; /* one or a few words: "finished", "crashed: signal 11", "lost", ... */
    int64_t exit_status, exit_signal, maxrss_bytes; /* STORE_UNKNOWN */
};
/* Ends the attempt, adds its time and memory to the run, seals its tail of steps. Does not change the run's state: call
 * store_run_transition in the same job. ERR_CONFLICT when it has ended before. */
int store_attempt_finish(struct store_conn *c, int64_t run, int64_t n, const struct store_attempt_end *end,
                         int64_t now_ms, struct err *err);

int store_attempt_get(struct store_conn *c, int64_t run, int64_t n, struct store_attempt *out, struct err *err);
int store_attempts(struct store_conn *c, int64_t run, struct store_attempt **out, size_t *count, struct err *err);
/* Every attempt that is claimed and not ended, with its run (two arrays of equal length). For adoption and slots. */
int store_active(struct store_conn *c, struct store_run **runs, struct store_attempt **attempts, size_t *n,
                 struct err *err);

/* Queued runs by priority (highest first), then id. */
struct store_queued {
    int64_t id, cpus, gpus, gpu_memory, not_before_ms, priority, no_progress;
    bool job;
};
int store_queue(struct store_conn *c, int limit, struct store_queued **out, size_t *n, struct err *err);

/* What the resumes of a run were found to be: the steps that attempts did again, beside what older ones had recorded.
 */
struct store_certificate {
    int64_t resumes;           /* attempts that started after the first that did */
    int64_t replayed, unequal; /* steps done again under an equal numerics id; of these, not equal bit for bit */
    int64_t other, drifted;    /* the same under another id; of these, with a loss beyond REPLAY_TOLERANCE */
};
int store_certificate_get(struct store_conn *c, int64_t run, struct store_certificate *out, struct err *err);

/* --- checkpoints -------------------------------------------------------------------------------------------------- */

enum store_checkpoint_mark { CHECKPOINT_GOOD, CHECKPOINT_BAD, CHECKPOINT_PRUNED };
const char *store_checkpoint_mark_word(enum store_checkpoint_mark mark);

struct store_checkpoint {
    int64_t step, attempt, bytes;
    char path[STORE_PATH_SIZE]; /* relative to the run directory */
    enum store_checkpoint_mark mark;
};
/* All, newest first (step, then attempt). Caller frees. */
int store_checkpoints(struct store_conn *c, int64_t run, struct store_checkpoint **out, size_t *n, struct err *err);
/* The newest that is good; ERR_NOT_FOUND when there is none. */
int store_checkpoint_newest(struct store_conn *c, int64_t run, struct store_checkpoint *out, struct err *err);
int store_checkpoint_set_mark(struct store_conn *c, int64_t run, const char *path, enum store_checkpoint_mark mark,
                              struct err *err);

#endif
