/* columns.h: printing the API's {"columns":[...],"rows":[[...]]} as CSV or as an array of objects, page by page.
 * Doubles have 17 significant digits, so each reads back as itself; nan, inf and -inf are words in CSV and strings in
 * JSON; null is an empty cell or null. */
#ifndef BAKA_CLI_COLUMNS_H
#define BAKA_CLI_COLUMNS_H

#include <stdbool.h>
#include <stdio.h>
#include <cjson/cJSON.h>

struct columns {
    FILE *out;
    bool json;
    bool lines;     /* with json: an object a line instead of an array */
    bool started;   /* the header or the opening bracket is out */
    long long rows; /* printed so far */
};

/* The header is the first page's column names. */
void columns_print_page(struct columns *c, const cJSON *page);
/* Closes the array; without any page, an empty table with the header `names` (comma separated). */
void columns_end(struct columns *c, const char *names);

#endif
