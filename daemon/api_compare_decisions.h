/* api_compare_decisions.h: "decisions", "noise" and "differs" of GET /v1/compare, into the object that is open. */
#ifndef BAKA_DAEMON_API_COMPARE_DECISIONS_H
#define BAKA_DAEMON_API_COMPARE_DECISIONS_H

#include <stddef.h>
#include <stdint.h>

struct api_grouping;
struct compare_run;
struct err;
struct jsonw;
struct spec;

/* at_tokens: where to decide, 0: the end of the shorter. */
int api_compare_decisions(struct jsonw *w, const struct api_grouping *g, const struct compare_run *runs, size_t count,
                          int64_t at_tokens, struct err *err);
/* A line a field of the spec in which two runs differ, but for the name; specs[i] may be NULL. */
void api_compare_differs(struct jsonw *w, const struct spec *const *specs, size_t count);

#endif
