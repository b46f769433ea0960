/* curve_csv.h: reading a foreign curve: CSV with a header that names at least step, epoch, tokens and loss, in any
 * order; val_loss may be there. Quotes around cells, white space, CRLF, a byte order mark and empty lines are
 * tolerated. Thread: any. */
#ifndef BAKA_CLI_CURVE_CSV_H
#define BAKA_CLI_CURVE_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct curve_row {
    int64_t step, tokens;
    double epoch, loss, val_loss; /* losses may be nan or infinite where the text says it in words */
    bool has_val_loss;
};

struct curve_csv {
    struct curve_row *rows;
    size_t count;
    char ignored[256]; /* names of further columns, ", " between them; "" when there are none */
};

/* Steps are whole, at least 0 and ascend from row to row; tokens are whole and at least 0; epochs are finite and at
 * least 0, and neither falls. ERR_INVALID begins with "WHAT:LINE:" and names the column. The caller finishes out on
 * success. */
int curve_csv_parse(const char *text, size_t size, const char *what, struct curve_csv *out, struct err *err);
void curve_csv_finish(struct curve_csv *c);

#endif
