/* store_run.c: making runs, finding them, reading them. Changes of state stand in store_state.c. */
#include "daemon/store_run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "daemon/store_row.h"
#include "daemon/store_statement.h"

void store_id_text(int64_t id, char out[STORE_ID_SIZE])
{
    snprintf(out, STORE_ID_SIZE, "b%05" PRId64, id);
}

bool store_id_parse(const char *text, int64_t *out)
{
    if (text[0] != 'b' || strlen(text) < 6 || strlen(text) > 19 || strspn(text + 1, "0123456789") != strlen(text + 1))
        return false;
    int64_t id = strtoll(text + 1, NULL, 10);
    char again[STORE_ID_SIZE];
    store_id_text(id, again);
    if (id < 1 || strcmp(again, text) != 0) /* "b000012" is not how b00012 is written */
        return false;
    *out = id;
    return true;
}

void store_run_finish(struct store_run *r)
{
    if (!r)
        return;
    free(r->reason);
    free(r->tags);
    r->reason = r->tags = NULL;
}

void store_runs_free(struct store_run *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        store_run_finish(&r[i]);
    free(r);
}

static const char *or_empty(const unsigned char *text)
{
    return text ? (const char *)text : "";
}

static const char *const kind_words[] = {
    [KIND_TRAIN] = "train", [KIND_IMPORT] = "import", [KIND_EVAL] = "eval", [KIND_SAMPLE] = "sample"};

const char *store_kind_word(enum store_kind kind)
{
    return kind_words[kind];
}

bool store_kind_is_job(enum store_kind kind)
{
    return kind == KIND_EVAL || kind == KIND_SAMPLE;
}

static bool parse_kind(const char *word, enum store_kind *out)
{
    for (size_t i = 0; i < sizeof kind_words / sizeof *kind_words; i++)
        if (strcmp(word, kind_words[i]) == 0) {
            *out = (enum store_kind)i;
            return true;
        }
    return false;
}

/* Columns as in the view run_row. */
int store_row_run(sqlite3_stmt *st, struct store_run *out, struct err *err)
{
    struct store_run r = {.id = sqlite3_column_int64(st, 0)};
    const char *state = or_empty(sqlite3_column_text(st, 3));
    if (!run_state_parse(state, &r.state))
        return err_set(err, ERR_DAMAGED, "run %lld has no known state: %s", (long long)r.id, state);
    const char *kind = or_empty(sqlite3_column_text(st, 2));
    if (!parse_kind(kind, &r.kind))
        return err_set(err, ERR_DAMAGED, "run %lld is of no known kind: %s", (long long)r.id, kind);
    store_id_text(r.id, r.id_text);
    sql_text(st, 1, r.name, sizeof r.name);
    r.reason = sql_text_copy(st, 4);
    sql_text(st, 5, r.spec_hash, sizeof r.spec_hash);
    sql_text(st, 6, r.data, sizeof r.data);
    r.priority = sqlite3_column_int64(st, 7);
    r.cpus = sqlite3_column_int64(st, 8);
    r.gpus = sqlite3_column_int64(st, 9);
    r.gpu_memory = sqlite3_column_int64(st, 10);
    r.created_ms = sqlite3_column_int64(st, 11);
    r.started_ms = sql_int_known(st, 12);
    r.ended_ms = sql_int_known(st, 13);
    r.cancelling = sqlite3_column_int64(st, 14) != 0;
    r.attempts = sqlite3_column_int64(st, 15);
    r.ran_ms = sqlite3_column_int64(st, 16);
    r.running_since_ms = sql_int_known(st, 17);
    r.peak_memory_bytes = sql_int_known(st, 18);
    r.not_before_ms = sqlite3_column_int64(st, 19);
    r.no_progress = sqlite3_column_int64(st, 20);
    r.crash_step = sqlite3_column_int64(st, 21);
    r.crash_count = sqlite3_column_int64(st, 22);
    r.step = sql_int_known(st, 23);
    r.total_steps = sql_int_known(st, 24);
    r.tokens_per_epoch = sql_int_known(st, 25);
    r.epoch = sql_real(st, 26);
    r.tokens = sql_int_known(st, 27);
    r.params = sql_int_known(st, 28);
    r.flops_per_token = sql_real(st, 29);
    r.train_loss = sql_real(st, 30);
    r.last_loss = sql_real(st, 31);
    r.val_loss = sql_real(st, 32);
    r.best_val_loss = sql_real(st, 33);
    r.tok_s = sql_real(st, 34);
    r.step_ms = sql_real(st, 35);
    r.nondeterminism = sqlite3_column_int64(st, 36);
    r.tags = sql_text_copy(st, 37);
    r.mfu = sql_real(st, 38);
    r.energy_j = sql_real(st, 39);
    r.micro_batch = sqlite3_column_int64(st, 40);
    r.micro_batch_limit = sqlite3_column_int64(st, 41);
    r.skipped_steps = sqlite3_column_int64(st, 42);
    r.missing_steps = sqlite3_column_int64(st, 43);
    r.at_step = sql_int_known(st, 44);
    r.source = sql_int_known(st, 45);
    r.steps_per_epoch = sql_int_known(st, 46);
    r.checkpoint_bytes = sql_int_known(st, 48);
    const char *aside = or_empty(sqlite3_column_text(st, 47));
    if (!run_aside_parse(aside, &r.aside)) {
        int rc = err_set(err, ERR_DAMAGED, "run %lld steps aside for no known reason: %s", (long long)r.id, aside);
        store_run_finish(&r);
        return rc;
    }
    if (!r.reason || !r.tags) {
        store_run_finish(&r);
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    }
    *out = r;
    return 0;
}

