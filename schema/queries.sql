-- Every statement that bakad runs after the migrations. schema/compile_sql.py makes an enum and a table of them; a test
-- runs EXPLAIN QUERY PLAN on each. Parameters are numbered. A heading is the statement's name.

-- runs ------------------------------------------------------------------------------------------------------------

-- name: RUN_INSERT
INSERT INTO runs (name, kind, state, spec, spec_hash, data, priority, cpus, gpus, gpu_memory, created_ms, total_steps,
                  params, flops_per_token, checkpoint_bytes)
VALUES (?1, ?13, 'queued', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?14);

-- name: RUN_INSERT_IMPORT
INSERT INTO runs (name, kind, state, spec, spec_hash, data, priority, cpus, gpus, gpu_memory, created_ms, started_ms,
                  ended_ms, attempts, step, total_steps, epoch, tokens, train_loss, last_loss, val_loss, best_val_loss)
VALUES (?1, 'import', 'finished', '', '', '', 0, 0, 0, 0, ?2, ?2, ?2, 1, ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?9);

-- name: RUN_GET
SELECT * FROM run_row WHERE id = ?1;

-- name: RUN_SPEC
SELECT spec FROM runs WHERE id = ?1;

-- name: RUN_STATE
SELECT state FROM runs WHERE id = ?1;

-- name: RUN_EXISTS
SELECT id FROM runs WHERE id = ?1;

-- A job has its run's name and does not stand in front of it.

-- name: RUN_BY_NAME
SELECT id FROM runs WHERE name = ?1 AND kind IN ('train', 'import') ORDER BY id DESC LIMIT 1;

-- name: RUN_LIST
SELECT * FROM run_row WHERE id > ?1 ORDER BY id LIMIT ?2;

-- name: RUN_LIST_STATE
SELECT * FROM run_row WHERE state = ?3 AND id > ?1 ORDER BY id LIMIT ?2;

-- name: RUN_LIST_TAG
SELECT r.* FROM tags t CROSS JOIN run_row r ON r.id = t.run
WHERE t.tag = ?3 AND t.run > ?1
      AND (?4 IS NULL OR r.state = ?4)
      AND (?5 IS NULL OR EXISTS (SELECT 1 FROM tags u WHERE u.run = t.run AND u.tag = ?5))
ORDER BY t.run LIMIT ?2;

-- name: RUN_COUNT_STATES
SELECT state, count(*) FROM runs WHERE kind <> 'import' GROUP BY state;

-- name: RUN_TRANSITION
UPDATE runs
SET state = ?3,
    reason = ?4,
    ended_ms = CASE WHEN ?6 THEN ?5 END,
    cancelling = CASE WHEN ?6 THEN 0 ELSE cancelling END,
    step_aside = CASE WHEN ?3 IN ('starting', 'running') THEN step_aside ELSE '' END
WHERE id = ?1 AND state = ?2;

-- name: RUN_SET_CANCELLING
UPDATE runs SET cancelling = 1 WHERE id = ?1 AND state IN ('starting', 'running') AND cancelling = 0;

-- name: RUN_SET_ASIDE
UPDATE runs SET step_aside = ?2 WHERE id = ?1 AND state IN ('starting', 'running');

-- name: RUN_MAY_STEP_ASIDE
SELECT id FROM runs WHERE state IN ('starting', 'running') AND step_aside = '' AND cancelling = 0;

-- name: RUN_PAUSED
SELECT id FROM runs WHERE state = 'paused' ORDER BY id;

-- name: RUN_SET_PRIORITY
UPDATE runs SET priority = ?2 WHERE id = ?1;

-- name: SETTING_GET
SELECT value FROM settings WHERE name = ?1;

