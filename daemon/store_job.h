/* store_job.h: what runs of kind eval and sample are asked for, and what evaluations found. Rules as in store_run.h. */
#ifndef BAKA_DAEMON_STORE_JOB_H
#define BAKA_DAEMON_STORE_JOB_H

#include "daemon/store_attempt.h"
#include "daemon/store_run.h"

struct store_asked {
    int64_t source;
    char checkpoint[STORE_PATH_SIZE]; /* of the source; "": none chosen yet */
    char *parameters;                 /* JSON, schema/job.h */
};
/* ERR_NOT_FOUND for a run that is no job. Caller frees parameters. */
int store_job_get(struct store_conn *c, int64_t run, struct store_asked *out, struct err *err);
/* From here until the job has ended, pruning leaves this checkpoint of its source where it is. */
int store_job_pin(struct store_conn *c, int64_t run, const char *checkpoint, struct err *err);
int store_job_is_pinned(struct store_conn *c, int64_t source, const char *checkpoint, bool *pinned, struct err *err);

struct store_job_eval {
    int64_t run /* the job */, step, tokens, predictions;
    char checkpoint[STORE_PATH_SIZE];
    char *parameters;
    double epoch, loss;
    struct store_real perplexity, bits_per_byte, word_perplexity;
};
/* Of the job: one, or none; of the source: what all of its jobs found, oldest job first. */
int store_job_eval(struct store_conn *c, int64_t job, struct store_job_eval **out, size_t *n, struct err *err);
int store_job_evals(struct store_conn *c, int64_t source, struct store_job_eval **out, size_t *n, struct err *err);
void store_job_evals_free(struct store_job_eval *e, size_t n);

#endif
