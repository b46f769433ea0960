/* checkpoint.h: checkpoints/STEP-aN/ of a run: model.safetensors (parameters and moments by name), state.json (where
 * the run stands) and manifest.json (sizes and SHA-256 of the two).
 *
 * A checkpoint is whole or absent: it is written under ".tmp-STEP-aN", synced, and renamed after the journal is on the
 * disk, so that none is ahead of its journal. Opening one verifies every byte before anything is used. Nobody's
 * checkpoint is deleted here. Thread: the trainer's main thread.
 */
#ifndef BAKA_WORKER_CHECKPOINT_H
#define BAKA_WORKER_CHECKPOINT_H

#include <stddef.h>
#include <stdint.h>
#include "base/sha256.h"
#include "schema/journal.h"

struct err;
struct model;
struct journal_writer;
struct checkpoint;

/* Random numbers are counter-based, so seed, epoch and step are their whole state. */
struct checkpoint_state {
    int64_t step;                 /* done */
    int64_t epoch, step_in_epoch; /* of the next step */
    int64_t tokens;               /* predictions counted so far */
    int64_t updates;              /* applied by the optimizer: fewer than step where some were skipped */
    int64_t seed, micro_batch;
    char spec_hash[SHA256_HEX_SIZE], data_hash[SHA256_HEX_SIZE], numerics_id[SHA256_HEX_SIZE];
};

/* Writes RUN_DIR/checkpoints/STEP-aATTEMPT and fills `record` (step, path, bytes, milliseconds) for the journal, which
 * is synced on the way. On failure no trace is left. ERR_NO_SPACE, ERR_IO, ERR_NO_MEMORY, or the backend's error. */
int checkpoint_write(const char *run_dir, int attempt, const struct checkpoint_state *state, struct model *model,
                     struct journal_writer *journal, struct journal_checkpoint *record, struct err *err);

/* `path` is relative to the run: "checkpoints/120-a1". ERR_INVALID for another form, ERR_NOT_FOUND when it is absent,
 * ERR_DAMAGED when anything in it differs from what was written; the message names the path. */
int checkpoint_open(const char *run_dir, const char *path, struct checkpoint **out, struct err *err);
/* The newest of RUN_DIR/checkpoints that is whole: of the highest step, of the highest attempt. ERR_NOT_FOUND when
 * there is none, else what is wrong with the newest. */
int checkpoint_open_newest(const char *run_dir, struct checkpoint **out, struct err *err);
const char *checkpoint_get_path(const struct checkpoint *c); /* "checkpoints/120-a1" */
const struct checkpoint_state *checkpoint_get_state(const struct checkpoint *c);
/* All names, shapes and types are compared first; then the model takes every tensor and the count of updates.
 * ERR_DAMAGED when they are not the model's own, or the backend's error. */
int checkpoint_restore(const struct checkpoint *c, struct model *model, struct err *err);
/* One of its fp32 parameters, of `count` numbers. ERR_DAMAGED when it has no such one. */
int checkpoint_read_parameter(const struct checkpoint *c, const char *name, size_t count, float *out, struct err *err);
void checkpoint_close(struct checkpoint *c); /* NULL is fine */

/* Removes ".tmp-*-aATTEMPT", left by an earlier process of this same attempt. */
int checkpoint_remove_leftovers(const char *run_dir, int attempt, struct err *err);

#endif
