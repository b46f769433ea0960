/* api_job_view.c: jobs as JSON: what was asked, and what came of it, beside the job and beside the run it is of. */
#include "daemon/api.h"

#include <stdlib.h>
#include <string.h>
#include "daemon/store_job.h"
#include "schema/job.h"
#include "schema/spec.h"

/* An evaluation with all that its loss depends on, in the keys of `baka-worker --eval`; among others (no key) also
 * whose job it was. `s` is the spec of the run or of the job: windows are equally long. */
static int write_eval(struct jsonw *w, const char *key, const struct store_job_eval *e, const struct spec *s,
                      struct err *err)
{
    struct job job;
    char id[STORE_ID_SIZE], windowing[JOB_WINDOWING_SIZE];
    int rc = job_parse(e->parameters, strlen(e->parameters), &job, err);
    if (rc != 0)
        return rc;
    int64_t own_memory = s->memory.xl.eval_len > 0 ? s->memory.xl.eval_len : s->memory.xl.len;
    store_id_text(e->run, id);
    job_windowing_text(job.stride < s->train.seq_len ? job.stride : 0, windowing);
    jsonw_begin_object(w, key);
    if (key == NULL) {
        jsonw_string(w, "id", id);
        jsonw_bool(w, "cpu", job.cpu);
    }
    jsonw_string(w, "checkpoint", e->checkpoint);
    jsonw_int(w, "step", e->step);
    jsonw_string(w, "data", job.data);
    jsonw_string(w, "split", job.train_split ? "train" : "val");
    jsonw_string(w, "windowing", windowing);
    jsonw_int(w, "seq_len", s->train.seq_len);
    jsonw_int(w, "memory", job.memory > 0 ? job.memory : own_memory);
    jsonw_int(w, "predictions", e->predictions);
    jsonw_real(w, "loss", e->loss);
    api_store_real(w, "perplexity", &e->perplexity);
    api_store_real(w, "bits_per_byte", &e->bits_per_byte);
    api_store_real(w, "word_perplexity", &e->word_perplexity);
    jsonw_end_object(w);
    job_finish(&job);
    return 0;
}

static int load_spec(struct store_conn *c, int64_t run, struct spec *out, struct err *err)
{
    char *text;
    int rc = store_run_spec(c, run, &text, err);
    if (rc != 0)
        return rc;
    rc = spec_parse(text, strlen(text), out, err);
    free(text);
    return rc;
}

int api_job_evaluations(struct store_conn *c, struct jsonw *w, int64_t run, struct err *err)
{
    struct store_job_eval *evals;
    struct spec spec;
    size_t n;
    int rc = store_job_evals(c, run, &evals, &n, err);
    if (rc != 0)
        return rc;
    if (n > 0)
        rc = load_spec(c, run, &spec, err);
    jsonw_begin_array(w, "evaluations");
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = write_eval(w, NULL, &evals[i], &spec, err);
    jsonw_end_array(w);
    store_job_evals_free(evals, n);
    return rc;
}

static int write_eval_result(struct store_conn *c, struct jsonw *w, int64_t run, struct err *err)
{
    struct store_job_eval *evals;
    struct spec spec;
    size_t n;
    int rc = store_job_eval(c, run, &evals, &n, err);
    if (rc != 0)
        return rc;
    if (n > 0)
        rc = load_spec(c, run, &spec, err);
    if (rc == 0 && n > 0)
        rc = write_eval(w, "result", &evals[0], &spec, err);
    else
        jsonw_null(w, "result");
    store_job_evals_free(evals, n);
    return rc;
}

/* Where its ids stand: attempts/N/sample. */
static int write_sample_result(struct store_conn *c, struct jsonw *w, const struct store_run *r, struct err *err)
{
    struct store_attempt attempt;
    if (r->state != RUN_FINISHED) {
        jsonw_null(w, "result");
        return 0;
    }
    int rc = store_attempt_get(c, r->id, r->attempts, &attempt, err);
    if (rc != 0)
        return rc;
    jsonw_begin_object(w, "result");
    jsonw_string(w, "checkpoint", attempt.resume);
    jsonw_int(w, "step", attempt.resume_step);
    jsonw_int(w, "attempt", attempt.n);
    jsonw_end_object(w);
    free(attempt.end_text);
    free(attempt.outcome);
    return 0;
}

int api_job_fields(struct store_conn *c, struct jsonw *w, const struct store_run *r, struct err *err)
{
    struct store_asked asked;
    if (!store_kind_is_job(r->kind))
        return api_job_evaluations(c, w, r->id, err);
    int rc = store_job_get(c, r->id, &asked, err);
    if (rc != 0)
        return rc;
    jsonw_raw(w, "job", asked.parameters);
    free(asked.parameters);
    return r->kind == KIND_EVAL ? write_eval_result(c, w, r->id, err) : write_sample_result(c, w, r, err);
}
