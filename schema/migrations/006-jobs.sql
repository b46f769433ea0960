-- Evaluations and samples are queued like training runs: two more kinds of run, and what they are asked in a table of
-- its own. SQLite changes a CHECK only by making the table anew; bakad turns foreign keys off while it migrates, so that
-- dropping the old one takes nothing with it.

DROP VIEW run_row;

CREATE TABLE runs_of_any_kind (
    id                INTEGER PRIMARY KEY,
    name              TEXT NOT NULL,
    kind              TEXT NOT NULL CHECK (kind IN ('train', 'import', 'eval', 'sample')),
    state             TEXT NOT NULL CHECK (state IN ('queued', 'blocked', 'starting', 'running', 'paused', 'finished',
                                                     'stopped', 'failed', 'diverged', 'cancelled')),
    reason            TEXT NOT NULL DEFAULT '',
    spec_hash         TEXT NOT NULL,
    data              TEXT NOT NULL,
    priority          INTEGER NOT NULL,
    cpus              INTEGER NOT NULL,
    gpus              INTEGER NOT NULL,
    gpu_memory        INTEGER NOT NULL,               -- MiB a GPU, 0: the whole GPU
    created_ms        INTEGER NOT NULL,
    started_ms        INTEGER,
    ended_ms          INTEGER,
    cancelling        INTEGER NOT NULL DEFAULT 0 CHECK (cancelling IN (0, 1)),
    attempts          INTEGER NOT NULL DEFAULT 0,
    ran_ms            INTEGER NOT NULL DEFAULT 0,
    running_since_ms  INTEGER,
    peak_memory       INTEGER,
    not_before_ms     INTEGER NOT NULL DEFAULT 0,
    no_progress       INTEGER NOT NULL DEFAULT 0,
    crash_step        INTEGER NOT NULL DEFAULT 0,
    crash_count       INTEGER NOT NULL DEFAULT 0,
    step              INTEGER,
    total_steps       INTEGER,
    tokens_per_epoch  INTEGER,
    steps_per_epoch   INTEGER,
    epoch             ANY,
    tokens            INTEGER,
    params            INTEGER,
    flops_per_token   ANY,
    train_loss        ANY,
    last_loss         ANY,
    val_loss          ANY,
    best_val_loss     ANY,
    tok_s             ANY,
    step_ms           ANY,
    nondeterminism    INTEGER NOT NULL DEFAULT 0,
    mfu               REAL,
    energy_j          REAL,
    micro_batch       INTEGER NOT NULL DEFAULT 0,
    micro_batch_limit INTEGER NOT NULL DEFAULT 0,
    skipped_steps     INTEGER NOT NULL DEFAULT 0,
    missing_steps     INTEGER NOT NULL DEFAULT 0,
    -- last, because it is long and lists leave it out
    spec              TEXT NOT NULL
) STRICT;

INSERT INTO runs_of_any_kind (id, name, kind, state, reason, spec_hash, data, priority, cpus, gpus, gpu_memory,
                              created_ms, started_ms, ended_ms, cancelling, attempts, ran_ms, running_since_ms,
                              peak_memory, not_before_ms, no_progress, crash_step, crash_count, step, total_steps,
                              tokens_per_epoch, steps_per_epoch, epoch, tokens, params, flops_per_token, train_loss,
                              last_loss, val_loss, best_val_loss, tok_s, step_ms, nondeterminism, mfu, energy_j,
                              micro_batch, micro_batch_limit, skipped_steps, missing_steps, spec)
SELECT id, name, kind, state, reason, spec_hash, data, priority, cpus, gpus, gpu_memory, created_ms, started_ms,
       ended_ms, cancelling, attempts, ran_ms, running_since_ms, peak_memory, not_before_ms, no_progress, crash_step,
       crash_count, step, total_steps, tokens_per_epoch, steps_per_epoch, epoch, tokens, params, flops_per_token,
       train_loss, last_loss, val_loss, best_val_loss, tok_s, step_ms, nondeterminism, mfu, energy_j, micro_batch,
       micro_batch_limit, skipped_steps, missing_steps, spec
FROM runs;

DROP TABLE runs;
ALTER TABLE runs_of_any_kind RENAME TO runs;

CREATE INDEX runs_by_state ON runs (state, id, kind);
CREATE INDEX runs_by_name ON runs (name, id);
CREATE INDEX runs_queue ON runs (priority DESC, id) WHERE state = 'queued';

-- What a run of kind eval or sample is asked for, beside its spec, which is that of its source as it computes under it.
CREATE TABLE jobs (
    run        INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    source     INTEGER NOT NULL REFERENCES runs (id), -- whose model it is
    checkpoint TEXT NOT NULL DEFAULT '',              -- of the source, chosen at the launch; '': not yet
    parameters TEXT NOT NULL                          -- canonical JSON, schema/job.h
) STRICT;

CREATE INDEX jobs_by_source ON jobs (source, run);

CREATE VIEW run_row AS
SELECT id, name, kind, state, reason, spec_hash, data, priority, cpus, gpus, gpu_memory, created_ms, started_ms,
       ended_ms, cancelling, attempts, ran_ms, running_since_ms, peak_memory, not_before_ms, no_progress, crash_step, crash_count,
       step, total_steps, tokens_per_epoch, epoch, tokens, params, flops_per_token, train_loss, last_loss, val_loss,
       best_val_loss, tok_s, step_ms, nondeterminism,
       (SELECT group_concat(tag) FROM tags WHERE run = runs.id) AS tags, mfu, energy_j, micro_batch,
       micro_batch_limit, skipped_steps, missing_steps,
       (SELECT last_step FROM attempts WHERE run = runs.id AND n = runs.attempts) AS at_step,
       (SELECT source FROM jobs WHERE run = runs.id) AS source
FROM runs;
