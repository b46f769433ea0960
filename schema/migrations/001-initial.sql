-- The first schema. Times are Unix milliseconds. Booleans are 0 or 1.
--
-- Real columns of type ANY: a number that may be not a number. SQLite turns a bound NaN into NULL, so NaN stands as the
-- text 'nan'; infinities are reals that SQLite keeps. NULL means not known. In blobs doubles and 64-bit integers stand
-- as they are, little-endian, eight bytes each.

CREATE TABLE runs (
    id               INTEGER PRIMARY KEY,
    name             TEXT NOT NULL,
    kind             TEXT NOT NULL CHECK (kind IN ('train', 'import')),
    state            TEXT NOT NULL CHECK (state IN ('queued', 'blocked', 'starting', 'running', 'paused', 'finished',
                                                    'stopped', 'failed', 'diverged', 'cancelled')),
    reason           TEXT NOT NULL DEFAULT '',
    spec_hash        TEXT NOT NULL,
    data             TEXT NOT NULL,
    priority         INTEGER NOT NULL,
    cpus             INTEGER NOT NULL,
    gpus             INTEGER NOT NULL,
    gpu_memory       INTEGER NOT NULL,               -- MiB a GPU, 0: the whole GPU
    created_ms       INTEGER NOT NULL,
    started_ms       INTEGER,
    ended_ms         INTEGER,
    cancelling       INTEGER NOT NULL DEFAULT 0 CHECK (cancelling IN (0, 1)),
    attempts         INTEGER NOT NULL DEFAULT 0,     -- claimed so far
    ran_ms           INTEGER NOT NULL DEFAULT 0,     -- by the attempts that ended
    running_since_ms INTEGER,                        -- set while an attempt runs
    peak_memory      INTEGER,                        -- bytes, most of all attempts
    -- what the supervisor keeps between attempts
    not_before_ms    INTEGER NOT NULL DEFAULT 0,
    no_progress      INTEGER NOT NULL DEFAULT 0,
    crash_step       INTEGER NOT NULL DEFAULT 0,
    crash_count      INTEGER NOT NULL DEFAULT 0,
    -- what a list shows, kept by ingest so that no list reads steps
    step             INTEGER,
    total_steps      INTEGER,
    tokens_per_epoch INTEGER,
    steps_per_epoch  INTEGER,
    epoch            ANY,
    tokens           INTEGER,
    params           INTEGER,
    flops_per_token  ANY,
    train_loss       ANY,                            -- mean over the last 1/20 epoch
    last_loss        ANY,
    val_loss         ANY,
    best_val_loss    ANY,
    tok_s            ANY,
    step_ms          ANY,
    nondeterminism   INTEGER NOT NULL DEFAULT 0,
    -- last, because it is long and lists leave it out
    spec             TEXT NOT NULL
) STRICT;

CREATE INDEX runs_by_state ON runs (state, id, kind);
CREATE INDEX runs_by_name ON runs (name, id);
CREATE INDEX runs_queue ON runs (priority DESC, id) WHERE state = 'queued';

CREATE TABLE tags (
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    tag TEXT NOT NULL,
    PRIMARY KEY (run, tag)
) STRICT, WITHOUT ROWID;

CREATE INDEX tags_by_tag ON tags (tag, run);

