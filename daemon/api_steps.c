/* api_steps.c: GET /v1/runs/REF/steps and /evals: what was recorded, each step once, every bit. */
#include "daemon/api.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "daemon/store_curve.h"
#include "daemon/store_job.h"
#include "schema/job.h"

enum { STEPS_PAGE_DEFAULT = 4096, STEPS_PAGE_MAX = 16384 };

struct page {
    long long after, limit;
};

static void write_columns(struct jsonw *w, const char *const *names)
{
    jsonw_begin_array(w, "columns");
    for (; *names != NULL; names++)
        jsonw_string(w, NULL, *names);
    jsonw_end_array(w);
}

/* An import has no such column: null there, while a run's own NaN is the word. */
static void write_measured(struct jsonw *w, bool import, double value)
{
    if (import && isnan(value))
        jsonw_null(w, NULL);
    else
        jsonw_real(w, NULL, value);
}

static int run_steps(struct store_conn *c, struct api_call *call, struct err *err)
{
    static const char *const names[] = {"step",      "epoch", "tokens", "loss", "lr",
                                        "grad_norm", "ms",    "tok_s",  "mfu",  NULL};
    const struct page *page = call->arg;
    struct store_curve v;
    struct store_run run;
    struct jsonw *w = &call->out;
    bool import = false;
    int64_t id;
    int rc = store_resolve(c, call->ref, &id, err);
    if (rc == 0)
        rc = store_run_get(c, id, &run, err);
    if (rc == 0) {
        import = run.kind == KIND_IMPORT;
        store_run_finish(&run);
        rc = store_curve_load(c, id, page->after + 1, INT64_MAX, (size_t)page->limit + 1, COLUMNS_ALL, &v, err);
    }
    if (rc != 0)
        return rc;

    size_t shown = v.n > (size_t)page->limit ? (size_t)page->limit : v.n;
    jsonw_begin_object(w, NULL);
    write_columns(w, names);
    jsonw_begin_array(w, "rows");
    for (size_t i = 0; i < shown; i++) {
        jsonw_begin_array(w, NULL);
        jsonw_int(w, NULL, v.step[i]);
        jsonw_real(w, NULL, v.epoch[i]);
        jsonw_int(w, NULL, v.tokens[i]);
        jsonw_real(w, NULL, v.loss[i]);
        write_measured(w, import, v.lr[i]);
        write_measured(w, import, v.grad_norm[i]);
        write_measured(w, import, v.ms[i]);
        write_measured(w, import, v.tok_s[i]);
        if (v.mfu[i] > 0)
            jsonw_real(w, NULL, v.mfu[i]);
        else
            jsonw_null(w, NULL);
        jsonw_end_array(w);
    }
    jsonw_end_array(w);
    if (shown < v.n)
        jsonw_int(w, "next", v.step[shown - 1]);
    else
        jsonw_null(w, "next");
    jsonw_end_object(w);
    store_curve_finish(&v);
    return 0;
}

/* Of an evaluation that is a job: on what, and how it was cut; memory null: as the run evaluates itself. */
static void write_asked(struct jsonw *w, const struct job *j)
{
    char windowing[JOB_WINDOWING_SIZE];
    job_windowing_text(j->stride, windowing);
    jsonw_string(w, NULL, j->data);
    jsonw_string(w, NULL, windowing);
    if (j->memory > 0)
        jsonw_int(w, NULL, j->memory);
    else
        jsonw_null(w, NULL);
}

static int run_evals(struct store_conn *c, struct api_call *call, struct err *err)
{
    static const char *const names[] = {"step",       "epoch",         "tokens",          "split", "loss",
                                        "perplexity", "bits_per_byte", "word_perplexity", NULL};
    static const char *const job_names[] = {"step", "epoch",      "tokens",        "split",
                                            "loss", "perplexity", "bits_per_byte", "word_perplexity",
                                            "data", "windowing",  "memory",        NULL};
    struct store_eval *evals;
    struct store_asked asked = {0};
    struct job job = {0};
    struct jsonw *w = &call->out;
    int64_t id;
    size_t n;
    int rc = store_resolve(c, call->ref, &id, err);
    if (rc != 0)
        return rc;
    bool is_job = store_job_get(c, id, &asked, NULL) == 0;
    if (is_job)
        rc = job_parse(asked.parameters, strlen(asked.parameters), &job, err);
    free(asked.parameters);
    if (rc == 0)
        rc = store_evals(c, id, &evals, &n, err);
    if (rc != 0) {
        job_finish(&job);
        return rc;
    }

    jsonw_begin_object(w, NULL);
    write_columns(w, is_job ? job_names : names);
    jsonw_begin_array(w, "rows");
    for (size_t i = 0; i < n; i++) {
        const struct store_eval *e = &evals[i];
        jsonw_begin_array(w, NULL);
        jsonw_int(w, NULL, e->step);
        jsonw_real(w, NULL, e->epoch);
        jsonw_int(w, NULL, e->tokens);
        jsonw_string(w, NULL, e->split);
        jsonw_real(w, NULL, e->loss);
        api_store_real(w, NULL, &e->perplexity);
        api_store_real(w, NULL, &e->bits_per_byte);
        api_store_real(w, NULL, &e->word_perplexity);
        if (is_job)
            write_asked(w, &job);
        jsonw_end_array(w);
    }
    jsonw_end_array(w);
    jsonw_end_object(w);
    free(evals);
    job_finish(&job);
    return 0;
}

static void handle_steps(struct bakad *b, struct http_request *r)
{
    struct page page = {.after = 0, .limit = STEPS_PAGE_DEFAULT};
    struct err err;
    if (http_request_query_int(r, "after", 0, INT64_MAX - 1, &page.after, &err) != 0 ||
        http_request_query_int(r, "limit", 1, STEPS_PAGE_MAX, &page.limit, &err) != 0) {
        http_reply_error(r, &err);
        return;
    }
    struct api_call *call = api_call_create(b, r, &page, sizeof page);
    if (call == NULL)
        return;
    call->run = run_steps;
    api_call_read(call);
}

static void handle_evals(struct bakad *b, struct http_request *r)
{
    struct api_call *call = api_call_create(b, r, NULL, 0);
    if (call == NULL)
        return;
    call->run = run_evals;
    api_call_read(call);
}

const struct http_route api_steps_routes[] = {
    {.method = "GET", .path = "/v1/runs/@/steps", .query = "after limit", .handle = handle_steps},
    {.method = "GET", .path = "/v1/runs/@/evals", .handle = handle_evals},
    {.method = NULL},
};
