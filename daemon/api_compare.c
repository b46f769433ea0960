/* api_compare.c: GET /v1/compare: loads curves, hands them to compare.h, and writes the answer. Runs on a store reader:
 * one snapshot for all runs. A curve of steps is reduced as soon as it is read, so memory is one run's steps and the
 * reduced curves of all. */
#include "daemon/api.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "daemon/api_compare_curves.h"
#include "daemon/api_compare_decisions.h"
#include "daemon/api_compare_groups.h"
#include "daemon/compare.h"
#include "daemon/compare_group.h"
#include "daemon/store_curve.h"
#include "schema/spec.h"

enum {
    COMPARE_MAX_RUNS = 1024,
    COMPARE_MAX_POINTS = 100000,
    COMPARE_SMOOTH_POINTS = 1000,
    LABEL_SIZE = NAME_SIZE + STORE_ID_SIZE + 4
};

struct loaded {
    struct store_run run;
    char label[LABEL_SIZE], order[32], windows[96], experiment[SHA256_HEX_SIZE];
    bool has_spec;
    struct spec spec;             /* where has_spec */
    int64_t seed;                 /* STORE_UNKNOWN */
    struct store_quality quality; /* of the newest validation */
    struct api_clock clock;       /* where time was asked for */
};

struct request {
    char **refs;
    size_t ref_count;
    size_t points;
    bool with_time;
    struct compare_smooth smooth;
    int64_t at_tokens; /* where to decide; 0: at the end of the shorter */
    int64_t ids[COMPARE_MAX_RUNS];
    size_t count;
    struct loaded *loaded;    /* [count] */
    struct compare_run *runs; /* [count] */
};

static void request_free(void *arg)
{
    struct request *q = arg;
    for (size_t i = 0; i < q->ref_count; i++)
        free(q->refs[i]);
    free(q->refs);
    for (size_t i = 0; i < q->count; i++) {
        if (q->loaded) {
            store_run_finish(&q->loaded[i].run);
            api_clock_finish(&q->loaded[i].clock);
        }
        if (q->runs) {
            compare_curve_finish(&q->runs[i].val);
            compare_train_finish(&q->runs[i].train);
        }
    }
    free(q->loaded);
    free(q->runs);
    free(q);
}

/* Fills ids: each run once, in the order of the references. */
static int resolve(struct store_conn *c, struct request *q, struct err *err)
{
    for (size_t i = 0; i < q->ref_count; i++) {
        int64_t *ids;
        size_t n;
        int rc = store_resolve_list(c, q->refs[i], &ids, &n, err);
        if (rc)
            return rc;
        for (size_t k = 0; k < n && rc == 0; k++) {
            size_t seen = 0;
            while (seen < q->count && q->ids[seen] != ids[k])
                seen++;
            if (seen == q->count && q->count == COMPARE_MAX_RUNS)
                rc = err_set_at(err, ERR_TOO_LARGE, "ref", "at most %d runs can be compared", COMPARE_MAX_RUNS);
            else if (seen == q->count)
                q->ids[q->count++] = ids[k];
        }
        free(ids);
        if (rc)
            return rc;
    }
    return 0;
}

static int load_evals(struct store_conn *c, struct loaded *l, struct compare_run *r, struct err *err)
{
    struct store_eval *evals;
    size_t n;
    int rc = store_evals(c, l->run.id, &evals, &n, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < n && rc == 0; i++) {
        const struct store_eval *e = &evals[i];
        if (strcmp(e->split, "val") != 0)
            continue;
        rc = compare_curve_add(&r->val, (struct compare_point){e->step, e->tokens, e->epoch, e->loss}, err);
        l->quality = (struct store_quality){e->perplexity, e->bits_per_byte, e->word_perplexity};
        if (!e->perplexity.known)
            l->quality.perplexity = (struct store_real){true, exp(e->loss)};
    }
    free(evals);
    return rc;
}

static int load_steps(struct store_conn *c, const struct request *q, struct loaded *l, struct compare_run *r,
                      struct err *err)
{
    struct store_curve curve;
    unsigned columns = q->with_time ? COLUMNS_COMPARE | COLUMN_MS : COLUMNS_COMPARE;
    int rc = compare_train_init(&r->train, q->points, &q->smooth, err);
    if (rc == 0)
        rc = store_curve_load(c, l->run.id, 0, INT64_MAX, 0, columns, &curve, err);
    if (rc)
        return rc;
    rc = compare_train_add(&r->train, curve.n, curve.step, curve.epoch, curve.tokens, curve.loss, err);
    if (rc == 0)
        rc = compare_train_end(&r->train, err);
    if (rc == 0 && q->with_time)
        rc = api_clock_init(&l->clock, &curve, r, err);
    if (curve.n) {
        r->step = curve.step[curve.n - 1];
        r->tokens = curve.tokens[curve.n - 1];
        r->epoch = curve.epoch[curve.n - 1];
    }
    store_curve_finish(&curve);
    return rc;
}

