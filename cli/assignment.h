/* assignment.h: PATH=TEXT on the command line, for a field of a spec. */
#ifndef BAKA_CLI_ASSIGNMENT_H
#define BAKA_CLI_ASSIGNMENT_H

#include <cjson/cJSON.h>

struct cli;
struct err;

/* Adds {"path":...} for `given` to the array and returns it, *text being what stands behind the "="; NULL when there is
 * no "=" or nothing before it. */
cJSON *assignment_add(cJSON *array, const char *given, const char **text);
/* Whether the field exists and takes the value; what only the whole spec can tell is left to the daemon. */
int assignment_check(const char *path, const char *text, struct err *err);
/* "set" of a submission from the --set options: CLI_DONE, or the exit status of a usage error. */
int assignment_add_sets(struct cli *cli, cJSON *body);

#endif
