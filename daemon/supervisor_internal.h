/* supervisor_internal.h: what the files of the supervisor share. Nobody else includes it. */
#ifndef BAKA_DAEMON_SUPERVISOR_INTERNAL_H
#define BAKA_DAEMON_SUPERVISOR_INTERNAL_H

#include <uv.h>
#include "base/path.h"
#include "daemon/bakad.h"
#include "daemon/executor_local.h"
#include "daemon/ingest.h"
#include "daemon/store_attempt.h"
#include "daemon/supervisor.h"
#include "daemon/verdict.h"
#include "daemon/watchdog.h"
#include "schema/spec.h"

enum {
    TICK_MS = 50,
    RETRY_MS = 1000,   /* after the store refused; the first of a growing patience with a full disk */
    DEAF_STEPS = 32,   /* begun after it was asked to stop: it has not heard */
    LOOK_MS = 1000,    /* between looks whether a run directory is still there */
    STUCK_MS = 5000,   /* after SIGKILL, until a worker that is still there counts as one that cannot be killed */
    QUEUE_LOOK = 1000, /* queued runs that one decision sees */
    FULL_LOOK = 64,    /* and where no slot is free, so that only who preempts is of interest */
    READ_MAX = 1 << 20
};

enum phase {
    PHASE_CLAIMING,  /* store: queued → starting */
    PHASE_PREPARING, /* folders and lock, off the loop; then the spawn */
    PHASE_ADOPTING,  /* a worker of an earlier daemon whose identity is not known yet */
    PHASE_ALIVE,
    PHASE_DRAINING, /* gone; the rest of its journal is being read */
    PHASE_ENDING,   /* the verdict is being recorded */
};

/* One attempt that holds slots, from its claim to its recorded end. */
struct supervised {
    struct supervisor *supervisor;
    struct supervised *next, **link;
    enum phase phase;
    int64_t run, attempt;
    char id[STORE_ID_SIZE], run_dir[PATH_SIZE], attempt_dir[PATH_SIZE];
    struct sched_holding holding;

    /* launch */
    char *spec, *asked /* parameters of a job; NULL: training */;
    int64_t source; /* of a job, else STORE_UNKNOWN */
    char source_dir[PATH_SIZE];
    struct store_checkpoint *checkpoints;
    size_t checkpoint_count;
    char resume[STORE_PATH_SIZE];
    int64_t resume_step, micro_batch_limit;
    int64_t checkpoint_bytes; /* of one, by the newest or the plan */
    int64_t good_checkpoints;
    int lock_fd;
    int launch_rc;
    struct err launch_err;
    char gpu_uuids[1024];
    uv_work_t work;

    /* life */
    uv_process_t process; /* of our own child */
    uv_poll_t poll;       /* pidfd of an adopted one */
    bool has_process, has_poll;
    int handles; /* of the two, not closed yet */
    int pidfd, pid;
    uint64_t start_time;
    int recorded_pid; /* of an adopted one, by the store; 0: none of this boot */
    uint64_t recorded_start, look_at;
    bool cancelling;
    enum run_aside aside;
    int64_t asked_step;         /* the newest step a second later: what was under way is done by then */
    uint64_t asked_at;          /* uv_now */
    bool asked_to_stop;         /* SIGTERM was sent */
    bool asks_after_checkpoint; /* an earlier daemon may have sent one */
    bool never_started, launch_failed, launch_waits; /* evidence */
    int64_t keeper_status;                           /* exit status of our own child */
    enum verdict_stop stop;
    double time_limit_s;
    int64_t ran_before_ms;
    uint64_t alive_since, kill_at; /* uv_now; 0: no */
    unsigned kills;                /* SIGKILLs sent, STUCK_MS apart */

    /* progress: supervisor_hang.c */
    struct watchdog watchdog;
    struct watchdog_usual usual; /* of the run before this attempt */
    struct spec rules;           /* the run's spec */
    int64_t steps_per_epoch, tokens_per_epoch, last_step;
    bool journal_started;
    uint64_t passed_at, terminate_at; /* uv_now; 0: no */
    char hung[320];                   /* in what, for how long */
    int trainer_pid;
    uint64_t trainer_start;
    bool keeper_gone; /* before its trainer, which is being waited for */
    bool stuck;       /* it cannot be killed: its slots and devices stay taken */

    /* journal */
    struct ingest *ingest;
    int journal_fd;
    int64_t offset, torn_end; /* -1, or where the journal ended when nothing of it was a whole line */
    int64_t drain_to;         /* -1; once it is gone, where its journal ended */
    bool busy;                /* a job of this attempt is in the store */
    uint64_t retry_at;        /* after a failure */
    bool damage_told, shortens_log;
    bool no_space; /* the last write of this attempt failed for want of room */
    char *buffer;
    size_t buffer_size;
    struct ingest_news news;
    bool has_end;
    struct journal_end end;
    int64_t total_steps;

    struct store_job job;
    struct verdict verdict;
    char bad_checkpoint[STORE_PATH_SIZE];
};

