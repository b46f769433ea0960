/* job.h: what is asked of a run's model beside training: an evaluation or a sample. The kind of a job, its parameters
 * as one table, their canonical JSON (job.json beside spec.json in the job's run directory), and what of them
 * contradicts the model's spec. bakactl says them, bakad validates and keeps them, baka-worker obeys. Pure; any thread.
 */
#ifndef BAKA_SCHEMA_JOB_H
#define BAKA_SCHEMA_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cjson/cJSON.h>
#include "base/path.h"

struct err;
struct spec;

enum job_kind { JOB_EVAL, JOB_SAMPLE };

enum {
    JOB_MAX_BYTES = 2 << 20, /* of its JSON */
    JOB_MAX_DEPTH = 4,
    JOB_MAX_IDS = 1 << 18,
    JOB_WINDOWING_SIZE = 32
};

struct job {
    enum job_kind kind;
    char source[NAME_SIZE]; /* id of the run whose model it is */
    bool cpu;               /* there in fp32, whatever the run was trained on */
    /* eval */
    char data[NAME_SIZE];
    bool train_split;         /* else validation */
    int64_t stride;           /* of the windows in tokens; 0: disjoint, train.seq_len */
    int64_t memory;           /* length of the xl memory; 0: as the run evaluates itself */
    int64_t tokens_per_epoch; /* of the run, to say at which epoch its checkpoint stands; 0: not known */
    /* sample */
    char *prompt; /* for people: the worker reads ids. NULL: not said */
    int32_t *ids;
    int64_t id_count, tokens /* at most */, top_k /* 0: all */, seed;
    int64_t stop, vocab; /* id that ends the text, -1: none; ids below it only, 0: all */
    double temperature, top_p;
};

const char *job_kind_word(enum job_kind kind);

/* Every default but source, data and ids, which have none. */
void job_init(struct job *j, enum job_kind kind);
void job_finish(struct job *j); /* a zeroed one is fine */
/* The object's "kind" says which keys it may have. ERR_INVALID with the key as path for one that is unknown, missing
 * or out of its range. *out is the caller's to finish. */
int job_from_json(const cJSON *object, struct job *out, struct err *err);
int job_parse(const char *text, size_t size, struct job *out, struct err *err);
/* Canonical text. Caller frees. */
char *job_print(const struct job *j);

/* "disjoint" or "sliding:N". */
bool job_windowing_parse(const char *text, int64_t *stride);
void job_windowing_text(int64_t stride, char out[JOB_WINDOWING_SIZE]);

/* Whether the model of this spec, the run's own, can do it: ERR_INVALID, path the spec's field or the job's key. */
int job_check(const struct job *j, const struct spec *s, struct err *err);
/* The spec that the job is planned, placed and computed under: the run's own but for device and memory; a time limit of
 * training is none of it. */
void job_adapt_spec(const struct job *j, struct spec *s);

#endif
