/* submission.h: what may be asked of bakad in one submission: how many runs, and which names. bakactl checks with it
 * what stands on its command line, so that it can name the flag; bakad checks everybody's requests. Pure.
 */
#ifndef BAKA_SCHEMA_SUBMISSION_H
#define BAKA_SCHEMA_SUBMISSION_H

#include <stdbool.h>

struct err;

/* Runs are counted after the product of all axes and seeds. */
enum { SUBMISSION_MAX_RUNS = 10000, SUBMISSION_MAX_AXES = 16, SUBMISSION_MAX_TAGS = 16, SUBMISSION_MAX_SETS = 256 };
/* Of a run in the queue; 0 unless it is said. */
enum { PRIORITY_MIN = -1000, PRIORITY_MAX = 1000 };

/* b and five or more digits: the form of a run's id, which no name or tag may have. */
bool name_looks_like_id(const char *name);
/* A name or tag that a client chose. ERR_INVALID at `path`. */
int submission_check_name(const char *name, const char *path, struct err *err);
/* The values of one axis, as they would be given to --set: no two may set the field to the same, however they are
 * written (0.001 and 1e-3). A value that the field does not take is not looked at. ERR_INVALID at `path` with field and
 * value. */
int submission_check_axis(const char *field, const char *const *values, int count, const char *path, struct err *err);

#endif
