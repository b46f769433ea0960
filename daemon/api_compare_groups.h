/* api_compare_groups.h: "groups" of GET /v1/compare. */
#ifndef BAKA_DAEMON_API_COMPARE_GROUPS_H
#define BAKA_DAEMON_API_COMPARE_GROUPS_H

#include <stddef.h>

struct err;
struct jsonw;
struct compare_member;

/* Into the object that is open; ids[i] is the id of members[i]. */
int api_compare_groups(struct jsonw *w, const struct compare_member *members, const char *const *ids, size_t count,
                       struct err *err);

#endif