/* Of a run that is adopted, besides its row. */
struct adopted {
    struct spec rules; /* zeroed where it cannot be read any more */
    struct watchdog_usual usual;
};

struct trouble_run {
    int64_t run;
    bool alive, stuck;
};

/* supervisor_trouble.c */
struct trouble {
    unsigned disk_failures, worker_failures; /* in a row; 0: no trouble */
    uint64_t disk_retry_at, worker_retry_at; /* uv_now */
    bool disk_low;
    int64_t disk_free;
    uint64_t disk_look_at;
    bool worker_missing; /* by a look, not by a launch that was refused */
    char worker[768];
    uv_mutex_t lock; /* for what follows */
    struct trouble_run *runs;
    size_t run_count;
    bool published_disk, published_worker, published_pause, published_low;
};

struct supervisor {
    struct bakad *bakad;
    struct supervised *active;
    int active_count;
    uv_timer_t tick; /* while anything is active */
    uv_timer_t due;  /* the next backoff's end, or the next try after a refusal */
    int handles;     /* of the two, once they close */
    struct trouble trouble;
    bool started, stopping, queue_paused;
    bool deciding, decide_again;
    struct store_job queue_job, adopt_job;
    struct store_queued *queue;
    size_t queue_count;
    int queue_look;
    struct store_run *adopt_runs;
    struct store_attempt *adopt_attempts;
    struct adopted *adopt_known;
    bool adopt_paused;
    bool adopt_again; /* something was asked for while it was being read */
    size_t adopt_count;
};

/* supervisor.c */
/* An attempt of the run is supervised: its slots are taken. */
bool supervisor_has(const struct supervisor *s, int64_t run);
struct supervised *supervised_create(struct supervisor *s, int64_t run);
/* Takes it out of the table and frees it when its handles are closed. */
void supervised_destroy(struct supervised *a);
int supervised_paths(struct supervised *a, struct err *err); /* from run and attempt */
void supervisor_wake_in(struct supervisor *s, int64_t ms);
void supervisor_tick_on(struct supervisor *s);

/* supervisor_trouble.c */
int trouble_init(struct supervisor *s, struct err *err);
void trouble_finish(struct supervisor *s);
void trouble_publish(struct supervisor *s); /* an attempt with no_space left */
void trouble_say(const struct supervisor *s, char out[SUPERVISOR_TROUBLE_SIZE]);
bool trouble_is_on(const struct supervisor *s);
/* A write failed (a may be NULL): milliseconds until the next try. */
uint64_t trouble_store(struct supervisor *s, struct supervised *a, int rc, const struct err *err);
void trouble_store_worked(struct supervisor *s, struct supervised *a);
void trouble_phase_changed(struct supervised *a);
/* The worker program cannot be started, or was. */
void trouble_worker(struct supervisor *s, const struct err *err);
void trouble_worker_worked(struct supervisor *s);
/* Milliseconds for which nothing may be launched; 0: go on. */
uint64_t trouble_before_launch(struct supervisor *s);
void trouble_without_queue(struct supervisor *s); /* nothing waits to be launched */

/* supervisor_launch.c */
void launch_begin(struct supervised *a);

/* supervisor_watch.c */
void watch_alive(struct supervised *a); /* it lives: the handles are set */
void watch_gone(struct supervised *a);  /* it does not: read the rest, then end it */
void watch_adopt(struct supervised *a); /* look whether it lives */
void watch_stop_worker(struct supervised *a, enum verdict_stop why);
void watch_step_aside(struct supervised *a);
void watch_tick(struct supervised *a);

/* supervisor_aside.c */
/* Marks the run in the store, then tells its worker. */
void aside_begin(struct supervised *a, enum run_aside why, const char *text);
/* Whether it may be asked to. */
bool aside_is_possible(const struct supervised *a);
bool aside_leaves(const struct supervised *a);

/* supervisor_disk.c */
bool disk_is_low(struct supervisor *s); /* looks */
void disk_look(struct supervisor *s);   /* now and then: who works steps aside when it is */
/* ERR_NO_SPACE where the run's checkpoints would not find room. */
int disk_preflight(struct supervised *a, struct err *err);

/* supervisor_log.c */
void log_limit(struct supervised *a);

/* supervisor_hang.c */
void hang_watch(struct supervised *a); /* it lives, or was adopted alive */
/* What the journal brought, a->news, was taken. `quiet`, here and below: nothing is left to be read. */
void hang_hear(struct supervised *a, bool quiet);
/* Once a tick: time passed. */
void hang_pass(struct supervised *a, bool quiet);
void hang_pause(struct supervised *a); /* nothing could be read: the time until now says nothing */
void hang_kill(struct supervised *a);  /* SIGKILL, again each STUCK_MS */
void hang_describe(const struct supervised *a, struct supervisor_quarantined *out);
bool hang_trainer_lives(const struct supervised *a);
int hang_read_usual(struct store_conn *c, const struct store_run *run, struct watchdog_usual *out, struct err *err);

/* supervisor_end.c */
void end_begin(struct supervised *a);

/* supervisor_prune.c */
void prune_begin(struct supervisor *s, int64_t run);

#endif
