/* ingest.c: one call of ingest_feed is one struct feed: load or trust the state, take line after line, flush, write the
 * summary and the offset. Steps gather in the connection's block; when the tail and the block make a full chunk, both
 * go out as one. Whatever fails, the state is marked as not loaded and comes from the database the next time.
 */
#include "daemon/ingest.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "base/spare.h"
#include "daemon/ingest_replay.h"
#include "daemon/ingest_summary.h"
#include "daemon/ingest_window.h"
#include "daemon/store_gpu.h"

/* Steps looked back at most for the window after a restart. */
enum { LOOK_BACK_MAX = 1 << 20 };

struct ingest {
    int64_t run, attempt;
    bool loaded;
    int64_t offset, resume_step, last_step;
    bool started, damaged, ended, active, told_other;
    bool job; /* of a run's model: it stands at that run's step and has none of its own */
    char numerics_id[SHA256_HEX_SIZE];
    int64_t tokens_per_epoch, steps_per_epoch; /* STORE_UNKNOWN until started */
    int64_t tail_rows;
    int64_t furthest, skipped, missing; /* of the run: last step of its curve (0: none), counts of its steps */
    struct replay replay;
    struct replay_found found;
    struct ingest_window window;
};

struct feed {
    struct store_conn *c;
    struct ingest *g;
    struct store_block *b;
    struct ingest_news *news;
    int64_t now_ms, line_offset;
    struct replay_found found_before;
    bool has_val, has_gpu;
    bool lost;          /* steps that were done are not in the journal */
    int64_t witness;    /* a step that was done, by other records than its own; 0 */
    int64_t first_step; /* taken in this feed; 0 */
};

struct ingest *ingest_create(int64_t run, int64_t attempt)
{
    struct ingest *g = spare_malloc(sizeof *g);
    memset(g, 0, sizeof *g);
    g->run = run;
    g->attempt = attempt;
    return g;
}

void ingest_destroy(struct ingest *g)
{
    if (!g)
        return;
    replay_finish(&g->replay);
    window_finish(&g->window);
    free(g);
}

/* --- state ------------------------------------------------------------------------------------------------------- */

/* The window as it stands after step `upto` of the effective curve. */
static int load_window(struct feed *f, int64_t upto, struct err *err)
{
    struct ingest *g = f->g;
    struct store_curve v;
    int64_t back = g->steps_per_epoch > 0 ? g->steps_per_epoch / WINDOW_EPOCH_SHARE + 2 : 1;
    int64_t first = upto - (back < LOOK_BACK_MAX ? back : LOOK_BACK_MAX);
    window_clear(&g->window);
    int rc = store_curve_load(f->c, g->run, first, upto, 0,
                              COLUMN_TOKENS | COLUMN_LOSS | COLUMN_MS | COLUMN_TOK_S | COLUMN_MFU, &v, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < v.n && !rc; i++) {
        struct window_step s = {v.tokens[i], v.loss[i], v.ms[i], v.tok_s[i], v.mfu[i]};
        rc = window_add(&g->window, &s, g->tokens_per_epoch, err);
    }
    store_curve_finish(&v);
    return rc;
}

static int load_row(struct feed *f, struct err *err)
{
    struct ingest *g = f->g;
    sqlite3_stmt *st;
    char end_reason[32];
    int rc = sql_open(f->c, QUERY_INGEST_GET, SQL_VALUES(SQL_INT(g->run), SQL_INT(g->attempt)), &st, err);
    if (rc)
        return rc;
    rc = sql_step(f->c, st, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, "run b%05" PRId64 " has no attempt %" PRId64, g->run, g->attempt);
    g->offset = sqlite3_column_int64(st, 0);
    g->resume_step = sqlite3_column_int64(st, 1);
    g->last_step = sqlite3_column_int64(st, 2);
    g->started = sqlite3_column_int64(st, 3) != 0;
    g->damaged = sqlite3_column_int64(st, 4) != 0;
    g->found.nondeterministic = sqlite3_column_int64(st, 5);
    g->found.drifted = sqlite3_column_int64(st, 6);
    sql_text(st, 7, g->numerics_id, sizeof g->numerics_id);
    sql_text(st, 8, end_reason, sizeof end_reason);
    g->ended = end_reason[0] != '\0';
    g->active = sqlite3_column_int64(st, 9) != 0;
    g->tokens_per_epoch = sql_int_known(st, 10);
    g->steps_per_epoch = sql_int_known(st, 11);
    g->furthest = sqlite3_column_int64(st, 12);
    g->skipped = sqlite3_column_int64(st, 13);
    g->missing = sqlite3_column_int64(st, 14);
    g->job = sqlite3_column_int64(st, 15) != 0;
    g->found.replayed = sqlite3_column_int64(st, 16);
    g->found.replayed_other = sqlite3_column_int64(st, 17);
    sql_end(st);
    return 0;
}