/* --- making ------------------------------------------------------------------------------------------------------ */

int store_request_runs(struct store_conn *c, const char *request_id, int64_t **ids, size_t *n, struct err *err)
{
    int rc = store_row_ids(c, QUERY_REQUEST_RUNS, SQL_VALUES(SQL_TEXT(request_id)), ids, n, err);
    if (!rc && *n == 0) {
        free(*ids);
        *ids = NULL;
        rc = err_set(err, ERR_NOT_FOUND, "no such request");
    }
    return rc;
}

int store_row_repeated(struct store_conn *c, const char *request_id, int64_t *ids, size_t n, bool *repeated,
                       struct err *err)
{
    int64_t *known;
    size_t known_n;
    *repeated = false;
    if (!request_id)
        return 0;
    int rc = store_request_runs(c, request_id, &known, &known_n, err);
    if (rc == -ERR_NOT_FOUND)
        return 0;
    if (rc)
        return rc;
    if (known_n == n) {
        memcpy(ids, known, n * sizeof *ids);
        *repeated = true;
    } else {
        rc = err_set(err, ERR_CONFLICT, "request %s made %zu runs before, not %zu", request_id, known_n, n);
    }
    free(known);
    return rc;
}

int store_row_made(struct store_conn *c, const char *request_id, size_t seq, int64_t id, const char *kind,
                   const char *const *tags, size_t tag_count, int64_t now_ms, struct err *err)
{
    int rc = 0;
    if (request_id)
        rc =
            sql_run(c, QUERY_REQUEST_INSERT, SQL_VALUES(SQL_TEXT(request_id), SQL_INT((int64_t)seq), SQL_INT(id)), err);
    for (size_t i = 0; i < tag_count && !rc; i++)
        rc = sql_run(c, QUERY_TAG_INSERT, SQL_VALUES(SQL_INT(id), SQL_TEXT(tags[i])), err);
    return rc ? rc : store_event_add(c, id, 0, kind, "", now_ms, err);
}