/* What the spec says: the order, what batches are made of, and a hash that is equal for runs that differ in their seed
 * alone. A spec that this version cannot read leaves all of them empty. */
static int load_spec(struct store_conn *c, struct loaded *l, struct err *err)
{
    char *text;
    int rc = store_run_spec(c, l->run.id, &text, err);
    if (rc)
        return rc;
    struct err ignored;
    l->seed = STORE_UNKNOWN;
    if (*text && spec_parse(text, strlen(text), &l->spec, &ignored) == 0) {
        struct spec seedless = l->spec;
        l->has_spec = true;
        l->seed = l->spec.train.seed;
        seedless.train.seed = 0;
        spec_hash(&seedless, l->experiment);
        if (spec_get_text(&l->spec, "data.order", l->order, sizeof l->order, &ignored))
            *l->order = '\0';
        snprintf(l->windows, sizeof l->windows, "%s %" PRId64 " %" PRId64, l->order, l->spec.train.seq_len,
                 l->spec.train.batch);
    }
    free(text);
    return 0;
}

static double known_or_nan(const struct store_real *r)
{
    return r->known ? r->value : NAN;
}

static int load(struct store_conn *c, struct request *q, struct err *err)
{
    q->loaded = calloc(q->count, sizeof *q->loaded);
    q->runs = calloc(q->count, sizeof *q->runs);
    if (!q->loaded || !q->runs)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < q->count; i++) {
        struct loaded *l = &q->loaded[i];
        struct compare_run *r = &q->runs[i];
        int rc = store_run_get(c, q->ids[i], &l->run, err);
        if (rc == 0 && store_kind_is_job(l->run.kind))
            rc = err_set_at(err, ERR_INVALID, "ref", "%s is %s of %s's model, not a run to compare", l->run.id_text,
                            l->run.kind == KIND_EVAL ? "an evaluation" : "a sample", l->run.name);
        if (rc == 0)
            rc = load_spec(c, l, err);
        if (rc == 0)
            rc = load_evals(c, l, r, err);
        if (rc == 0)
            rc = load_steps(c, q, l, r, err);
        if (rc)
            return rc;
    }
    for (size_t i = 0; i < q->count; i++) {
        struct loaded *l = &q->loaded[i];
        struct compare_run *r = &q->runs[i];
        size_t same = 0;
        for (size_t k = 0; k < q->count; k++)
            same += strcmp(q->loaded[k].run.name, l->run.name) == 0;
        snprintf(l->label, sizeof l->label, same > 1 ? "%s (%s)" : "%s", l->run.name, l->run.id_text);
        r->id = l->run.id_text;
        r->label = l->label;
        r->state = run_state_word(l->run.state);
        r->end = l->run.state == RUN_FAILED || l->run.state == RUN_DIVERGED ? COMPARE_BROKEN
                 : run_state_is_final(l->run.state)                         ? COMPARE_ENDED
                                                                            : COMPARE_GOES_ON;
        r->seed = l->seed;
        r->params = l->run.params;
        r->flops_per_token = known_or_nan(&l->run.flops_per_token);
        r->reason = l->run.reason ? l->run.reason : "";
        r->data = l->run.data;
        r->order = l->order;
        r->windows = l->windows;
        r->experiment = l->experiment;
    }
    return 0;
}

static int write_run(struct store_conn *c, struct jsonw *w, const struct bakad *b, const struct request *q, size_t i,
                     int64_t now_ms, struct err *err)
{
    const struct loaded *l = &q->loaded[i];
    const struct compare_run *r = &q->runs[i];
    jsonw_begin_object(w, NULL);
    api_run_fields(w, b, &l->run, now_ms);
    jsonw_string(w, "label", l->label);
    api_store_int(w, "seed", l->seed);
    jsonw_real(w, "epochs", r->epoch);
    api_quality_fields(w, &l->quality);
    jsonw_int(w, "gpus", l->run.gpus);
    jsonw_int(w, "not_finite", r->train.not_finite);
    api_curves_write(w, r, &l->clock, q->points > 0, q->smooth.kind != SMOOTH_NONE);
    int rc = q->with_time ? api_energy_write(c, w, l->run.id, err) : 0;
    if (rc == 0)
        rc = api_job_evaluations(c, w, l->run.id, err);
    jsonw_end_object(w);
    return rc;
}