static int load(struct feed *f, struct err *err)
{
    struct ingest *g = f->g;
    int rc = load_row(f, err);
    if (!rc)
        rc = sql_get_int(f->c, QUERY_TAIL_COUNT, SQL_VALUES(SQL_INT(g->run), SQL_INT(g->attempt)), &g->tail_rows, err);
    g->told_other = false;
    if (!rc && g->started)
        rc = replay_load(f->c, g->run, g->attempt, g->numerics_id, &g->replay, err);
    if (!rc && g->started)
        rc = load_window(f, g->last_step, err);
    g->loaded = rc == 0;
    return rc;
}

/* Another job may have failed after ours and taken our commit with it, or the attempt's end have sealed the tail: the
 * database knows. */
static int check_state(struct feed *f, struct err *err)
{
    struct ingest *g = f->g;
    int64_t offset = g->offset;
    bool active = g->active;
    if (!g->loaded)
        return load(f, err);
    int rc = load_row(f, err);
    if (rc)
        return rc;
    return offset == g->offset && active == g->active ? 0 : load(f, err);
}

/* --- steps ------------------------------------------------------------------------------------------------------- */

/* What is new in the block, before it goes out. */
static int look_at_block(struct feed *f, struct err *err)
{
    struct ingest *g = f->g;
    int rc = replay_compare(f->c, g->run, g->attempt, &g->replay, f->b, f->now_ms, &g->found, err);
    return rc ? rc : summary_skipped(f->c, g->run, f->b, &g->skipped, err);
}

/* Tail and block as one chunk. */
static int flush_chunk(struct feed *f, struct err *err)
{
    struct ingest *g = f->g;
    int rc = look_at_block(f, err);
    if (!rc && g->tail_rows > 0)
        rc = store_steps_take_tail(f->c, g->run, g->attempt, f->b, err);
    if (!rc && f->b->n > 0)
        rc = store_steps_write_chunk(f->c, g->run, g->attempt, f->b, err);
    if (!rc)
        g->tail_rows = 0;
    return rc;
}

static int flush_tail(struct feed *f, struct err *err)
{
    size_t n = f->b->n;
    int rc = look_at_block(f, err);
    if (!rc)
        rc = store_steps_write_tail(f->c, f->g->run, f->g->attempt, f->b, err);
    if (!rc)
        f->g->tail_rows += (int64_t)n;
    return rc;
}

__attribute__((format(printf, 3, 4))) static int damage(struct feed *f, struct err *err, const char *format, ...)
{
    struct ingest *g = f->g;
    char what[256], text[320];
    f->news->damaged = true;
    if (g->damaged)
        return 0;
    va_list ap;
    va_start(ap, format);
    vsnprintf(what, sizeof what, format, ap);
    va_end(ap);
    snprintf(text, sizeof text, "journal, byte %" PRId64 ": %s", f->line_offset, what);
    g->damaged = true;
    int rc = sql_run_one(f->c, QUERY_INGEST_DAMAGED, SQL_VALUES(SQL_INT(g->run), SQL_INT(g->attempt)), err);
    return rc ? rc : store_event_add(f->c, g->run, g->attempt, "journal_damaged", text, f->now_ms, err);
}

/* A record that follows that of its step: where it does not, the step's is lost. */
static int follows_step(struct feed *f, int64_t step, const char *what, struct err *err)
{
    if (step <= f->g->last_step)
        return 0;
    f->lost = true;
    f->witness = step > f->witness ? step : f->witness;
    return damage(f, err, "%s at step %" PRId64 " after step %" PRId64, what, step, f->g->last_step);
}

