-- MFU, energy and the GPU's health. A step's MFU is not stored: it is its tok_s times the run's flops_per_token over its
-- attempt's peak_flops. The new columns stand behind the spec, which costs lists nothing: with a spec of usual size a row
-- does not leave its page.

ALTER TABLE attempts ADD COLUMN peak_flops REAL;  -- NULL: not known
ALTER TABLE runs ADD COLUMN mfu REAL;             -- over the steps of tok_s
ALTER TABLE runs ADD COLUMN energy_j REAL;        -- of all attempts

-- What the journals' `gpu` records say; NULL means not known. Reals are finite.
CREATE TABLE gpu_samples (
    run             INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    attempt         INTEGER NOT NULL,
    step            INTEGER NOT NULL,
    time_ms         INTEGER NOT NULL,
    memory_used     INTEGER,
    memory_total    INTEGER,
    temperature_c   INTEGER,
    sm_clock_mhz    INTEGER,
    power_w         REAL,
    energy_j        REAL,                            -- since the attempt began
    throttle        TEXT,                            -- words joined by ',', '' for none
    ecc_uncorrected INTEGER,
    xid             INTEGER,                         -- 0: none
    PRIMARY KEY (run, attempt, step, time_ms)
) STRICT, WITHOUT ROWID;

DROP VIEW run_row;
CREATE VIEW run_row AS
SELECT id, name, kind, state, reason, spec_hash, data, priority, cpus, gpus, gpu_memory, created_ms, started_ms,
       ended_ms, cancelling, attempts, ran_ms, running_since_ms, peak_memory, not_before_ms, no_progress, crash_step, crash_count,
       step, total_steps, tokens_per_epoch, epoch, tokens, params, flops_per_token, train_loss, last_loss, val_loss,
       best_val_loss, tok_s, step_ms, nondeterminism,
       (SELECT group_concat(tag) FROM tags WHERE run = runs.id) AS tags, mfu, energy_j
FROM runs;

DROP VIEW attempt_row;
CREATE VIEW attempt_row AS
SELECT run, n, active, pid, start_time, boot_id, gpu_mask, resume, resume_step, last_step, journal_offset, started,
       journal_damaged, numerics_id, device, threads, memory_bytes, end_reason, end_text, outcome, claimed_ms, ended_ms,
       exit_status, exit_signal, maxrss_bytes, peak_flops
FROM attempts;
