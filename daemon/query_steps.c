/* query_steps.c: see query_steps.h. An eponymous virtual table: rows are loaded in pages through the same function that
 * serves the API, so chunks, tails and superseded attempts look like one table. Bounds on `step` are handed down. */
#include "daemon/query_steps.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "daemon/store_curve.h"

enum { PAGE = 16384, COLUMN_RUN = 8 };
enum { HAS_RUN = 1, HAS_LOW = 2, HAS_HIGH = 4, HAS_EQUAL = 8 };

struct table {
    sqlite3_vtab base;
    struct store_conn *source;
};

struct cursor {
    sqlite3_vtab_cursor base;
    struct store_curve page;
    size_t at;
    int64_t run, last; /* of the run; the last step that is wanted */
    bool more;         /* pages behind this one */
};

static int on_connect(sqlite3 *db, void *aux, int argc, const char *const *argv, sqlite3_vtab **out, char **message)
{
    (void)argc;
    (void)argv;
    (void)message;
    int rc = sqlite3_declare_vtab(db, "CREATE TABLE x(" QUERY_STEPS_COLUMNS ", run HIDDEN)");
    if (rc != SQLITE_OK)
        return rc;
    struct table *t = sqlite3_malloc(sizeof *t);
    if (!t)
        return SQLITE_NOMEM;
    *t = (struct table){.source = aux};
    *out = &t->base;
    return SQLITE_OK;
}

static int on_disconnect(sqlite3_vtab *base)
{
    sqlite3_free(base);
    return SQLITE_OK;
}

/* Arguments of on_filter: the run, then what the bits say, in their order. Bounds are checked by SQLite again. */
static int on_best_index(sqlite3_vtab *base, sqlite3_index_info *info)
{
    int run = -1, low = -1, high = -1, equal = -1, argument = 1;
    for (int i = 0; i < info->nConstraint; i++) {
        const struct sqlite3_index_constraint *k = &info->aConstraint[i];
        if (k->iColumn == COLUMN_RUN && k->op == SQLITE_INDEX_CONSTRAINT_EQ) {
            if (!k->usable)
                return SQLITE_CONSTRAINT; /* another order of the join has the run first */
            run = i;
        }
        if (!k->usable || k->iColumn != 0)
            continue;
        if (k->op == SQLITE_INDEX_CONSTRAINT_EQ)
            equal = i;
        else if (k->op == SQLITE_INDEX_CONSTRAINT_GT || k->op == SQLITE_INDEX_CONSTRAINT_GE)
            low = i;
        else if (k->op == SQLITE_INDEX_CONSTRAINT_LT || k->op == SQLITE_INDEX_CONSTRAINT_LE)
            high = i;
    }
    if (run < 0) {
        sqlite3_free(base->zErrMsg);
        base->zErrMsg = sqlite3_mprintf("steps needs a run: FROM steps('b00012'), or FROM runs r, steps(r.id)");
        return SQLITE_ERROR;
    }
    const int chosen[] = {run, low, high, equal};
    for (int i = 0; i < 4; i++)
        if (chosen[i] >= 0) {
            info->aConstraintUsage[chosen[i]].argvIndex = argument++;
            info->idxNum |= 1 << i;
        }
    info->aConstraintUsage[run].omit = 1;
    info->estimatedCost = equal >= 0 ? 10 : low >= 0 || high >= 0 ? 1e4 : 1e5;
    info->estimatedRows = equal >= 0 ? 1 : 100000;
    info->orderByConsumed = info->nOrderBy == 1 && info->aOrderBy[0].iColumn == 0 && !info->aOrderBy[0].desc;
    return SQLITE_OK;
}

static int on_open(sqlite3_vtab *base, sqlite3_vtab_cursor **out)
{
    (void)base;
    struct cursor *c = sqlite3_malloc(sizeof *c);
    if (!c)
        return SQLITE_NOMEM;
    *c = (struct cursor){.more = false};
    *out = &c->base;
    return SQLITE_OK;
}

static int on_close(sqlite3_vtab_cursor *base)
{
    store_curve_finish(&((struct cursor *)base)->page);
    sqlite3_free(base);
    return SQLITE_OK;
}