static int take_step(struct feed *f, const struct journal_step *s, struct err *err)
{
    struct ingest *g = f->g;
    int rc = 0;
    if (!g->started)
        rc = damage(f, err, "step %" PRId64 " before the start", s->step);
    if (rc)
        return rc;
    if (s->step <= g->last_step || s->tokens < 0)
        return damage(f, err, "step %" PRId64 " after step %" PRId64, s->step, g->last_step);
    if (s->step != g->last_step + 1) {
        f->lost = true;
        rc = damage(f, err, "step %" PRId64 " after step %" PRId64, s->step, g->last_step);
        if (!rc && g->tail_rows + (int64_t)f->b->n > 0) /* what is before the gap must not meet what is behind it */
            rc = flush_chunk(f, err);
        if (rc)
            return rc;
    }
    struct store_block *b = f->b;
    size_t i = b->n++;
    b->step[i] = s->step;
    b->tokens[i] = s->tokens;
    b->epoch[i] = s->epoch;
    b->loss[i] = s->loss;
    b->lr[i] = s->lr;
    b->grad_norm[i] = s->grad_norm;
    b->ms[i] = s->ms;
    b->tok_s[i] = s->tok_s;
    struct window_step w = {s->tokens, s->loss, s->ms, s->tok_s, s->mfu};
    rc = window_add(&g->window, &w, g->tokens_per_epoch, err);
    g->last_step = s->step;
    if (f->first_step == 0)
        f->first_step = s->step;
    f->news->last = *s;
    f->news->steps++;
    f->news->slowest_step_ms = fmax(f->news->slowest_step_ms, s->ms);
    if (!rc && g->tail_rows + (int64_t)b->n == STORE_CHUNK_STEPS)
        rc = flush_chunk(f, err);
    return rc;
}

/* --- the other records ------------------------------------------------------------------------------------------- */

static int take_start(struct feed *f, const struct journal_start *s, struct err *err)
{
    struct ingest *g = f->g;
    if (g->started || g->last_step != g->resume_step)
        return damage(f, err, "a start that is not the first record");
    int rc = 0;
    if (s->attempt != g->attempt)
        rc = damage(f, err, "the start of attempt %d in the journal of attempt %" PRId64, s->attempt, g->attempt);
    if (!rc && s->resume_step < 0)
        return damage(f, err, "resume_step %" PRId64, s->resume_step);
    if (!rc)
        rc = sql_run_one(f->c, QUERY_INGEST_START,
                         SQL_VALUES(SQL_INT(g->run), SQL_INT(g->attempt), SQL_INT(s->resume_step),
                                    SQL_TEXT(s->numerics_id), SQL_TEXT(s->device), SQL_INT(s->threads),
                                    SQL_INT(s->memory_bytes), s->peak_flops > 0 ? SQL_REAL(s->peak_flops) : SQL_NULL),
                         err);
    if (!rc)
        rc = sql_run_one(f->c, QUERY_INGEST_START_RUN,
                         SQL_VALUES(SQL_INT(g->run), g->job ? SQL_NULL : SQL_INT(s->total_steps),
                                    SQL_INT(s->tokens_per_epoch), SQL_INT(s->steps_per_epoch), SQL_INT(s->params),
                                    s->flops_per_token > 0 ? SQL_REAL(s->flops_per_token) : SQL_NULL,
                                    SQL_INT(s->micro_batch)),
                         err);
    if (!rc)
        rc = replay_load(f->c, g->run, g->attempt, s->numerics_id, &g->replay, err);
    if (rc)
        return rc;
    g->started = f->news->started = true;
    f->news->start = *s;
    g->resume_step = g->last_step = s->resume_step;
    if (s->resume_step > g->furthest && !g->job) { /* an older journal's last steps */
        f->lost = true;
        f->witness = s->resume_step;
    }
    g->tokens_per_epoch = s->tokens_per_epoch;
    g->steps_per_epoch = s->steps_per_epoch;
    memcpy(g->numerics_id, s->numerics_id, sizeof g->numerics_id);
    if (g->replay.before[0] && strcmp(g->replay.before, s->numerics_id) != 0) {
        char text[256];
        snprintf(text, sizeof text, "numerics id %s, before %s", s->numerics_id, g->replay.before);
        rc = store_event_add(f->c, g->run, g->attempt, "numerics_changed", text, f->now_ms, err);
    }
    return rc ? rc : load_window(f, s->resume_step, err);
}