static void write_arrow(struct jsonw *w, const struct compare_run *winner, const struct compare_run *loser,
                        const struct compare_pair *pair, const char *text)
{
    const struct compare_arrow *a = &pair->arrow;
    jsonw_begin_object(w, NULL);
    jsonw_string(w, "relation", "beats_best");
    jsonw_string(w, "metric", pair->on_validation ? "val_loss" : "train_loss");
    jsonw_string(w, "winner", winner->id);
    jsonw_string(w, "loser", loser->id);
    jsonw_string(w, "winner_name", winner->label);
    jsonw_string(w, "loser_name", loser->label);
    jsonw_int(w, "step", a->at.step);
    jsonw_real(w, "epoch", a->at.epoch);
    jsonw_int(w, "tokens", a->at.tokens);
    jsonw_real(w, "loss", a->at.loss);
    if (isfinite(a->tokens_ratio))
        jsonw_real(w, "tokens_ratio", a->tokens_ratio);
    else
        jsonw_null(w, "tokens_ratio"); /* an import without tokens */
    jsonw_real(w, "loser_best", a->loser_best.loss);
    jsonw_int(w, "loser_step", a->loser_best.step);
    jsonw_real(w, "loser_epoch", a->loser_best.epoch);
    jsonw_int(w, "loser_tokens", a->loser_best.tokens);
    jsonw_string(w, "text", text);
    jsonw_end_object(w);
}

static void write_cross(struct jsonw *w, const struct compare_run *a, const struct compare_run *b,
                        const struct compare_pair *pair)
{
    jsonw_begin_object(w, NULL);
    jsonw_string(w, "a", a->id);
    jsonw_string(w, "b", b->id);
    jsonw_string(w, "metric", pair->on_validation ? "val_loss" : "train_loss");
    jsonw_real(w, "step", pair->cross.step);
    jsonw_real(w, "epoch", pair->cross.epoch);
    jsonw_real(w, "tokens", pair->cross.tokens);
    jsonw_string(w, "below", pair->cross.a_below ? a->id : b->id);
    jsonw_end_object(w);
}

/* Arrows, crossings, and a sentence for each pair without an arrow, side by side. */
static int write_pairs(struct jsonw *w, const struct request *q, struct err *err)
{
    struct jsonw crosses = {0}, others = {0};
    char text[COMPARE_TEXT_SIZE];
    int rc = 0;
    jsonw_begin_array(&crosses, NULL);
    jsonw_begin_array(&others, NULL);
    jsonw_begin_array(w, "arrows");
    for (size_t i = 0; i < q->count && rc == 0; i++) {
        for (size_t k = i + 1; k < q->count && rc == 0; k++) {
            const struct compare_run *a = &q->runs[i], *b = &q->runs[k];
            struct compare_pair pair;
            rc = compare_pair(a, b, &pair, err);
            if (rc)
                break;
            compare_pair_text(a, b, &pair, text);
            if (pair.relation == COMPARE_A_BEATS_B || pair.relation == COMPARE_B_BEATS_A) {
                bool a_wins = pair.relation == COMPARE_A_BEATS_B;
                write_arrow(w, a_wins ? a : b, a_wins ? b : a, &pair, text);
            } else {
                jsonw_begin_object(&others, NULL);
                jsonw_string(&others, "a", a->id);
                jsonw_string(&others, "b", b->id);
                jsonw_string(&others, "text", text);
                jsonw_end_object(&others);
            }
            if (pair.crossed)
                write_cross(&crosses, a, b, &pair);
        }
    }
    jsonw_end_array(w);
    jsonw_end_array(&crosses);
    jsonw_end_array(&others);
    char *crosses_text = NULL, *others_text = NULL;
    size_t size;
    if (rc == 0)
        rc = jsonw_take(&crosses, &crosses_text, &size, err);
    if (rc == 0)
        rc = jsonw_take(&others, &others_text, &size, err);
    if (rc == 0) {
        jsonw_raw(w, "crosses", crosses_text);
        jsonw_raw(w, "undecided", others_text);
    }
    free(crosses_text);
    free(others_text);
    jsonw_finish(&crosses);
    jsonw_finish(&others);
    return rc;
}

