#include "daemon/ingest_replay.h"

#include <stdlib.h>
#include <string.h>

void replay_finish(struct replay *p)
{
    free(p->same);
    free(p->other);
    *p = (struct replay){.last_step = -1};
}

static int read_older(struct store_conn *c, int64_t run, int64_t attempt, const char *numerics_id, struct replay *p,
                      struct err *err)
{
    sqlite3_stmt *st;
    int rc = sql_open(c, QUERY_INGEST_OLDER, SQL_VALUES(SQL_INT(run), SQL_INT(attempt)), &st, err);
    if (rc)
        return rc;
    while ((rc = sql_step(c, st, err)) > 0) {
        int64_t n = sqlite3_column_int64(st, 0);
        char id[SHA256_HEX_SIZE];
        sql_text(st, 1, id, sizeof id);
        if (n < 0 || n >= attempt || !id[0])
            continue;
        memcpy(p->before, id, sizeof id);
        *(strcmp(id, numerics_id) == 0 ? &p->same[n] : &p->other[n]) = true;
    }
    return rc;
}

int replay_load(struct store_conn *c, int64_t run, int64_t attempt, const char *numerics_id, struct replay *p,
                struct err *err)
{
    struct store_extent *extents;
    size_t n;
    replay_finish(p);
    if (attempt < 2)
        return 0;
    p->n = (size_t)attempt;
    p->same = calloc(p->n, sizeof *p->same);
    p->other = calloc(p->n, sizeof *p->other);
    bool *older = malloc(p->n * sizeof *older);
    int rc = p->same && p->other && older ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
    if (!rc)
        rc = read_older(c, run, attempt, numerics_id, p, err);
    for (size_t i = 0; i < p->n && !rc; i++)
        older[i] = true;
    if (!rc)
        rc = store_extents(c, run, 0, INT64_MAX, older, p->n, &extents, &n, err);
    free(older);
    if (rc) {
        replay_finish(p);
        return rc;
    }
    if (n > 0)
        p->last_step = extents[n - 1].last;
    free(extents);
    return 0;
}

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static bool near(double a, double b)
{
    if (!isfinite(a) || !isfinite(b))
        return a == b || (isnan(a) && isnan(b));
    return fabs(a - b) <= REPLAY_TOLERANCE * fmax(fabs(a), fabs(b));
}

static int tell(struct store_conn *c, int64_t run, int64_t attempt, const bool *keep, size_t keep_n, const char *kind,
                const char *what, int64_t step, double now, double before, int64_t now_ms, struct err *err)
{
    struct store_extent *e;
    size_t n;
    char text[256];
    int rc = store_extents(c, run, step, step, keep, keep_n, &e, &n, err);
    if (rc)
        return rc;
    snprintf(text, sizeof text, "step %lld: %s %.17g in attempt %lld, %.17g in attempt %lld", (long long)step, what,
             now, (long long)attempt, before, n ? (long long)e[0].attempt : 0LL);
    free(e);
    return store_event_add(c, run, attempt, kind, text, now_ms, err);
}

int replay_compare(struct store_conn *c, int64_t run, int64_t attempt, const struct replay *p,
                   const struct store_block *b, int64_t now_ms, struct replay_found *found, struct err *err)
{
    if (!p->same || b->n == 0 || b->step[0] > p->last_step)
        return 0;
    int64_t first = b->step[0], last = b->step[b->n - 1];
    struct store_curve same, other;
    int rc = store_curve_load_kept(c, run, first, last, 0, COLUMN_LOSS | COLUMN_GRAD_NORM, p->same, p->n, &same, err);
    if (rc)
        return rc;
    rc = store_curve_load_kept(c, run, first, last, 0, COLUMN_LOSS, p->other, p->n, &other, err);
    if (rc) {
        store_curve_finish(&same);
        return rc;
    }
    /* the block has no gap: its step s stands at s - first */
    for (size_t i = 0; i < same.n && !rc; i++) {
        int64_t at = same.step[i] - first;
        bool loss = same_bits(b->loss[at], same.loss[i]), norm = same_bits(b->grad_norm[at], same.grad_norm[i]);
        found->replayed++;
        if (loss && norm)
            continue;
        if (found->nondeterministic++ == 0)
            rc = tell(c, run, attempt, p->same, p->n, "nondeterminism", loss ? "gradient norm" : "loss", same.step[i],
                      loss ? b->grad_norm[at] : b->loss[at], loss ? same.grad_norm[i] : same.loss[i], now_ms, err);
    }
    for (size_t i = 0, k = 0; i < other.n && !rc; i++) {
        while (k < same.n && same.step[k] < other.step[i])
            k++;
        double now = b->loss[other.step[i] - first];
        if (k < same.n && same.step[k] == other.step[i])
            continue;
        found->replayed_other++;
        if (near(now, other.loss[i]))
            continue;
        if (found->drifted++ == 0)
            rc = tell(c, run, attempt, p->other, p->n, "replay_drift", "loss", other.step[i], now, other.loss[i],
                      now_ms, err);
    }
    store_curve_finish(&same);
    store_curve_finish(&other);
    return rc;
}