static int take_eval(struct feed *f, const struct journal_eval *e, struct err *err)
{
    struct ingest *g = f->g;
    if (e->step < 0 || e->tokens < 0)
        return damage(f, err, "an evaluation at step %" PRId64, e->step);
    int rc = follows_step(f, e->step, "an evaluation", err);
    if (rc)
        return rc;
    f->news->evaluated = true;
    f->news->evaluated_step = e->step;
    f->news->evaluation_ms = e->ms;
    f->has_val |= strcmp(e->split, "val") == 0;
    return sql_run(f->c, QUERY_EVAL_INSERT,
                   SQL_VALUES(SQL_INT(g->run), SQL_INT(e->step), SQL_TEXT(e->split), SQL_INT(g->attempt),
                              SQL_INT(e->tokens), SQL_REAL(e->epoch), SQL_REAL(e->loss), SQL_REAL(e->perplexity),
                              isnan(e->bits_per_byte) ? SQL_NULL : SQL_REAL(e->bits_per_byte), SQL_INT(e->predictions),
                              SQL_REAL(e->ms), isnan(e->word_perplexity) ? SQL_NULL : SQL_REAL(e->word_perplexity)),
                   err);
}

static int take_gpu(struct feed *f, const struct journal_gpu *g, struct err *err)
{
    f->has_gpu = true;
    return store_gpu_add(f->c, f->g->run, f->g->attempt, g, err);
}

static int take_checkpoint(struct feed *f, const struct journal_checkpoint *k, struct err *err)
{
    char expected[64];
    snprintf(expected, sizeof expected, "checkpoints/%" PRId64 "-a%" PRId64, k->step, f->g->attempt);
    if (k->step < 0 || strcmp(k->path, expected) != 0) /* this path is deleted one day: none but ours */
        return damage(f, err, "checkpoint %s where only %s may be", k->path, expected);
    int rc = follows_step(f, k->step, "a checkpoint", err);
    if (rc)
        return rc;
    f->news->checkpointed = true;
    f->news->checkpointed_step = k->step;
    f->news->checkpoint_ms = k->ms;
    return sql_run(
        f->c, QUERY_CHECKPOINT_INSERT,
        SQL_VALUES(SQL_INT(f->g->run), SQL_INT(k->step), SQL_INT(f->g->attempt), SQL_TEXT(k->path), SQL_INT(k->bytes)),
        err);
}

static int take_end(struct feed *f, const struct journal_end *e, struct err *err)
{
    int rc = follows_step(f, e->step, "the end", err);
    if (rc)
        return rc;
    f->g->ended = f->news->ended = true;
    f->news->end = *e;
    return sql_run_one(f->c, QUERY_INGEST_END,
                       SQL_VALUES(SQL_INT(f->g->run), SQL_INT(f->g->attempt),
                                  SQL_TEXT(journal_end_reason_word(e->reason)), SQL_TEXT(e->text)),
                       err);
}

/* A newer worker's: no damage, but not passed over in silence. The first since the state was loaded is told. */
static int take_other(struct feed *f, const char *kind, struct err *err)
{
    char text[128];
    if (f->g->told_other)
        return 0;
    f->g->told_other = true;
    snprintf(text, sizeof text, "records of kind %s are of a newer worker and passed over", kind);
    return store_event_add(f->c, f->g->run, f->g->attempt, "journal_unknown", text, f->now_ms, err);
}

static int take_line(struct feed *f, const char *line, size_t size, struct err *err)
{
    struct journal_record r;
    struct err why = {0};
    if (size >= JOURNAL_LINE_MAX)
        return damage(f, err, "a line of %zu bytes or more", size);
    if (journal_parse(line, size, &r, &why))
        return damage(f, err, "not a record: %s", why.message);
    f->news->records++;
    if (f->g->ended)
        return damage(f, err, "a record behind the end");
    switch (r.kind) {
    case JOURNAL_START:
        return take_start(f, &r.start, err);
    case JOURNAL_STEP:
        return take_step(f, &r.step, err);
    case JOURNAL_EVAL:
        return take_eval(f, &r.eval, err);
    case JOURNAL_GPU:
        return take_gpu(f, &r.gpu, err);
    case JOURNAL_CHECKPOINT:
        return take_checkpoint(f, &r.checkpoint, err);
    case JOURNAL_NOTE:
        return store_event_add(f->c, f->g->run, f->g->attempt, "note", r.note, f->now_ms, err);
    case JOURNAL_END:
        return take_end(f, &r.end, err);
    case JOURNAL_OTHER:
        return take_other(f, r.other, err);
    }
    return err_set(err, ERR_INTERNAL, "a journal record of kind %d", (int)r.kind);
}

