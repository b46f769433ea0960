/* job.h: what eval and sample share: a job of a run's model in the daemon's queue, made and waited for. Thread: the
 * main one. */
#ifndef BAKA_CLI_JOB_H
#define BAKA_CLI_JOB_H

#include <cjson/cJSON.h>
#include "base/path.h"

struct cli;
struct client;
struct err;

/* POST /v1/jobs of the body, which has the job's keys; `run` and `kind` are added. *answer is {"runs":[…]} with the one
 * job, for the caller to delete. */
int job_submit(struct client *client, const char *run, const char *kind, cJSON *body, cJSON **answer, struct err *err);
/* --detach: "b00013 gelu: queued", or the answer as JSON. */
void job_print_queued(const struct cli *cli, const cJSON *answer);
/* CLI_DONE, or cli_usage's status where an option beside --json stands with a job's own id. */
int job_refuse_options(const struct cli *cli, const char *id, const char *what);

struct job_look {
    /* Called with the job's RUN now and then, and once when it has ended: 0, it has its own output by
     * now; 1, a line of progress is wanted; negative: job_wait returns that. May be NULL. */
    int (*on_look)(void *arg, const cJSON *run, struct err *err);
    void *arg;
};

/* Until the job has ended, with a line of progress on standard error; a daemon that goes away is waited for. *out is
 * its RUN with all details, for the caller to delete. An end that is not `finished` is an error with its reason. */
int job_wait(const struct cli *cli, struct client *client, const char *id, const struct job_look *look, cJSON **out,
             struct err *err);

#endif
