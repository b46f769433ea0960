/* api_compare_groups.h: "groups" of GET /v1/compare. */
#ifndef BAKA_DAEMON_API_COMPARE_GROUPS_H
#define BAKA_DAEMON_API_COMPARE_GROUPS_H

#include <stddef.h>
#include "daemon/compare_group.h"

struct err;
struct jsonw;

enum { API_GROUP_LABEL_SIZE = COMPARE_GROUP_NAME_SIZE + 32 };

/* The groups of a comparison, with names that tell them apart. Zeroed is empty. */
struct api_grouping {
    size_t count;
    size_t *group_of; /* [members] */
    struct compare_group *groups;
    char (*labels)[API_GROUP_LABEL_SIZE];
};

int api_grouping_init(struct api_grouping *g, const struct compare_member *members, size_t count, struct err *err);
void api_grouping_finish(struct api_grouping *g);
/* "groups", into the object that is open. */
void api_grouping_write(struct jsonw *w, const struct api_grouping *g, const struct compare_member *members,
                        size_t count);

#endif
