/* job_view.h: evaluations and samples as people read them, beside their run and by themselves. Thread: the main one. */
#ifndef BAKA_CLI_JOB_VIEW_H
#define BAKA_CLI_JOB_VIEW_H

#include <stdbool.h>
#include <cjson/cJSON.h>

/* eval or sample. */
bool job_view_is_job(const cJSON *run);
/* "asked     loss on val of kjv, sliding:64 windows, by b00012" and "found     …", of a job's RUN with details. */
void job_view_print(const cJSON *run);
/* A table of the evaluations that jobs made of these runs, with the data set and the windows of each; nothing where
 * there are none. A blank line stands before. */
void job_view_print_evaluations(const cJSON *const *runs, int count);

#endif