-- name: SETTING_SET
INSERT INTO settings (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: RUN_SET_BACKOFF
UPDATE runs
SET not_before_ms = ?2, no_progress = ?3, crash_step = ?4, crash_count = ?5, micro_batch_limit = ?6
WHERE id = ?1;

-- tags and requests -----------------------------------------------------------------------------------------------

-- name: TAG_INSERT
INSERT OR IGNORE INTO tags (run, tag) VALUES (?1, ?2);

-- name: TAG_HAS
SELECT 1 FROM tags WHERE run = ?1 AND tag = ?2;

-- name: TAG_RUNS
SELECT run FROM tags WHERE tag = ?1 ORDER BY run;

-- name: REQUEST_INSERT
INSERT INTO requests (request, seq, run) VALUES (?1, ?2, ?3);

-- name: REQUEST_RUNS
SELECT run FROM requests WHERE request = ?1 ORDER BY seq;

-- events ----------------------------------------------------------------------------------------------------------

-- name: EVENT_INSERT
INSERT INTO events (run, time_ms, attempt, kind, from_state, to_state, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7);

-- name: EVENT_LIST
SELECT time_ms, attempt, kind, from_state, to_state, text FROM events WHERE run = ?1 ORDER BY id DESC LIMIT ?2;

-- attempts --------------------------------------------------------------------------------------------------------

-- name: ATTEMPT_NEXT
UPDATE runs
SET attempts = attempts + 1, started_ms = coalesce(started_ms, ?2), running_since_ms = ?2
WHERE id = ?1
RETURNING attempts;

-- name: ATTEMPT_INSERT
INSERT INTO attempts (run, n, active, gpu_mask, resume, resume_step, last_step, claimed_ms)
VALUES (?1, ?2, 1, ?3, ?4, ?5, ?5, ?6);

-- name: ATTEMPT_SPAWNED
UPDATE attempts SET pid = ?3, start_time = ?4, boot_id = ?5 WHERE run = ?1 AND n = ?2 AND active = 1;

-- name: ATTEMPT_FINISH
UPDATE attempts
SET active = 0, outcome = ?3, exit_status = ?4, exit_signal = ?5, maxrss_bytes = ?6, ended_ms = max(?7, claimed_ms)
WHERE run = ?1 AND n = ?2 AND active = 1;

-- name: ATTEMPT_FINISH_RUN
UPDATE runs
SET ran_ms = ran_ms + (SELECT a.ended_ms - a.claimed_ms FROM attempts a WHERE a.run = ?1 AND a.n = ?2),
    running_since_ms = NULL,
    peak_memory = max(coalesce(peak_memory, ?3), coalesce(?3, peak_memory))
WHERE id = ?1;

-- name: ATTEMPT_GET
SELECT * FROM attempt_row WHERE run = ?1 AND n = ?2;

-- name: ATTEMPT_LIST
SELECT * FROM attempt_row WHERE run = ?1 ORDER BY n;

-- name: ATTEMPT_ACTIVE
SELECT * FROM attempt_row WHERE active = 1 ORDER BY run, n;

-- name: QUEUE
SELECT id, cpus, gpus, gpu_memory, not_before_ms, priority, kind <> 'train', no_progress FROM runs INDEXED BY runs_queue
WHERE state = 'queued' ORDER BY priority DESC, id LIMIT ?1;

-- checkpoints -----------------------------------------------------------------------------------------------------

-- name: CHECKPOINT_INSERT
INSERT OR REPLACE INTO checkpoints (run, step, attempt, path, bytes, mark) VALUES (?1, ?2, ?3, ?4, ?5, 'good');

-- name: CHECKPOINT_LIST
SELECT step, attempt, bytes, path, mark FROM checkpoints WHERE run = ?1 ORDER BY step DESC, attempt DESC;

-- name: CHECKPOINT_SET_MARK
UPDATE checkpoints SET mark = ?3 WHERE run = ?1 AND path = ?2;

-- evaluations -----------------------------------------------------------------------------------------------------

-- name: EVAL_INSERT
INSERT OR REPLACE INTO evals (run, step, split, attempt, tokens, epoch, loss, perplexity, bits_per_byte, predictions,
                              ms, word_perplexity)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12);

-- Each (step, split) once, from the newest attempt that has it: a bare column beside one max() comes from max's row.

-- name: EVAL_LIST
SELECT step, tokens, max(attempt), epoch, loss, perplexity, bits_per_byte, split, word_perplexity
FROM evals WHERE run = ?1 GROUP BY step, split ORDER BY step, split;

-- name: EVAL_NEWEST
SELECT loss, perplexity, bits_per_byte, word_perplexity
FROM evals
WHERE run = ?1 AND split = 'val' AND step = (SELECT max(step) FROM evals WHERE run = ?1 AND split = 'val')
ORDER BY attempt DESC LIMIT 1;

-- name: EVAL_BEST
SELECT min(loss)
FROM (SELECT loss, max(attempt) FROM evals WHERE run = ?1 AND split = 'val' GROUP BY step);

-- How long the run's evaluations took at most.

-- name: EVAL_LONGEST
SELECT CAST(coalesce(max(ms), 0) AS INTEGER) FROM evals WHERE run = ?1 AND typeof(ms) = 'real';