/* Groups, what is decided between them, and in what the specs differ. */
static int write_groups(struct jsonw *w, const struct request *q, struct err *err)
{
    struct compare_member *members = calloc(q->count + 1, sizeof *members);
    const struct spec **specs = calloc(q->count + 1, sizeof *specs);
    struct api_grouping grouping = {0};
    int rc = members && specs ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < q->count && rc == 0; i++) {
        const struct loaded *l = &q->loaded[i];
        specs[i] = l->has_spec ? &l->spec : NULL;
        members[i] = (struct compare_member){.id = l->run.id_text,
                                             .experiment = l->experiment,
                                             .name = l->run.name,
                                             .label = l->label,
                                             .seed = l->seed,
                                             .step = q->runs[i].step,
                                             .best_val = known_or_nan(&l->run.best_val_loss),
                                             .val = known_or_nan(&l->run.val_loss),
                                             .tok_s = known_or_nan(&l->run.tok_s),
                                             .train = known_or_nan(&l->run.train_loss)};
    }
    if (rc == 0)
        rc = api_grouping_init(&grouping, members, q->count, err);
    if (rc == 0) {
        api_grouping_write(w, &grouping, members, q->count);
        rc = api_compare_decisions(w, &grouping, q->runs, q->count, q->at_tokens, err);
    }
    if (rc == 0)
        api_compare_differs(w, specs, q->count);
    api_grouping_finish(&grouping);
    free(members);
    free(specs);
    return rc;
}

static void on_note(void *arg, const char *text)
{
    struct jsonw *w = arg;
    jsonw_string(w, NULL, text);
}

static int run_compare(struct store_conn *c, struct api_call *call, struct err *err)
{
    struct request *q = call->arg;
    struct jsonw *w = &call->out;
    int rc = resolve(c, q, err);
    if (rc == 0)
        rc = load(c, q, err);
    if (rc)
        return rc;
    jsonw_begin_object(w, NULL);
    jsonw_begin_array(w, "runs");
    for (size_t i = 0; i < q->count && rc == 0; i++)
        rc = write_run(c, w, call->bakad, q, i, call->now_ms, err);
    jsonw_end_array(w);
    if (rc == 0)
        rc = write_pairs(w, q, err);
    if (rc == 0)
        rc = write_groups(w, q, err);
    if (rc)
        return rc;
    jsonw_begin_array(w, "notes");
    compare_notes(q->runs, q->count, on_note, w);
    jsonw_end_array(w);
    jsonw_end_object(w);
    return 0;
}

static int take_request(struct http_request *r, struct request *q, struct err *err)
{
    long long points = 0;
    int rc = http_request_query_int(r, "points", 0, COMPARE_MAX_POINTS, &points, err);
    if (rc)
        return rc;
    q->points = (size_t)points;
    const char *smooth = http_request_query(r, "smooth");
    if (smooth)
        rc = compare_smooth_parse(smooth, &q->smooth, err);
    if (rc)
        return rc;
    if (smooth && q->points == 0)
        q->points = COMPARE_SMOOTH_POINTS;
    long long with_time = 0, at_tokens = 0;
    rc = http_request_query_int(r, "time", 0, 1, &with_time, err);
    if (rc)
        return rc;
    q->with_time = with_time;
    rc = http_request_query_int(r, "at_tokens", 0, INT64_MAX, &at_tokens, err);
    if (rc)
        return rc;
    q->at_tokens = at_tokens;
    size_t n = 0;
    while (http_request_query_nth(r, "ref", n))
        n++;
    if (n == 0)
        return err_set_at(err, ERR_INVALID, "ref", "at least one run, name or tag is needed: ?ref=RUN&ref=RUN");
    q->refs = calloc(n, sizeof *q->refs);
    if (!q->refs)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    for (; q->ref_count < n; q->ref_count++) {
        const char *ref = http_request_query_nth(r, "ref", q->ref_count);
        if (!name_is_valid(ref))
            return err_set_at(err, ERR_INVALID, "ref", "\"%.80s\" is no id, name or tag", ref);
        q->refs[q->ref_count] = strdup(ref);
        if (!q->refs[q->ref_count])
            return err_set(err, ERR_NO_MEMORY, "out of memory");
    }
    return 0;
}

static void handle_compare(struct bakad *b, struct http_request *r)
{
    struct err err;
    struct api_call *call = api_call_create(b, r, &(struct request){0}, sizeof(struct request));
    if (!call)
        return;
    call->free_arg = request_free;
    call->run = run_compare;
    if (take_request(r, call->arg, &err))
        api_call_fail(call, &err);
    else
        api_call_read(call);
}

const struct http_route api_compare_routes[] = {
    {"GET", "/v1/compare", "ref* points smooth time at_tokens", 0, handle_compare},
    {NULL, NULL, NULL, 0, NULL},
};
