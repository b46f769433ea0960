/* study_again.h: how to do a study again: a spec, a line a group, and what it ran on. Thread: the main one. */
#ifndef BAKA_CLI_STUDY_AGAIN_H
#define BAKA_CLI_STUDY_AGAIN_H

#include <cjson/cJSON.h>

struct comparison;
struct document;

/* details: GET /v1/runs/ID of each run, in the comparison's order. */
void study_again_write(const struct comparison *c, const cJSON *details, struct document *d);

#endif