-- jobs ------------------------------------------------------------------------------------------------------------

-- name: JOB_INSERT
INSERT INTO jobs (run, source, parameters) VALUES (?1, ?2, ?3);

-- name: JOB_GET
SELECT source, checkpoint, parameters FROM jobs WHERE run = ?1;

-- name: JOB_SET_CHECKPOINT
UPDATE jobs SET checkpoint = ?2 WHERE run = ?1;

-- Whether a job that has not ended reads this checkpoint.

-- name: JOB_PINNED
SELECT count(*)
FROM jobs j JOIN runs r ON r.id = j.run
WHERE j.source = ?1 AND j.checkpoint = ?2 AND r.state IN ('queued', 'blocked', 'starting', 'running', 'paused');

-- The evaluation that a job recorded, and all that jobs recorded of a run; from the newest attempt of each, as in EVAL_LIST.

-- name: JOB_EVAL
SELECT j.run, j.checkpoint, j.parameters, max(e.attempt), e.step, e.epoch, e.tokens, e.loss, e.perplexity,
       e.bits_per_byte, e.predictions, e.word_perplexity
FROM jobs j JOIN evals e ON e.run = j.run
WHERE j.run = ?1 GROUP BY j.run;

-- name: JOB_EVALS
SELECT j.run, j.checkpoint, j.parameters, max(e.attempt), e.step, e.epoch, e.tokens, e.loss, e.perplexity,
       e.bits_per_byte, e.predictions, e.word_perplexity
FROM jobs j JOIN evals e ON e.run = j.run
WHERE j.source = ?1 GROUP BY j.run ORDER BY j.run;

-- steps -----------------------------------------------------------------------------------------------------------

-- name: TAIL_INSERT
INSERT INTO steps_tail (run, attempt, step, tokens, epoch, loss, lr, grad_norm, ms, tok_s)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10);

-- name: TAIL_COUNT
SELECT count(*) FROM steps_tail WHERE run = ?1 AND attempt = ?2;

-- name: TAIL_EXTENTS
SELECT attempt, min(step), max(step), count(*), 0 FROM steps_tail WHERE run = ?1 GROUP BY attempt;

-- name: TAIL_RANGE
SELECT step, tokens, epoch, loss, lr, grad_norm, ms, tok_s
FROM steps_tail WHERE run = ?1 AND attempt = ?2 AND step BETWEEN ?3 AND ?4 ORDER BY step;

-- name: TAIL_DELETE
DELETE FROM steps_tail WHERE run = ?1 AND attempt = ?2;

-- name: CHUNK_INSERT
INSERT INTO steps_chunk (run, attempt, first_step, last_step, n, nonfinite, loss_min, loss_max, loss_sum, loss, tokens,
                         epoch, lr, grad_norm, ms, tok_s, step)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17);

-- name: CHUNK_EXTENTS
SELECT attempt, first_step, last_step, n, id FROM steps_chunk WHERE run = ?1 ORDER BY attempt, first_step;

-- name: CHUNK_LOSS
SELECT step, loss FROM steps_chunk WHERE id = ?1;

-- name: CHUNK_COMPARE
SELECT step, loss, tokens, epoch FROM steps_chunk WHERE id = ?1;

-- name: CHUNK_ALL
SELECT step, loss, tokens, epoch, lr, grad_norm, ms, tok_s FROM steps_chunk WHERE id = ?1;

-- name: ATTEMPT_PEAK
SELECT r.flops_per_token, a.peak_flops
FROM attempts a JOIN runs r ON r.id = a.run
WHERE a.run = ?1 AND a.n = ?2 AND a.peak_flops IS NOT NULL;

-- the GPU's health ------------------------------------------------------------------------------------------------

-- name: GPU_INSERT
INSERT OR REPLACE INTO gpu_samples (run, attempt, step, time_ms, memory_used, memory_total, temperature_c, sm_clock_mhz,
                                    power_w, energy_j, throttle, ecc_uncorrected, xid)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13);

-- name: GPU_LIST
SELECT attempt, step, time_ms, memory_used, memory_total, temperature_c, sm_clock_mhz, power_w, energy_j, throttle,
       ecc_uncorrected, xid
FROM gpu_samples WHERE run = ?1 ORDER BY attempt, step, time_ms;

-- The newest of each attempt: the last row of its part of the primary key.

