/* store_curve.c: the effective curve. Pieces of all attempts (chunks by their index alone, tails by their ends) are
 * laid over each other, newest attempt first, each keeping only what newer ones leave uncovered; then the columns are
 * copied out piece by piece. A piece with gaps (an import's) covers from its first to its last step.
 */
#include "daemon/store_steps.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "schema/plan.h"

enum { HUGE_PAGE = 2 << 20 };

void store_curve_finish(struct store_curve *v)
{
    free(v->step);
    free(v->tokens);
    free(v->epoch);
    free(v->loss);
    free(v->lr);
    free(v->grad_norm);
    free(v->ms);
    free(v->tok_s);
    free(v->mfu);
    *v = (struct store_curve){0};
}

/* --- pieces ------------------------------------------------------------------------------------------------------ */

struct extents {
    struct store_extent *e;
    size_t n, capacity;
};

static int extents_add(struct extents *x, struct store_extent e, struct err *err)
{
    int rc = sql_grow((void **)&x->e, x->n, &x->capacity, sizeof *x->e, err);
    if (!rc)
        x->e[x->n++] = e;
    return rc;
}

static int compare_extents(const void *a, const void *b)
{
    const struct store_extent *x = a, *y = b;
    if (x->attempt != y->attempt)
        return x->attempt > y->attempt ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

static int read_extents(struct store_conn *c, enum store_query query, int64_t run, const bool *keep, size_t keep_n,
                        struct extents *x, struct err *err)
{
    sqlite3_stmt *st;
    int rc = sql_open(c, query, SQL_VALUES(SQL_INT(run)), &st, err);
    if (rc)
        return rc;
    while ((rc = sql_step(c, st, err)) > 0) {
        struct store_extent e = {
            .attempt = sqlite3_column_int64(st, 0),
            .first = sqlite3_column_int64(st, 1),
            .last = sqlite3_column_int64(st, 2),
            .source_first = sqlite3_column_int64(st, 1),
            .n = sqlite3_column_int64(st, 3),
            .chunk = sqlite3_column_int64(st, 4),
        };
        if (keep && (e.attempt < 0 || (uint64_t)e.attempt >= keep_n || !keep[e.attempt]))
            continue;
        rc = extents_add(x, e, err);
        if (rc) {
            sql_end(st);
            break;
        }
    }
    return rc;
}

/* over ∪ (under − over), both ascending and disjoint, into out. */
static int lay_under(const struct extents *over, const struct store_extent *under, size_t under_n, struct extents *out,
                     struct err *err)
{
    size_t o = 0;
    int rc = 0;
    for (size_t u = 0; u < under_n && !rc; u++) {
        struct store_extent e = under[u];
        while (!rc && e.first <= e.last) {
            if (o == over->n || e.last < over->e[o].first) { /* nothing newer before its end */
                rc = extents_add(out, e, err);
                break;
            }
            if (e.first < over->e[o].first) {
                struct store_extent before = e;
                before.last = over->e[o].first - 1;
                rc = extents_add(out, before, err);
            }
            if (!rc && over->e[o].last >= e.last) { /* the newer one may cover the next piece too: it stays */
                break;
            }
            if (e.first <= over->e[o].last)
                e.first = over->e[o].last + 1;
            if (!rc)
                rc = extents_add(out, over->e[o], err);
            o++;
        }
    }
    for (; o < over->n && !rc; o++)
        rc = extents_add(out, over->e[o], err);
    return rc;
}

int store_extents(struct store_conn *c, int64_t run, int64_t first, int64_t last, const bool *keep, size_t keep_n,
                  struct store_extent **out, size_t *n, struct err *err)
{
    struct extents all = {0}, cover = {0};
    int rc = read_extents(c, QUERY_CHUNK_EXTENTS, run, keep, keep_n, &all, err);
    if (!rc)
        rc = read_extents(c, QUERY_TAIL_EXTENTS, run, keep, keep_n, &all, err);
    if (!rc && all.n > 0)
        qsort(all.e, all.n, sizeof *all.e, compare_extents);
    for (size_t i = 0; i < all.n && !rc;) { /* one attempt after the other, newest first */
        struct extents next = {0};
        size_t end = i;
        while (end < all.n && all.e[end].attempt == all.e[i].attempt)
            end++;
        rc = lay_under(&cover, &all.e[i], end - i, &next, err);
        free(cover.e);
        cover = next;
        i = end;
    }
    free(all.e);
    if (rc) {
        free(cover.e);
        return rc;
    }
    size_t kept = 0;
    for (size_t i = 0; i < cover.n; i++) {
        struct store_extent e = cover.e[i];
        if (e.last < first || e.first > last)
            continue;
        e.first = e.first < first ? first : e.first;
        e.last = e.last > last ? last : e.last;
        cover.e[kept++] = e;
    }
    *out = cover.e;
    *n = kept;
    return 0;
}

/* --- columns ----------------------------------------------------------------------------------------------------- */

static void *column(unsigned wanted, unsigned which, size_t n, bool *ok)
{
    if (!(wanted & which))
        return NULL;
    /* A column of a long run is written once, read once and given back: in virtual machines the faults of its small
     * pages cost several times the copying (240 ms against 85 for two runs of 1,000,000 steps). */
    size_t bytes = (n ? n : 1) * sizeof(double);
    bool large = bytes >= HUGE_PAGE;
    void *p = large ? aligned_alloc(HUGE_PAGE, (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE) : malloc(bytes);
    if (!p)
        *ok = false;
    else if (large)
        madvise(p, bytes, MADV_HUGEPAGE); /* a wish: without it all is as before */
    return p;
}

static int allocate(struct store_curve *v, size_t n, unsigned columns, struct err *err)
{
    bool ok = true;
    *v = (struct store_curve){
        .step = column(1, 1, n, &ok),
        .tokens = column(columns, COLUMN_TOKENS, n, &ok),
        .epoch = column(columns, COLUMN_EPOCH, n, &ok),
        .loss = column(columns, COLUMN_LOSS, n, &ok),
        .lr = column(columns, COLUMN_LR, n, &ok),
        .grad_norm = column(columns, COLUMN_GRAD_NORM, n, &ok),
        .ms = column(columns, COLUMN_MS, n, &ok),
        .tok_s = column(columns, COLUMN_TOK_S, n, &ok),
        .mfu = column(columns, COLUMN_MFU, n, &ok),
    };
    return ok ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
}

static int copy_blob(sqlite3_stmt *st, int col, size_t from, size_t count, size_t total, void *out, struct err *err)
{
    if (!out)
        return 0;
    const char *p = sqlite3_column_blob(st, col);
    if (!p || (size_t)sqlite3_column_bytes(st, col) != total * sizeof(double))
        return err_set(err, ERR_DAMAGED, "a chunk of steps has a column of the wrong length");
    memcpy(out, p + from * sizeof(double), count * sizeof(double));
    return 0;
}

#define AT(array, i) ((array) ? (void *)((array) + (i)) : NULL)

static int copy_chunk(struct store_conn *c, const struct store_extent *e, size_t limit, unsigned columns,
                      struct store_curve *v, struct err *err)
{
    enum store_query query = (columns & ~(unsigned)COLUMN_LOSS) == 0       ? QUERY_CHUNK_LOSS
                             : (columns & ~(unsigned)COLUMNS_COMPARE) == 0 ? QUERY_CHUNK_COMPARE
                                                                           : QUERY_CHUNK_ALL;
    sqlite3_stmt *st;
    int rc = sql_open(c, query, SQL_VALUES(SQL_INT(e->chunk)), &st, err);
    if (rc)
        return rc;
    rc = sql_step(c, st, err);
    if (rc <= 0)
        return rc ? rc : err_set(err, ERR_DAMAGED, "a chunk of steps is gone");
    size_t total = (size_t)e->n, from = 0, to = total, at = v->n;
    const int64_t *steps = NULL;
    rc = 0;
    if (sqlite3_column_type(st, 0) == SQLITE_NULL) {
        from = (size_t)(e->first - e->source_first);
        to = (size_t)(e->last - e->source_first) + 1;
    } else {
        steps = sqlite3_column_blob(st, 0);
        if (!steps || (size_t)sqlite3_column_bytes(st, 0) != total * sizeof *steps)
            rc = err_set(err, ERR_DAMAGED, "a chunk of steps has a column of the wrong length");
        while (!rc && from < to && steps[from] < e->first)
            from++;
        while (!rc && to > from && steps[to - 1] > e->last)
            to--;
    }
    if (!rc && to > total)
        rc = err_set(err, ERR_DAMAGED, "a chunk of steps is shorter than its extent");
    size_t count = rc ? 0 : to - from < limit ? to - from : limit;
    for (size_t i = 0; i < count; i++)
        v->step[at + i] = steps ? steps[from + i] : e->first + (int64_t)i;
    if (!rc && columns & COLUMN_LOSS)
        rc = copy_blob(st, 1, from, count, total, AT(v->loss, at), err);
    if (!rc && query != QUERY_CHUNK_LOSS) {
        rc = copy_blob(st, 2, from, count, total, AT(v->tokens, at), err);
        if (!rc)
            rc = copy_blob(st, 3, from, count, total, AT(v->epoch, at), err);
    }
    double *const rest[] = {AT(v->lr, at), AT(v->grad_norm, at), AT(v->ms, at), AT(v->tok_s, at)};
    for (int i = 0; i < 4 && !rc && query == QUERY_CHUNK_ALL; i++)
        rc = copy_blob(st, 4 + i, from, count, total, rest[i], err);
    sql_end(st);
    if (!rc)
        v->n += count;
    return rc;
}

static int copy_tail(struct store_conn *c, int64_t run, const struct store_extent *e, size_t limit,
                     struct store_curve *v, struct err *err)
{
    sqlite3_stmt *st;
    int rc = sql_open(c, QUERY_TAIL_RANGE,
                      SQL_VALUES(SQL_INT(run), SQL_INT(e->attempt), SQL_INT(e->first), SQL_INT(e->last)), &st, err);
    if (rc)
        return rc;
    size_t room = (size_t)(e->last - e->first) + 1 < limit ? (size_t)(e->last - e->first) + 1 : limit;
    while (room > 0 && (rc = sql_step(c, st, err)) > 0) {
        size_t i = v->n++;
        v->step[i] = sqlite3_column_int64(st, 0);
        if (v->tokens)
            v->tokens[i] = sqlite3_column_int64(st, 1);
        double *const columns[] = {v->epoch, v->loss, v->lr, v->grad_norm, v->ms, v->tok_s};
        for (int k = 0; k < 6; k++)
            if (columns[k])
                columns[k][i] = sql_double(st, 2 + k);
        room--;
    }
    if (rc > 0)
        sql_end(st);
    return rc < 0 ? rc : 0;
}

/* The MFU of the steps from `from` on, which are of one attempt: as its worker worked it out, to the bit. */
static int derive_mfu(struct store_conn *c, int64_t run, int64_t attempt, size_t from, struct store_curve *v,
                      struct err *err)
{
    sqlite3_stmt *st;
    double flops_per_token = 0, peak_flops = 0;
    int rc = sql_open(c, QUERY_ATTEMPT_PEAK, SQL_VALUES(SQL_INT(run), SQL_INT(attempt)), &st, err);
    if (!rc)
        rc = sql_step(c, st, err);
    if (rc < 0)
        return rc;
    if (rc > 0) {
        flops_per_token = sql_double(st, 0);
        peak_flops = sql_double(st, 1);
        sql_end(st);
    }
    for (size_t i = from; i < v->n; i++)
        v->mfu[i] = plan_mfu(flops_per_token, v->tok_s[i], peak_flops);
    return 0;
}

int store_curve_load_kept(struct store_conn *c, int64_t run, int64_t first, int64_t last, size_t limit,
                          unsigned columns, const bool *keep, size_t keep_n, struct store_curve *out, struct err *err)
{
    struct store_extent *e;
    size_t n;
    uint64_t most = 0; /* rows that can come; pieces with gaps have fewer than their length */
    struct store_curve v = {0};
    int rc = store_extents(c, run, first, last, keep, keep_n, &e, &n, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++) {
        uint64_t length = (uint64_t)(e[i].last - e[i].first) + 1;
        most += length < (uint64_t)e[i].n ? length : (uint64_t)e[i].n;
    }
    if (limit == 0 || limit > most)
        limit = (size_t)most;
    if (columns & COLUMN_MFU)
        columns |= COLUMN_TOK_S;
    rc = allocate(&v, limit, columns, err);
    for (size_t i = 0; i < n && !rc && v.n < limit; i++) {
        size_t from = v.n;
        if (e[i].chunk)
            rc = copy_chunk(c, &e[i], limit - v.n, columns, &v, err);
        else
            rc = copy_tail(c, run, &e[i], limit - v.n, &v, err);
        if (!rc && v.mfu)
            rc = derive_mfu(c, run, e[i].attempt, from, &v, err);
    }
    free(e);
    if (rc) {
        store_curve_finish(&v);
        return rc;
    }
    *out = v;
    return 0;
}

int store_curve_load(struct store_conn *c, int64_t run, int64_t first, int64_t last, size_t limit, unsigned columns,
                     struct store_curve *out, struct err *err)
{
    return store_curve_load_kept(c, run, first, last, limit, columns, NULL, 0, out, err);
}

/* --- evaluations ------------------------------------------------------------------------------------------------- */

static int read_eval(sqlite3_stmt *st, void *row, struct err *err)
{
    (void)err; /* cannot fail: it owns nothing */
    struct store_eval *e = row;
    *e = (struct store_eval){
        .step = sqlite3_column_int64(st, 0),
        .tokens = sqlite3_column_int64(st, 1),
        .attempt = sqlite3_column_int64(st, 2),
        .epoch = sql_double(st, 3),
        .loss = sql_double(st, 4),
        .perplexity = sql_real(st, 5),
        .bits_per_byte = sql_real(st, 6),
        .word_perplexity = sql_real(st, 8),
    };
    sql_text(st, 7, e->split, sizeof e->split);
    return 0;
}

int store_evals(struct store_conn *c, int64_t run, struct store_eval **out, size_t *n, struct err *err)
{
    static const struct sql_row row = {.size = sizeof(struct store_eval), .read = read_eval};
    return sql_rows(c, QUERY_EVAL_LIST, SQL_VALUES(SQL_INT(run)), &row, (void **)out, n, err);
}

int store_eval_longest(struct store_conn *c, int64_t run, int64_t *ms, struct err *err)
{
    return sql_get_int(c, QUERY_EVAL_LONGEST, SQL_VALUES(SQL_INT(run)), ms, err);
}

int store_eval_newest(struct store_conn *c, int64_t run, struct store_quality *out, struct err *err)
{
    sqlite3_stmt *st;
    struct store_quality found = {0};
    int rc = sql_open(c, QUERY_EVAL_NEWEST, SQL_VALUES(SQL_INT(run)), &st, err);
    if (!rc)
        rc = sql_step(c, st, err);
    if (rc < 0)
        return rc;
    if (rc) {
        found = (struct store_quality){sql_real(st, 1), sql_real(st, 2), sql_real(st, 3)};
        sql_end(st);
    }
    *out = found;
    return 0;
}
