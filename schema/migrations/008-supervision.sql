-- What the supervisor has to know of a run beside its spec: when its evaluations are due, and why it was asked to
-- checkpoint and step aside, which outlives the daemon that asked.

ALTER TABLE runs ADD COLUMN step_aside TEXT NOT NULL DEFAULT ''
    CHECK (step_aside IN ('', 'pause', 'queue', 'preempt', 'disk'));

ALTER TABLE runs ADD COLUMN checkpoint_bytes INTEGER; -- by the plan; NULL: not known

-- What was set for the daemon as a whole while it ran.
CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

DROP VIEW run_row;
CREATE VIEW run_row AS
SELECT id, name, kind, state, reason, spec_hash, data, priority, cpus, gpus, gpu_memory, created_ms, started_ms,
       ended_ms, cancelling, attempts, ran_ms, running_since_ms, peak_memory, not_before_ms, no_progress, crash_step, crash_count,
       step, total_steps, tokens_per_epoch, epoch, tokens, params, flops_per_token, train_loss, last_loss, val_loss,
       best_val_loss, tok_s, step_ms, nondeterminism,
       (SELECT group_concat(tag) FROM tags WHERE run = runs.id) AS tags, mfu, energy_j, micro_batch,
       micro_batch_limit, skipped_steps, missing_steps,
       (SELECT last_step FROM attempts WHERE run = runs.id AND n = runs.attempts) AS at_step,
       (SELECT source FROM jobs WHERE run = runs.id) AS source, steps_per_epoch, step_aside, checkpoint_bytes
FROM runs;
