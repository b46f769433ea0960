#include "cli/curve_csv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/err.h"
#include "base/json.h"

enum { MAX_COLUMNS = 64, CELL_SIZE = 64 };
enum { COLUMN_STEP, COLUMN_EPOCH, COLUMN_TOKENS, COLUMN_LOSS, COLUMN_VAL_LOSS, COLUMN_COUNT };

static const char *const names[COLUMN_COUNT] = {"step", "epoch", "tokens", "loss", "val_loss"};

struct reader {
    const char *at, *end;
    const char *what;
    long line;
    int place[MAX_COLUMNS]; /* which COLUMN_ stands there, -1 for none */
    int columns;
};

/* "FILE:LINE: ...", as compilers say it. */
static int fail(const struct reader *r, struct err *err, const char *text)
{
    return err_set(err, ERR_INVALID, "%s:%ld: %s", r->what, r->line, text);
}

static int fail_cell(const struct reader *r, int which, const char *cell, const char *needed, struct err *err)
{
    return err_set(err, ERR_INVALID, "%s:%ld: column '%s': %s is needed, %s%s%s", r->what, r->line, names[which],
                   needed, *cell ? "not \"" : "and it is empty", cell, *cell ? "\"" : "");
}

/* Copies the next cell of the line, without blanks and quotes around it; *last: the line ends after it. */
static int take_cell(struct reader *r, char out[CELL_SIZE], bool *last, struct err *err)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t'))
        r->at++;
    bool quoted = r->at < r->end && *r->at == '"';
    r->at += quoted;
    size_t n = 0;
    while (r->at < r->end && *r->at != '\n' && (quoted ? *r->at != '"' : *r->at != ',')) {
        if (*r->at == '\0' || n == CELL_SIZE - 1) {
            out[n] = '\0';
            return fail(r, err, *r->at ? "a cell is longer than any number or name" : "a NUL byte");
        }
        out[n++] = *r->at++;
    }
    if (quoted && (r->at == r->end || *r->at != '"'))
        return fail(r, err, "a quote is not closed");
    r->at += quoted;
    while (n > 0 && (out[n - 1] == ' ' || out[n - 1] == '\t' || out[n - 1] == '\r'))
        n--;
    out[n] = '\0';
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\r'))
        r->at++;
    if (r->at < r->end && *r->at != ',' && *r->at != '\n')
        return fail(r, err, "text follows a closing quote");
    *last = r->at == r->end || *r->at == '\n';
    if (r->at < r->end)
        r->at++;
    return 0;
}

static bool skip_empty_lines(struct reader *r)
{
    for (;;) {
        const char *c = r->at;
        while (c < r->end && (*c == ' ' || *c == '\t' || *c == '\r'))
            c++;
        if (c == r->end)
            return false;
        if (*c != '\n')
            return true;
        r->at = c + 1;
        r->line++;
    }
}

static int read_header(struct reader *r, struct curve_csv *out, struct err *err)
{
    bool seen[COLUMN_COUNT] = {false}, last = false;
    if (r->end - r->at >= 3 && memcmp(r->at, "\xef\xbb\xbf", 3) == 0)
        r->at += 3;
    if (!skip_empty_lines(r))
        return err_set(err, ERR_INVALID, "%s is empty: a header as step,epoch,tokens,loss,val_loss is needed", r->what);
    while (!last) {
        char cell[CELL_SIZE];
        int rc = take_cell(r, cell, &last, err);
        if (rc)
            return rc;
        if (r->columns == MAX_COLUMNS)
            return fail(r, err, "too many columns");
        int which = 0;
        while (which < COLUMN_COUNT && strcmp(cell, names[which]) != 0)
            which++;
        if (which < COLUMN_COUNT && seen[which])
            return err_set(err, ERR_INVALID, "%s:%ld: the column '%s' stands there twice", r->what, r->line, cell);
        if (which < COLUMN_COUNT) {
            seen[which] = true;
        } else {
            size_t used = strlen(out->ignored);
            snprintf(out->ignored + used, sizeof out->ignored - used, "%s%s", used ? ", " : "", cell);
        }
        r->place[r->columns++] = which < COLUMN_COUNT ? which : -1;
    }
    for (int i = 0; i < COLUMN_VAL_LOSS; i++)
        if (!seen[i])
            return err_set(err, ERR_INVALID,
                           "%s:%ld: the header has no column '%s' (step, epoch, tokens and loss are needed, "
                           "val_loss may be there)",
                           r->what, r->line, names[i]);
    return 0;
}