-- name: GPU_NEWEST
SELECT s.attempt, s.step, s.time_ms, s.memory_used, s.memory_total, s.temperature_c, s.sm_clock_mhz, s.power_w,
       s.energy_j, s.throttle, s.ecc_uncorrected, s.xid
FROM attempts a
JOIN gpu_samples s ON s.run = a.run AND s.attempt = a.n
     AND (s.step, s.time_ms) = (SELECT step, time_ms FROM gpu_samples WHERE run = a.run AND attempt = a.n
                                ORDER BY step DESC, time_ms DESC LIMIT 1)
WHERE a.run = ?1 ORDER BY a.n;

-- ingest ----------------------------------------------------------------------------------------------------------

-- name: INGEST_GET
SELECT a.journal_offset, a.resume_step, a.last_step, a.started, a.journal_damaged, a.nondeterminism, a.drift,
       a.numerics_id, a.end_reason, a.active, r.tokens_per_epoch, r.steps_per_epoch, coalesce(r.step, 0),
       r.skipped_steps, r.missing_steps, r.kind <> 'train', a.replayed, a.replayed_other
FROM attempts a JOIN runs r ON r.id = a.run
WHERE a.run = ?1 AND a.n = ?2;

-- name: INGEST_OLDER
SELECT n, numerics_id FROM attempts WHERE run = ?1 AND n < ?2 ORDER BY n;

-- name: INGEST_SET
UPDATE attempts SET journal_offset = ?3, last_step = ?4 WHERE run = ?1 AND n = ?2;

-- name: INGEST_START
UPDATE attempts
SET started = 1, resume_step = ?3, last_step = ?3, numerics_id = ?4, device = ?5, threads = ?6, memory_bytes = ?7,
    peak_flops = ?8
WHERE run = ?1 AND n = ?2;

-- name: INGEST_START_RUN
UPDATE runs
SET total_steps = ?2, tokens_per_epoch = ?3, steps_per_epoch = ?4, params = ?5,
    flops_per_token = coalesce(?6, flops_per_token), micro_batch = ?7
WHERE id = ?1;

-- name: INGEST_END
UPDATE attempts SET end_reason = ?3, end_text = ?4 WHERE run = ?1 AND n = ?2;

-- name: INGEST_DAMAGED
UPDATE attempts SET journal_damaged = 1 WHERE run = ?1 AND n = ?2;

-- name: INGEST_PROGRESS
UPDATE runs SET step = ?2, epoch = ?3, tokens = ?4, train_loss = ?5, last_loss = ?6 WHERE id = ?1;

-- name: INGEST_PACE
UPDATE runs SET tok_s = ?2, step_ms = ?3, mfu = ?4 WHERE id = ?1;

-- name: INGEST_MISSING
UPDATE runs SET missing_steps = ?2 WHERE id = ?1;

-- name: SKIPPED_POLICY
SELECT coalesce(json_extract(spec, '$.train.on_nonfinite') = 'skip', 0) FROM runs WHERE id = ?1;

-- name: SKIPPED_DELETE
DELETE FROM steps_skipped WHERE run = ?1 AND step BETWEEN ?2 AND ?3;

-- name: SKIPPED_INSERT
INSERT INTO steps_skipped (run, step) VALUES (?1, ?2);

-- name: SKIPPED_SET
UPDATE runs SET skipped_steps = ?2 WHERE id = ?1;

-- name: INGEST_ENERGY
UPDATE runs
SET energy_j = (SELECT sum((SELECT max(s.energy_j) FROM gpu_samples s WHERE s.run = a.run AND s.attempt = a.n))
                FROM attempts a WHERE a.run = ?1)
WHERE id = ?1;

-- name: INGEST_VAL
UPDATE runs SET val_loss = ?2, best_val_loss = ?3 WHERE id = ?1;

-- name: INGEST_REPLAYED
UPDATE attempts
SET nondeterminism = nondeterminism + ?3, drift = drift + ?4, replayed = replayed + ?5, replayed_other = replayed_other + ?6
WHERE run = ?1 AND n = ?2;

-- name: CERTIFICATE
SELECT count(*) - 1, coalesce(sum(replayed), 0), coalesce(sum(nondeterminism), 0), coalesce(sum(replayed_other), 0),
       coalesce(sum(drift), 0)
FROM attempts WHERE run = ?1 AND started = 1;

-- name: INGEST_REPLAYED_RUN
UPDATE runs SET nondeterminism = nondeterminism + ?2 WHERE id = ?1;
