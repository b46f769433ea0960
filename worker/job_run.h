/* job_run.h: one attempt of a job that is no training, from job.json to the journal's `end`. */
#ifndef BAKA_WORKER_JOB_RUN_H
#define BAKA_WORKER_JOB_RUN_H

struct arguments;

/* As trainer_run. An evaluation is one `eval` record, at the step of its checkpoint; a sample's ids stand in
 * attempts/N/sample, one a line, each as soon as it is drawn. Neither has a checkpoint: a next attempt begins anew. */
int job_run(const struct arguments *args, int keeper_pid);

#endif