int store_submit(struct store_conn *c, const char *request_id, const struct store_new_run *runs, size_t n,
                 const char *const *tags, size_t tag_count, int64_t now_ms, int64_t *ids, bool *repeated,
                 struct err *err)
{
    int rc = store_row_repeated(c, request_id, ids, n, repeated, err);
    if (rc || *repeated)
        return rc;
    for (size_t i = 0; i < n && !rc; i++) {
        const struct store_new_run *r = &runs[i];
        rc = sql_run(c, QUERY_RUN_INSERT,
                     SQL_VALUES(SQL_TEXT(r->name), SQL_TEXT(r->spec), SQL_TEXT(r->spec_hash), SQL_TEXT(r->data),
                                SQL_INT(r->priority), SQL_INT(r->cpus), SQL_INT(r->gpus), SQL_INT(r->gpu_memory),
                                SQL_INT(now_ms), SQL_INT_KNOWN(r->total_steps), SQL_INT_KNOWN(r->params),
                                SQL_REAL_KNOWN(r->flops_per_token), SQL_TEXT(store_kind_word(r->kind)),
                                SQL_INT(r->checkpoint_bytes)),
                     err);
        if (rc)
            break;
        ids[i] = sqlite3_last_insert_rowid(c->db);
        if (store_kind_is_job(r->kind))
            rc = sql_run(c, QUERY_JOB_INSERT, SQL_VALUES(SQL_INT(ids[i]), SQL_INT(r->source), SQL_TEXT(r->parameters)),
                         err);
        if (rc)
            break;
        rc = store_row_made(c, request_id, i, ids[i], "submitted", tags, tag_count, now_ms, err);
    }
    return rc;
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

static int read_id(sqlite3_stmt *st, void *row, struct err *err)
{
    (void)err; /* cannot fail: it owns nothing */
    *(int64_t *)row = sqlite3_column_int64(st, 0);
    return 0;
}

int store_row_ids(struct store_conn *c, enum store_query query, const struct sql_value *values, size_t value_count,
                  int64_t **ids, size_t *n, struct err *err)
{
    static const struct sql_row row = {.size = sizeof(int64_t), .read = read_id};
    return sql_rows(c, query, values, value_count, &row, (void **)ids, n, err);
}

int store_row_of_run(struct store_conn *c, enum store_query query, int64_t id, sqlite3_stmt **st, struct err *err)
{
    int rc = sql_open(c, query, SQL_VALUES(SQL_INT(id)), st, err);
    if (!rc)
        rc = sql_step(c, *st, err);
    if (rc < 0)
        return rc;
    return rc > 0 ? 0 : err_set(err, ERR_NOT_FOUND, "no run with id b%05" PRId64, id);
}

int store_run_get(struct store_conn *c, int64_t id, struct store_run *out, struct err *err)
{
    sqlite3_stmt *st;
    int rc = store_row_of_run(c, QUERY_RUN_GET, id, &st, err);
    if (rc)
        return rc;
    rc = store_row_run(st, out, err);
    sql_end(st);
    return rc;
}

int store_run_spec(struct store_conn *c, int64_t id, char **spec, struct err *err)
{
    sqlite3_stmt *st;
    int rc = store_row_of_run(c, QUERY_RUN_SPEC, id, &st, err);
    if (rc)
        return rc;
    char *text = sql_text_copy(st, 0);
    sql_end(st);
    if (!text)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    *spec = text;
    return 0;
}

int store_resolve(struct store_conn *c, const char *ref, int64_t *id, struct err *err)
{
    int64_t value;
    if (store_id_parse(ref, &value)) {
        int rc = sql_get_int(c, QUERY_RUN_EXISTS, SQL_VALUES(SQL_INT(value)), &value, err);
        if (rc != -ERR_NOT_FOUND) {
            if (!rc)
                *id = value;
            return rc;
        }
    }
    int rc = sql_get_int(c, QUERY_RUN_BY_NAME, SQL_VALUES(SQL_TEXT(ref)), &value, err);
    if (rc == -ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, "no run with id or name %s", ref);
    if (!rc)
        *id = value;
    return rc;
}

int store_resolve_list(struct store_conn *c, const char *ref, int64_t **ids, size_t *n, struct err *err)
{
    int64_t id;
    int rc = store_resolve(c, ref, &id, err);
    if (!rc) {
        int64_t *one = malloc(sizeof *one);
        if (!one)
            return err_set(err, ERR_NO_MEMORY, "out of memory");
        *one = id;
        *ids = one;
        *n = 1;
        return 0;
    }
    if (rc != -ERR_NOT_FOUND)
        return rc;
    rc = store_row_ids(c, QUERY_TAG_RUNS, SQL_VALUES(SQL_TEXT(ref)), ids, n, err);
    if (!rc && *n == 0) {
        free(*ids);
        *ids = NULL;
        rc = err_set(err, ERR_NOT_FOUND, "no run with id, name or tag %s", ref);
    }
    return rc;
}

struct page {
    struct store_run *rows;
    size_t n, limit;
    bool more;
};

/* Reads one row beyond the limit to know whether there is a next page. */
static int read_page(struct store_conn *c, enum store_query query, const struct sql_value *values, size_t value_count,
                     struct page *p, struct err *err)
{
    sqlite3_stmt *st;
    int rc = sql_open(c, query, values, value_count, &st, err);
    if (rc)
        return rc;
    while ((rc = sql_step(c, st, err)) > 0) {
        p->more = p->n == p->limit;
        rc = p->more ? 0 : store_row_run(st, &p->rows[p->n], err);
        if (rc || p->more) {
            sql_end(st);
            break;
        }
        p->n++;
    }
    return rc;
}

/* The page of a filter whose ref named one run. */
static int page_of_one(struct store_conn *c, const struct store_filter *f, int64_t id, struct page *p, struct err *err)
{
    int64_t found;
    if (id <= f->after)
        return 0;
    if (f->tag) {
        int rc = sql_get_int(c, QUERY_TAG_HAS, SQL_VALUES(SQL_INT(id), SQL_TEXT(f->tag)), &found, err);
        if (rc)
            return rc == -ERR_NOT_FOUND ? 0 : rc;
    }
    int rc = store_run_get(c, id, &p->rows[0], err);
    if (rc)
        return rc;
    if (f->by_state && p->rows[0].state != f->state)
        store_run_finish(&p->rows[0]);
    else
        p->n = 1;
    return 0;
}

static int page_of_filter(struct store_conn *c, const struct store_filter *f, struct page *p, struct err *err)
{
    const char *state = f->by_state ? run_state_word(f->state) : NULL;
    const char *tag = f->tag, *other_tag = NULL;
    struct sql_value after = SQL_INT(f->after), limit = SQL_INT((int64_t)p->limit + 1);
    if (f->ref) {
        int64_t id;
        int rc = store_resolve(c, f->ref, &id, err);
        if (rc != -ERR_NOT_FOUND)
            return rc ? rc : page_of_one(c, f, id, p, err);
        tag = f->ref;
        other_tag = f->tag;
    }
    if (tag)
        return read_page(c, QUERY_RUN_LIST_TAG,
                         SQL_VALUES(after, limit, SQL_TEXT(tag), SQL_TEXT(state), SQL_TEXT(other_tag)), p, err);
    if (state)
        return read_page(c, QUERY_RUN_LIST_STATE, SQL_VALUES(after, limit, SQL_TEXT(state)), p, err);
    return read_page(c, QUERY_RUN_LIST, SQL_VALUES(after, limit), p, err);
}

int store_run_list(struct store_conn *c, const struct store_filter *f, struct store_run **out, size_t *n, int64_t *next,
                   struct err *err)
{
    if (f->limit < 1 || f->limit > STORE_PAGE_MAX)
        return err_set_at(err, ERR_INVALID, "limit", "limit is 1 to %d", STORE_PAGE_MAX);
    struct page p = {.limit = (size_t)f->limit};
    p.rows = calloc(p.limit, sizeof *p.rows);
    if (!p.rows)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    int rc = page_of_filter(c, f, &p, err);
    if (rc) {
        store_runs_free(p.rows, p.n);
        return rc;
    }
    *out = p.rows;
    *n = p.n;
    *next = p.more ? p.rows[p.n - 1].id : 0;
    return 0;
}

int store_count_states(struct store_conn *c, int64_t counts[RUN_STATES], struct err *err)
{
    sqlite3_stmt *st;
    int64_t found[RUN_STATES] = {0};
    int rc = sql_open(c, QUERY_RUN_COUNT_STATES, NULL, 0, &st, err);
    if (rc)
        return rc;
    while ((rc = sql_step(c, st, err)) > 0) {
        enum run_state state;
        if (run_state_parse(or_empty(sqlite3_column_text(st, 0)), &state))
            found[state] = sqlite3_column_int64(st, 1);
    }
    if (!rc)
        memcpy(counts, found, sizeof found);
    return rc;
}