/* --- a feed ------------------------------------------------------------------------------------------------------ */

/* Whole lines; *taken is their size. */
static int take_lines(struct feed *f, const char *bytes, size_t size, size_t *taken, struct err *err)
{
    size_t at = 0;
    int rc = 0;
    while (at < size && !rc) {
        const char *end = memchr(bytes + at, '\n', size - at);
        if (!end && size - at < JOURNAL_LINE_MAX)
            break; /* torn, or not yet written to its end */
        size_t length = end ? (size_t)(end - bytes) - at : size - at;
        f->line_offset = f->g->offset + (int64_t)at;
        rc = take_line(f, bytes + at, length, err);
        at += length + (end ? 1 : 0);
    }
    *taken = at;
    return rc;
}

static int write_replayed(struct feed *f, struct err *err)
{
    struct ingest *g = f->g;
    int64_t other = g->found.nondeterministic - f->found_before.nondeterministic;
    int64_t drifted = g->found.drifted - f->found_before.drifted;
    int64_t replayed = g->found.replayed - f->found_before.replayed;
    int64_t replayed_other = g->found.replayed_other - f->found_before.replayed_other;
    f->news->nondeterminism = other;
    if (replayed == 0 && replayed_other == 0)
        return 0;
    int rc = sql_run_one(f->c, QUERY_INGEST_REPLAYED,
                         SQL_VALUES(SQL_INT(g->run), SQL_INT(g->attempt), SQL_INT(other), SQL_INT(drifted),
                                    SQL_INT(replayed), SQL_INT(replayed_other)),
                         err);
    return rc || other == 0
               ? rc
               : sql_run_one(f->c, QUERY_INGEST_REPLAYED_RUN, SQL_VALUES(SQL_INT(g->run), SQL_INT(other)), err);
}

static int write_summary(struct feed *f, struct err *err)
{
    struct ingest *g = f->g;
    const struct ingest_news *news = f->news;
    bool replayed = g->missing > 0 && f->first_step > 0 && f->first_step <= g->furthest;
    int rc = 0;
    if (news->steps > 0)
        rc = summary_progress(f->c, g->run, &news->last, news->last.step >= g->furthest, &g->window, err);
    if (!rc && f->has_gpu)
        rc = sql_run_one(f->c, QUERY_INGEST_ENERGY, SQL_VALUES(SQL_INT(g->run)), err);
    if (!rc && f->has_val)
        rc = summary_val(f->c, g->run, err);
    if (!rc && (f->lost || replayed)) /* a replay may have brought one back */
        rc = summary_missing(f->c, g->run, g->attempt, f->witness, g->missing, f->now_ms, err);
    return rc;
}

static int feed(struct feed *f, const char *bytes, size_t size, struct err *err)
{
    struct ingest *g = f->g;
    size_t taken;
    f->found_before = g->found;
    int rc = store_block_take(f->c, &f->b, err);
    if (!rc)
        rc = take_lines(f, bytes, size, &taken, err);
    if (!rc && f->b->n > 0)
        rc = flush_tail(f, err);
    if (rc || taken == 0)
        return rc;
    rc = write_replayed(f, err);
    if (!rc)
        rc = write_summary(f, err);
    if (!rc)
        rc = sql_run_one(f->c, QUERY_INGEST_SET,
                         SQL_VALUES(SQL_INT(g->run), SQL_INT(g->attempt), SQL_INT(g->offset + (int64_t)taken),
                                    SQL_INT(g->last_step)),
                         err);
    if (!rc)
        g->offset += (int64_t)taken;
    return rc;
}

int ingest_feed(struct store_conn *c, struct ingest *g, int64_t offset, const char *bytes, size_t size, int64_t now_ms,
                struct ingest_news *news, struct err *err)
{
    struct ingest_news told = {0};
    struct feed f = {.c = c, .g = g, .news = &told, .now_ms = now_ms};
    int rc = check_state(&f, err);
    if (!rc && offset == g->offset && size > 0)
        rc = feed(&f, bytes, size, err);
    if (rc) {
        g->loaded = false;
        return rc;
    }
    told.offset = g->offset;
    *news = told;
    return 0;
}
