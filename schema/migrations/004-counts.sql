-- What a run's row tells of its curve besides its end: steps whose update was skipped, and steps that are missing.

ALTER TABLE runs ADD COLUMN skipped_steps INTEGER NOT NULL DEFAULT 0; -- rows of steps_skipped
ALTER TABLE runs ADD COLUMN missing_steps INTEGER NOT NULL DEFAULT 0; -- reached, and recorded by no attempt

-- The steps of a run's curve that train.on_nonfinite skipped.
CREATE TABLE steps_skipped (
    run  INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    PRIMARY KEY (run, step)
) STRICT, WITHOUT ROWID;

-- Until now the worker's notes alone told of them.
INSERT OR IGNORE INTO steps_skipped (run, step)
SELECT run, CAST(substr(text, 6) AS INTEGER)
FROM events WHERE kind = 'note' AND text LIKE 'step %: the % is not finite, the update was skipped';

UPDATE runs SET skipped_steps = (SELECT count(*) FROM steps_skipped WHERE run = runs.id)
WHERE id IN (SELECT run FROM steps_skipped);

-- at_step: where the newest attempt is, which may be computing again what an older one recorded.
DROP VIEW run_row;
CREATE VIEW run_row AS
SELECT id, name, kind, state, reason, spec_hash, data, priority, cpus, gpus, gpu_memory, created_ms, started_ms,
       ended_ms, cancelling, attempts, ran_ms, running_since_ms, peak_memory, not_before_ms, no_progress, crash_step, crash_count,
       step, total_steps, tokens_per_epoch, epoch, tokens, params, flops_per_token, train_loss, last_loss, val_loss,
       best_val_loss, tok_s, step_ms, nondeterminism,
       (SELECT group_concat(tag) FROM tags WHERE run = runs.id) AS tags, mfu, energy_j, micro_batch,
       micro_batch_limit, skipped_steps, missing_steps,
       (SELECT last_step FROM attempts WHERE run = runs.id AND n = runs.attempts) AS at_step
FROM runs;