static int fail(struct cursor *c, const struct err *err)
{
    sqlite3_free(c->base.pVtab->zErrMsg);
    c->base.pVtab->zErrMsg = sqlite3_mprintf("%s", err->message);
    return SQLITE_ERROR;
}

static int load(struct cursor *c, int64_t first)
{
    struct err err;
    store_curve_finish(&c->page);
    c->at = 0;
    if (first > c->last)
        return SQLITE_OK;
    if (store_curve_load(((struct table *)c->base.pVtab)->source, c->run, first, c->last, PAGE,
                         COLUMNS_ALL & ~(unsigned)COLUMN_MFU, &c->page, &err))
        return fail(c, &err);
    c->more = c->page.n == PAGE;
    return SQLITE_OK;
}

/* A bound that is no whole number narrows nothing; SQLite checks it. */
static bool whole(sqlite3_value *value, int64_t *out)
{
    if (sqlite3_value_type(value) != SQLITE_INTEGER)
        return false;
    *out = sqlite3_value_int64(value);
    return true;
}

static int on_filter(sqlite3_vtab_cursor *base, int bits, const char *name, int argc, sqlite3_value **argv)
{
    (void)name;
    struct cursor *c = (struct cursor *)base;
    const char *ref = argc ? (const char *)sqlite3_value_text(argv[0]) : NULL;
    int64_t first = 0, bound;
    int argument = 1;
    struct err err;
    c->more = false;
    c->last = INT64_MAX;
    store_curve_finish(&c->page);
    c->at = 0;
    if (!ref) /* NULL is no run */
        return SQLITE_OK;
    if (store_resolve(((struct table *)base->pVtab)->source, ref, &c->run, &err))
        return fail(c, &err);
    if (bits & HAS_LOW && whole(argv[argument++], &bound) && bound > first)
        first = bound;
    if (bits & HAS_HIGH && whole(argv[argument++], &bound))
        c->last = bound;
    if (bits & HAS_EQUAL && whole(argv[argument++], &bound)) {
        first = bound > first ? bound : first;
        c->last = bound < c->last ? bound : c->last;
    }
    return load(c, first);
}

static int on_next(sqlite3_vtab_cursor *base)
{
    struct cursor *c = (struct cursor *)base;
    c->at++;
    return c->at == c->page.n && c->more ? load(c, c->page.step[c->page.n - 1] + 1) : SQLITE_OK;
}

static int on_eof(sqlite3_vtab_cursor *base)
{
    const struct cursor *c = (const struct cursor *)base;
    return c->at >= c->page.n;
}

static int on_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int column)
{
    const struct cursor *c = (const struct cursor *)base;
    const struct store_curve *p = &c->page;
    const double *const reals[] = {NULL, p->epoch, NULL, p->loss, p->lr, p->grad_norm, p->ms, p->tok_s};
    if (column == 0)
        sqlite3_result_int64(context, p->step[c->at]);
    else if (column == 2)
        sqlite3_result_int64(context, p->tokens[c->at]);
    else if (column < COLUMN_RUN)
        sqlite3_result_double(context, reals[column][c->at]); /* SQLite makes NULL of NaN */
    else {
        char id[STORE_ID_SIZE];
        store_id_text(c->run, id);
        sqlite3_result_text(context, id, -1, SQLITE_TRANSIENT);
    }
    return SQLITE_OK;
}

static int on_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *out)
{
    const struct cursor *c = (const struct cursor *)base;
    *out = c->page.step[c->at];
    return SQLITE_OK;
}

static const sqlite3_module module = {
    .iVersion = 1,
    .xConnect = on_connect, /* no xCreate: it is there under its own name alone */
    .xBestIndex = on_best_index,
    .xDisconnect = on_disconnect,
    .xOpen = on_open,
    .xClose = on_close,
    .xFilter = on_filter,
    .xNext = on_next,
    .xEof = on_eof,
    .xColumn = on_column,
    .xRowid = on_rowid,
};

int query_steps_register(sqlite3 *db, struct store_conn *source)
{
    int rc = sqlite3_create_module_v2(db, "steps", &module, source, NULL);
    /* At its first use SQLite declares it, which no authorizer of the caller's has to allow. */
    return rc == SQLITE_OK ? sqlite3_exec(db, "SELECT 1 FROM steps(NULL)", NULL, NULL, NULL) : rc;
}
