/* compare_group.h: runs that differ in nothing but their seed are a group; its losses are means with their spread.
 * Pure.
 *
 * A seed counts once. Of several runs of one seed, which repeat each other and tell nothing of the spread, the furthest
 * counts, the later one where both came as far. Runs whose experiment is not known stand alone.
 *
 * Failures: memory only (-ERR_NO_MEMORY). Thread: any; no state outside the arguments.
 */
#ifndef BAKA_DAEMON_COMPARE_GROUP_H
#define BAKA_DAEMON_COMPARE_GROUP_H

#include <stddef.h>
#include <stdint.h>
#include "base/path.h"

struct err;

/* Of a run, what its group needs. */
struct compare_member {
    const char *id;
    const char *experiment; /* hash of the spec without its seed; "" when not known */
    const char *name, *label;
    int64_t seed, step;
    double best_val, val, tok_s, train; /* NaN: not known */
};

/* Of the finite values among a group's runs that count. */
struct compare_stat {
    size_t n;
    double mean; /* NaN: n is 0 */
    double sd;   /* of the sample, over n - 1; NaN: n is below 2 */
};

enum { COMPARE_GROUP_NAME_SIZE = NAME_SIZE + 24 };

struct compare_group {
    /* the names' common part before "-s" and the seed; where there is none, its first run's label */
    char name[COMPARE_GROUP_NAME_SIZE];
    size_t runs, seeds;
    struct compare_stat best_val, val, tok_s, train;
};

/* group_of[i] becomes the group of member i; groups (room for count) are in the order of their first runs. */
int compare_groups(const struct compare_member *members, size_t count, size_t *group_of, struct compare_group *groups,
                   size_t *group_count, struct err *err);

#endif