static int read_whole(const struct reader *r, int which, const char *cell, int64_t *out, struct err *err)
{
    /* Spreadsheets and pandas write whole numbers as 128.0 or 1e6. */
    double value;
    if (json_number_read(cell, &value) < 0 || value < 0 || value > 9007199254740991.0 || value != floor(value))
        return fail_cell(r, which, cell, "a whole number from 0 to 9007199254740991", err);
    *out = (int64_t)value;
    return 0;
}

static int read_epoch(const struct reader *r, const char *cell, double *out, struct err *err)
{
    double value;
    if (json_number_read(cell, &value) < 0 || value < 0)
        return fail_cell(r, COLUMN_EPOCH, cell, "a number of at least 0", err);
    *out = value + 0.0; /* -0 becomes 0 */
    return 0;
}

/* A loss that was not finite is said to be so: 1e400 is a mistake. */
static int read_loss(const struct reader *r, int which, const char *cell, double *out, struct err *err)
{
    static const struct {
        const char *word;
        double value;
    } words[] = {{"nan", NAN}, {"inf", INFINITY}, {"infinity", INFINITY}};
    bool negative = cell[0] == '-';
    const char *word = cell + (negative || cell[0] == '+');
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasecmp(word, words[i].word) == 0) {
            *out = negative ? -words[i].value : words[i].value;
            return 0;
        }
    if (json_number_read(cell, out) < 0)
        return fail_cell(r, which, cell, "a number that a double holds, nan, inf or -inf", err);
    return 0;
}

static int read_cell(const struct reader *r, int which, const char *cell, struct curve_row *row, struct err *err)
{
    switch (which) {
    case COLUMN_STEP:
        return read_whole(r, which, cell, &row->step, err);
    case COLUMN_TOKENS:
        return read_whole(r, which, cell, &row->tokens, err);
    case COLUMN_EPOCH:
        return read_epoch(r, cell, &row->epoch, err);
    case COLUMN_LOSS:
        return read_loss(r, which, cell, &row->loss, err);
    case COLUMN_VAL_LOSS:
        row->has_val_loss = *cell != '\0';
        return *cell ? read_loss(r, which, cell, &row->val_loss, err) : 0;
    default:
        return 0;
    }
}

static int read_row(struct reader *r, struct curve_row *row, struct err *err)
{
    bool last = false;
    int column = 0;
    while (!last) {
        char cell[CELL_SIZE];
        int rc = take_cell(r, cell, &last, err);
        if (rc == 0 && column == r->columns)
            rc = fail(r, err, "more cells than the header has");
        if (rc == 0)
            rc = read_cell(r, r->place[column++], cell, row, err);
        if (rc)
            return rc;
    }
    return column == r->columns ? 0 : fail(r, err, "fewer cells than the header has");
}

static int check_order(const struct reader *r, const struct curve_row *row, const struct curve_row *before,
                       struct err *err)
{
    const char *where = r->what;
    if (row->step <= before->step)
        return err_set(err, ERR_INVALID, "%s:%ld: column 'step': %lld follows %lld: steps have to ascend", where,
                       r->line, (long long)row->step, (long long)before->step);
    if (row->tokens < before->tokens)
        return err_set(err, ERR_INVALID, "%s:%ld: column 'tokens': %lld follows %lld: tokens must not fall", where,
                       r->line, (long long)row->tokens, (long long)before->tokens);
    if (row->epoch < before->epoch)
        return err_set(err, ERR_INVALID, "%s:%ld: column 'epoch': %g follows %g: epochs must not fall", where, r->line,
                       row->epoch, before->epoch);
    return 0;
}

static int read_rows(struct reader *r, struct curve_csv *out, struct err *err)
{
    size_t capacity = 0;
    for (r->line++; skip_empty_lines(r); r->line++) {
        struct curve_row row = {0};
        int rc = read_row(r, &row, err);
        if (rc == 0 && out->count)
            rc = check_order(r, &row, &out->rows[out->count - 1], err);
        if (rc)
            return rc;
        if (out->count == capacity) {
            capacity = capacity ? 2 * capacity : 1024;
            out->rows = realloc(out->rows, capacity * sizeof *out->rows);
            if (!out->rows)
                abort();
        }
        out->rows[out->count++] = row;
    }
    return out->count ? 0 : err_set(err, ERR_INVALID, "%s has a header and no rows", r->what);
}

int curve_csv_parse(const char *text, size_t size, const char *what, struct curve_csv *out, struct err *err)
{
    struct reader r = {.at = text, .end = text + size, .what = what, .line = 1};
    struct curve_csv csv = {0};
    int rc = read_header(&r, &csv, err);
    if (rc == 0)
        rc = read_rows(&r, &csv, err);
    if (rc)
        curve_csv_finish(&csv);
    else
        *out = csv;
    return rc;
}

void curve_csv_finish(struct curve_csv *c)
{
    free(c->rows);
    *c = (struct curve_csv){0};
}
