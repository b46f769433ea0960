/* reference.h: RUN|TAG on the command line. The daemon looks for an id first, then for a run's name (the newest run of
 * that name), then for a tag. */
#ifndef BAKA_CLI_REFERENCE_H
#define BAKA_CLI_REFERENCE_H

#include <cjson/cJSON.h>

struct client;
struct err;

/* What --help says of RUN|TAG, for the verbs that take either. */
#define REFERENCE_HELP                                                                                                 \
    "RUN|TAG is looked for as an id, then as a run's name (the newest run of that\n"                                   \
    "name), then as a tag, which stands for all its runs. A name that hides a tag\n"                                   \
    "with other runs is told on standard error.\n"

/* One line on standard error when `ref` meant a run by its name while a tag of the same name has other runs. `runs` is
 * what the daemon answered. A tag that cannot be asked for is no failure: the answer stands. */
void reference_note(struct client *client, const char *ref, const cJSON *runs);

/* What the daemon compares `refs` to be (GET /v1/compare), and their notes. The caller deletes *answer. */
int reference_compare(struct client *client, const char *const *refs, int count, cJSON **answer, struct err *err);

/* For a verb that takes runs only: when the daemon knew no run `ref` because it is a tag, says so in *err. */
void reference_explain(struct client *client, const char *ref, struct err *err);

#endif
