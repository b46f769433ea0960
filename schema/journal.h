/* journal.h: the worker's words, one JSON object a line, append-only. The worker writes with the journal_print
 * functions; bakad reads with journal_parse, a scanner for the fixed keys with cJSON behind it for everything else.
 *
 * Kinds and keys (docs/architecture.md shows one of each):
 *   start       attempt resume_step spec_hash data_hash numerics_id build backend device threads micro_batch params
 *               tokens_per_epoch steps_per_epoch total_steps memory_bytes pid time flops_per_token peak_flops (the
 *               device's dense rate for the run's arithmetic; null where there is no honest one)
 *   step        step epoch tokens loss lr grad_norm ms tok_s mfu (plan_mfu(); absent where peak_flops is null)
 *   eval        step epoch tokens split loss perplexity bits_per_byte (null unless bytes are known)
 *               word_perplexity (absent unless words are known) predictions ms
 *   gpu         step time memory_used memory_total temperature_c sm_clock_mhz power_w energy_j throttle ecc_uncorrected
 *               xid: struct gpu_health, null where not known, throttle as a list of words
 *   checkpoint  step path bytes ms
 *   note        text
 *   end         reason step text     reason: one of enum journal_end_reason
 * The first key of each line is "kind"; a kind that is not one of these is of a newer worker and says nothing here.
 * Non-finite numbers are the strings "nan", "inf", "-inf".
 */
#ifndef BAKA_SCHEMA_JOURNAL_H
#define BAKA_SCHEMA_JOURNAL_H

#include <stddef.h>
#include <stdint.h>
#include "base/gpu_health.h"
#include "base/sha256.h"

struct err;

enum journal_kind {
    JOURNAL_START,
    JOURNAL_STEP,
    JOURNAL_EVAL,
    JOURNAL_GPU,
    JOURNAL_CHECKPOINT,
    JOURNAL_NOTE,
    JOURNAL_END,
    JOURNAL_OTHER /* of a newer worker: read, never written */
};

enum journal_end_reason {
    END_FINISHED,       /* all steps done */
    END_STOPPED,        /* SIGTERM: checkpointed and left */
    END_DIVERGED,       /* loss or gradient not finite, on_nonfinite stop */
    END_BAD_SPEC,       /* never retried */
    END_BAD_DATA,       /* data set missing, truncated, or not the run's */
    END_BAD_CHECKPOINT, /* the checkpoint given to --resume is damaged; text names it */
    END_DISK_FULL,
    END_OOM_GPU,  /* no room on the device; text says how much is needed and what for */
    END_OOM_HOST, /* the same of the machine's own memory */
    END_BACKEND_ERROR,
    END_SILENT_CORRUPTION, /* train.verify_every: a step done twice came out otherwise; text says what differs */
    END_INTERNAL_ERROR
};

struct journal_start {
    int attempt;
    int64_t resume_step; /* 0: from the beginning */
    char spec_hash[SHA256_HEX_SIZE], data_hash[SHA256_HEX_SIZE], numerics_id[SHA256_HEX_SIZE];
    char build[SHA256_HEX_SIZE], backend[32], device[64];
    int threads;
    int64_t micro_batch, params, tokens_per_epoch, steps_per_epoch, total_steps, memory_bytes, pid;
    int64_t time_ms;
    double flops_per_token, peak_flops; /* 0: not known */
};

struct journal_step {
    int64_t step, tokens;
    double epoch, loss, lr, grad_norm, ms, tok_s, mfu /* 0: not known */;
};

struct journal_eval {
    int64_t step, tokens, predictions;
    double epoch, loss, perplexity, bits_per_byte, word_perplexity /* both NaN: not known */, ms;
    char split[16]; /* "val", "train" */
};

struct journal_gpu {
    int64_t step, time_ms; /* the newest step done, when it was looked at */
    struct gpu_health health;
};

struct journal_checkpoint {
    int64_t step, bytes;
    char path[64]; /* "checkpoints/120-a1" */
    double ms;
};

struct journal_end {
    enum journal_end_reason reason;
    int64_t step;
    char text[512];
};

enum { JOURNAL_KIND_SIZE = 32 };

struct journal_record {
    enum journal_kind kind;
    union {
        struct journal_start start;
        struct journal_step step;
        struct journal_eval eval;
        struct journal_gpu gpu;
        struct journal_checkpoint checkpoint;
        struct journal_end end;
        char note[512];
        char other[JOURNAL_KIND_SIZE]; /* its kind */
    };
};

enum { JOURNAL_LINE_MAX = 4096 };

/* Exit status of a worker that found no room on the disk, not even for the `end` that says so (EX_TEMPFAIL of
 * sysexits.h: nothing is wrong with the run). */
enum { JOURNAL_EXIT_NO_SPACE = 75 };

/* Writes one line with its '\n' and a NUL; returns its length without the NUL. Always fits. */
size_t journal_print(const struct journal_record *r, char out[JOURNAL_LINE_MAX]);
/* One line without its '\n'. ERR_DAMAGED for anything that is not a record. */
int journal_parse(const char *line, size_t size, struct journal_record *out, struct err *err);
const char *journal_end_reason_word(enum journal_end_reason reason);

#endif