-- Which runs a client's request made: asked again, it gets the same.
CREATE TABLE requests (
    request TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    run     INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    PRIMARY KEY (request, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX requests_by_run ON requests (run);

CREATE TABLE attempts (
    run             INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    n               INTEGER NOT NULL CHECK (n >= 1),
    active          INTEGER NOT NULL CHECK (active IN (0, 1)),
    pid             INTEGER NOT NULL DEFAULT 0,      -- the keeper's, with its start time in clock ticks since boot
    start_time      INTEGER NOT NULL DEFAULT 0,
    boot_id         TEXT NOT NULL DEFAULT '',
    gpu_mask        INTEGER NOT NULL,
    resume          TEXT NOT NULL,
    resume_step     INTEGER NOT NULL,
    last_step       INTEGER NOT NULL,                -- resume_step until there is a step
    journal_offset  INTEGER NOT NULL DEFAULT 0,
    started         INTEGER NOT NULL DEFAULT 0 CHECK (started IN (0, 1)),
    journal_damaged INTEGER NOT NULL DEFAULT 0 CHECK (journal_damaged IN (0, 1)),
    nondeterminism  INTEGER NOT NULL DEFAULT 0,      -- replayed steps that came out otherwise
    drift           INTEGER NOT NULL DEFAULT 0,      -- the same under another numerics id, beyond the tolerance
    numerics_id     TEXT NOT NULL DEFAULT '',
    device          TEXT NOT NULL DEFAULT '',
    threads         INTEGER,
    memory_bytes    INTEGER,
    end_reason      TEXT NOT NULL DEFAULT '',        -- word of its journal's end
    end_text        TEXT NOT NULL DEFAULT '',
    outcome         TEXT NOT NULL DEFAULT '',
    claimed_ms      INTEGER NOT NULL,
    ended_ms        INTEGER,
    exit_status     INTEGER,
    exit_signal     INTEGER,
    maxrss_bytes    INTEGER,
    PRIMARY KEY (run, n)
) STRICT, WITHOUT ROWID;

CREATE INDEX attempts_active ON attempts (run, n) WHERE active = 1;

CREATE TABLE events (
    id         INTEGER PRIMARY KEY,
    run        INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    time_ms    INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,                     -- 0: none
    kind       TEXT NOT NULL,
    from_state TEXT NOT NULL,
    to_state   TEXT NOT NULL,
    text       TEXT NOT NULL
) STRICT;

CREATE INDEX events_by_run ON events (run, id);

CREATE TABLE evals (
    run           INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    step          INTEGER NOT NULL,
    split         TEXT NOT NULL,
    attempt       INTEGER NOT NULL,
    tokens        INTEGER NOT NULL,
    epoch         ANY NOT NULL,
    loss          ANY NOT NULL,
    perplexity    ANY,
    bits_per_byte ANY,
    predictions   INTEGER NOT NULL,
    ms            ANY,
    PRIMARY KEY (run, step, split, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
    run     INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    step    INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    path    TEXT NOT NULL,                           -- relative to the run directory
    bytes   INTEGER NOT NULL,
    mark    TEXT NOT NULL CHECK (mark IN ('good', 'bad', 'pruned')),
    PRIMARY KEY (run, step, attempt)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX checkpoints_by_path ON checkpoints (run, path);

-- The newest steps of an attempt: fewer than 4,096, without a gap. The rest stands in chunks.
CREATE TABLE steps_tail (
    run       INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    attempt   INTEGER NOT NULL,
    step      INTEGER NOT NULL,
    tokens    INTEGER NOT NULL,
    epoch     ANY NOT NULL,
    loss      ANY NOT NULL,
    lr        ANY NOT NULL,
    grad_norm ANY NOT NULL,
    ms        ANY NOT NULL,
    tok_s     ANY NOT NULL,
    PRIMARY KEY (run, attempt, step)
) STRICT, WITHOUT ROWID;

-- n steps, first_step to last_step. `step` is NULL when there is no gap, as in all that a journal brings; an import may
-- have recorded every tenth step. The columns that comparing reads come first: SQLite reads a long row only as far as
-- it must. loss_min, loss_max and loss_sum are over the finite losses, nonfinite counts the others.
CREATE TABLE steps_chunk (
    id         INTEGER PRIMARY KEY,
    run        INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    attempt    INTEGER NOT NULL,
    first_step INTEGER NOT NULL,
    last_step  INTEGER NOT NULL,
    n          INTEGER NOT NULL CHECK (n > 0),
    nonfinite  INTEGER NOT NULL,
    loss_min   REAL,
    loss_max   REAL,
    loss_sum   REAL NOT NULL,
    loss       BLOB NOT NULL,
    tokens     BLOB NOT NULL,
    epoch      BLOB NOT NULL,
    lr         BLOB NOT NULL,
    grad_norm  BLOB NOT NULL,
    ms         BLOB NOT NULL,
    tok_s      BLOB NOT NULL,
    step       BLOB
) STRICT;

CREATE UNIQUE INDEX steps_chunk_by_step ON steps_chunk (run, attempt, first_step, last_step, n);

-- A run as lists and pages show it.
CREATE VIEW run_row AS
SELECT id, name, kind, state, reason, spec_hash, data, priority, cpus, gpus, gpu_memory, created_ms, started_ms,
       ended_ms, cancelling, attempts, ran_ms, running_since_ms, peak_memory, not_before_ms, no_progress, crash_step, crash_count,
       step, total_steps, tokens_per_epoch, epoch, tokens, params, flops_per_token, train_loss, last_loss, val_loss,
       best_val_loss, tok_s, step_ms, nondeterminism,
       (SELECT group_concat(tag) FROM tags WHERE run = runs.id) AS tags
FROM runs;

CREATE VIEW attempt_row AS
SELECT run, n, active, pid, start_time, boot_id, gpu_mask, resume, resume_step, last_step, journal_offset, started,
       journal_damaged, numerics_id, device, threads, memory_bytes, end_reason, end_text, outcome, claimed_ms, ended_ms,
       exit_status, exit_signal, maxrss_bytes
FROM attempts;
