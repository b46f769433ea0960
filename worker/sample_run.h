/* sample_run.h: what a loaded run goes on with behind a prompt. */
#ifndef BAKA_WORKER_SAMPLE_RUN_H
#define BAKA_WORKER_SAMPLE_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct arguments;
struct err;
struct job;
struct loaded_run;

struct sample_out {
    int (*take)(void *arg, int32_t id, struct err *err); /* each id as it is drawn; not 0 ends it with that */
    bool (*stopped)(void);                               /* asked between ids; NULL: never */
    void *arg;
};

/* Until the job's stop or its number of tokens; ids: the prompt's, at least one. A text that has filled the window of
 * train.seq_len positions is read again from its newest half. */
int sample_generate(const struct job *job, const struct loaded_run *r, const int32_t *ids, int64_t count,
                    const struct sample_out *out, struct err *err);

/* `baka-worker --sample`: ids from `in`, one a line, before ids to `out`, by the run's newest good checkpoint. */
int sample_run(const struct arguments *a, FILE *in, FILE *out, struct err *err);

#endif
