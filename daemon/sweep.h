/* sweep.h: one submission in, specs and names out. Pure.
 *
 * A submission is a spec, changes to it (set), axes whose values multiply (sweep), and a number of seeds. Every spec is
 * whole and validated, or the submission is refused with the JSON path of the first thing wrong; nothing is half
 * accepted. With one run the name is the submission's, else the spec's as set or swept, else "run"; with more, "-" and the
 * axis' value are added for each other axis (a number or truth value after the path's last part: "-lr0.001"), and "-s"
 * and the seed when there are several.
 */
#ifndef BAKA_DAEMON_SWEEP_H
#define BAKA_DAEMON_SWEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <cjson/cJSON.h>
#include "base/path.h"
#include "schema/spec.h"
#include "schema/submission.h"

struct err;

/* Views into the body that it was parsed from: valid as long as that. */
struct sweep_axis {
    const char *path;
    const cJSON *values; /* array of strings, not empty */
    int count;
};

struct sweep_request {
    const char *request_id; /* NULL: none */
    const cJSON *spec;
    int set_count;
    struct {
        const char *path, *text;
    } sets[SUBMISSION_MAX_SETS];
    int axis_count;
    struct sweep_axis axes[SUBMISSION_MAX_AXES];
    int seeds;        /* >= 1 */
    int priority;
    const char *name; /* NULL: the spec's, as set or swept */
    int tag_count;
    const char *tags[SUBMISSION_MAX_TAGS];
    size_t run_count; /* product of axes and seeds, <= SUBMISSION_MAX_RUNS */
};

struct sweep_run {
    struct spec spec; /* spec.name is name */
    char name[NAME_SIZE];
};

/* The shape of a submission's body. ERR_INVALID with the path in the body; ERR_TOO_LARGE for too many runs. */
int sweep_parse(const cJSON *body, struct sweep_request *out, struct err *err);
/* "priority" of a body, which it may lack: *out is untouched then. */
int sweep_parse_priority(const cJSON *body, int *out, struct err *err);
/* Caller frees *out, which has r->run_count entries. The last axis changes fastest, seeds faster still. */
int sweep_expand(const struct sweep_request *r, struct sweep_run **out, struct err *err);

#endif
