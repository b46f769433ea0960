/* study.h: a comparison written down: what was asked, what was run, what came out, what to doubt, how to do it again.
 * Thread: the main one. */
#ifndef BAKA_CLI_STUDY_H
#define BAKA_CLI_STUDY_H

#include "cli/comparison_table.h"

struct document;
struct err;

struct study {
    const char *title;    /* NULL: made from the runs' names */
    const char *question; /* NULL: made from what differs */
    enum comparison_at at;
    const struct comparison_budget *budget;
    enum plot_scale x_scale, y_scale;
    const cJSON *details; /* GET /v1/runs/ID of each run in the comparison's order: design and reproduction are written
                             too; NULL: results alone */
};

void study_write(const struct comparison *c, const struct study *s, struct document *d);
/* The same into a file, whole or absent; "-" is standard output. A name that ends in .html is HTML, any other Markdown;
 * a Markdown file's picture stands beside it as NAME.svg. */
int study_save(const struct comparison *c, const struct study *s, const char *path, bool html, struct err *err);

#endif
