/* api_jobs.c: POST /v1/jobs: an evaluation or a sample of a run's model becomes a job in the queue.
 *
 * The body is that of schema/job.h, with the run's id or name in place of its source, and what bakad knows left out.
 * The run, its checkpoint, its spec and the data sets are looked at before, on a reader's thread, so that what can be
 * known now is refused now; then one write. A request that made its job before is answered by what there is.
 *
 * A job goes before training runs that wait: somebody is waiting for it, and it is short beside them. */
#include "daemon/api.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "daemon/config.h"
#include "daemon/home.h"
#include "daemon/store_attempt.h"
#include "daemon/supervisor.h"
#include "schema/job.h"
#include "schema/plan.h"
#include "schema/spec.h"

enum { JOB_PRIORITY = 1 };

struct order {
    const char *text; /* the request's: there until it is answered */
    size_t size;
    cJSON *body;
    char request_id[NAME_SIZE], ref[NAME_SIZE]; /* "": none */
    struct job job;
    struct store_run source;
    char *spec, *parameters;
    char hash[SHA256_HEX_SIZE];
    struct store_new_run row;
};

static void order_free(void *arg)
{
    struct order *o = arg;
    cJSON_Delete(o->body);
    job_finish(&o->job);
    store_run_finish(&o->source);
    cJSON_free(o->spec);
    free(o->parameters);
    free(o);
}

/* A name that the body may or must have; it is taken out. */
static int take_name(cJSON *body, const char *key, bool needed, char out[NAME_SIZE], struct err *err)
{
    cJSON *item = cJSON_DetachItemFromObjectCaseSensitive(body, key);
    const char *text = cJSON_GetStringValue(item);
    int rc = 0;
    if (item == NULL && needed)
        rc = err_set_at(err, ERR_INVALID, key, "is missing");
    else if (item != NULL && (text == NULL || !name_is_valid(text)))
        rc = err_set_at(err, ERR_INVALID, key, "must be 1 to 64 letters, digits, '.', '_' or '-'");
    else if (item != NULL)
        memcpy(out, text, strlen(text) + 1);
    cJSON_Delete(item);
    return rc;
}

static int parse(struct api_call *call, struct err *err)
{
    static const char *const ours[] = {"source", "tokens_per_epoch"};
    struct order *o = call->arg;
    int rc = json_parse(o->text, o->size, &(struct json_limits){JOB_MAX_BYTES, JOB_MAX_DEPTH}, "body", &o->body, err);
    if (rc == 0 && !cJSON_IsObject(o->body))
        rc = err_set_at(err, ERR_INVALID, "", "the body must be a JSON object");
    for (size_t i = 0; i < sizeof ours / sizeof *ours && rc == 0; i++)
        if (cJSON_HasObjectItem(o->body, ours[i]))
            rc = err_set_at(err, ERR_INVALID, ours[i], "unknown key");
    if (rc == 0)
        rc = take_name(o->body, "request_id", false, o->request_id, err);
    return rc ? rc : take_name(o->body, "run", true, o->ref, err);
}

/* --- what can be known before it is queued -------------------------------------------------------------------------
 */

static int find_source(struct store_conn *c, struct order *o, struct err *err)
{
    struct store_checkpoint newest;
    int64_t id;
    int rc = store_resolve(c, o->ref, &id, err);
    if (rc == 0)
        rc = store_run_get(c, id, &o->source, err);
    if (rc != 0)
        return rc;
    const struct store_run *r = &o->source;
    if (r->kind == KIND_IMPORT)
        return err_set_at(err, ERR_INVALID, "run", "%s is an imported curve: there is no model", r->name);
    if (r->kind != KIND_TRAIN)
        return err_set_at(err, ERR_INVALID, "run", "%s is %s of %s's model and has none of its own", r->id_text,
                          r->kind == KIND_EVAL ? "an evaluation" : "a sample", r->name);
    rc = store_checkpoint_newest(c, id, &newest, err);
    if (rc == -ERR_NOT_FOUND)
        return err_set_at(err, ERR_CONFLICT, "run", "the run %s has no checkpoint yet: it is %s", r->name,
                          run_state_word(r->state));
    return rc;
}

/* The body with what bakad knows. */
static int read_job(struct order *o, struct err *err)
{
    const char *kind = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o->body, "kind"));
    const cJSON *data = cJSON_GetObjectItemCaseSensitive(o->body, "data");
    cJSON_AddStringToObject(o->body, "source", o->source.id_text);
    if (kind != NULL && strcmp(kind, job_kind_word(JOB_EVAL)) == 0) {
        if (data == NULL || cJSON_IsNull(data)) {
            cJSON_DeleteItemFromObjectCaseSensitive(o->body, "data");
            cJSON_AddStringToObject(o->body, "data", o->source.data);
        }
        if (o->source.tokens_per_epoch > 0)
            json_add_int64(o->body, "tokens_per_epoch", o->source.tokens_per_epoch);
    }
    return job_from_json(o->body, &o->job, err);
}

static int at_data(int rc, struct err *err)
{
    if (rc != 0)
        snprintf(err->path, sizeof err->path, "data");
    return rc == -ERR_NOT_FOUND ? -(int)(err->code = ERR_INVALID) : rc;
}

static int check_data(const struct bakad *b, const struct job *j, const struct spec *s, const struct home_data *own,
                      int64_t vocab, struct err *err)
{
    struct home_data data;
    int rc = at_data(home_data_probe(b->config->home, j->data, &data, err), err);
    if (rc != 0)
        return rc;
    if (data.vocab > (uint64_t)vocab)
        return err_set_at(err, ERR_INVALID, "data",
                          "data set '%s' has a vocabulary of %" PRIu64 ", the model one of %" PRId64, j->data,
                          data.vocab, vocab);
    if (own != NULL && strcmp(own->tokenizer, data.tokenizer) != 0)
        return err_set_at(err, ERR_INVALID, "data",
                          "data set '%s' was cut by another tokenizer (%s) than the run's '%s' (%s)", j->data,
                          data.tokenizer, s->data.name, own->tokenizer);
    if ((j->train_split ? data.train_tokens : data.tokens - data.train_tokens) < 2)
        return err_set_at(err, ERR_INVALID, "data", "data set '%s' has no such split to evaluate on", j->data);
    return 0;
}

static int check_prompt(const struct job *j, int64_t vocab, struct err *err)
{
    for (int64_t i = 0; i < j->id_count; i++)
        if (j->ids[i] >= vocab)
            return err_set_at(err, ERR_INVALID, "ids",
                              "the prompt's id %d is outside the model's vocabulary of %" PRId64, (int)j->ids[i],
                              vocab);
    return 0;
}

/* The model's vocabulary is that of the run's own data set where its spec says none. */
static int check(const struct bakad *b, const struct job *j, struct spec *s, struct plan *plan, struct err *err)
{
    struct home_data own;
    int rc = job_check(j, s, err);
    if (rc != 0)
        return rc;
    bool has_own = home_data_probe(b->config->home, s->data.name, &own, err) == 0;
    if (!has_own && s->model.vocab == 0)
        return at_data(-(int)err->code, err);
    int64_t vocab = s->model.vocab > 0 ? s->model.vocab : (int64_t)own.vocab;
    rc = j->kind == JOB_EVAL ? check_data(b, j, s, has_own ? &own : NULL, vocab, err) : check_prompt(j, vocab, err);
    if (rc != 0)
        return rc;
    job_adapt_spec(j, s);
    return api_plan_run(b, s, vocab, plan, err);
}

static int make_row(const struct bakad *b, struct order *o, const char *source_spec, struct err *err)
{
    struct spec spec;
    struct plan plan;
    int rc = spec_parse(source_spec, strlen(source_spec), &spec, err);
    if (rc == 0)
        rc = check(b, &o->job, &spec, &plan, err);
    if (rc != 0)
        return rc;
    int64_t params = plan.params;
    double flops = plan.flops_per_token;
    plan_finish(&plan);
    cJSON *whole = spec_to_json(&spec);
    o->spec = whole != NULL ? cJSON_PrintUnformatted(whole) : NULL;
    cJSON_Delete(whole);
    o->parameters = job_print(&o->job);
    if (o->spec == NULL || o->parameters == NULL)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    spec_hash(&spec, o->hash);
    o->row = (struct store_new_run){
        .name = o->source.name,
        .spec = o->spec,
        .spec_hash = o->hash,
        .data = o->job.kind == JOB_EVAL ? o->job.data : o->source.data,
        .priority = JOB_PRIORITY,
        .cpus = spec.resources.cpus,
        .gpus = spec.resources.gpus,
        .gpu_memory = spec.resources.gpu_memory,
        .total_steps = STORE_UNKNOWN,
        .params = params,
        .flops_per_token = {.known = true, .value = flops},
        .kind = o->job.kind == JOB_EVAL ? KIND_EVAL : KIND_SAMPLE,
        .source = o->source.id,
        .parameters = o->parameters,
    };
    return 0;
}

/* --- the way to the queue ------------------------------------------------------------------------------------------
 */

static int answer(struct store_conn *c, struct api_call *call, int64_t id, struct err *err)
{
    struct store_run run;
    struct jsonw *w = &call->out;
    int rc = store_run_get(c, id, &run, err);
    if (rc != 0)
        return rc;
    jsonw_begin_object(w, NULL);
    jsonw_begin_array(w, "runs");
    jsonw_begin_object(w, NULL);
    jsonw_string(w, "id", run.id_text);
    jsonw_string(w, "name", run.name);
    jsonw_string(w, "state", run_state_word(run.state));
    jsonw_end_object(w);
    jsonw_end_array(w);
    jsonw_end_object(w);
    store_run_finish(&run);
    return 0;
}

static int run_submit(struct store_conn *c, struct api_call *call, struct err *err)
{
    const struct order *o = call->arg;
    bool repeated;
    int64_t id;
    int rc = store_submit(c, o->request_id[0] != '\0' ? o->request_id : NULL, &o->row, 1, NULL, 0, call->now_ms, &id,
                          &repeated, err);
    return rc ? rc : answer(c, call, id, err);
}

static void after_submit(struct api_call *call)
{
    supervisor_wake(call->bakad->supervisor);
}

static void write_job(struct api_call *call)
{
    call->run = run_submit;
    call->after = after_submit;
    api_call_write(call);
}

static int run_prepare(struct store_conn *c, struct api_call *call, struct err *err)
{
    struct order *o = call->arg;
    char *spec;
    int64_t *ids;
    size_t n;
    int rc = o->request_id[0] != '\0' ? store_request_runs(c, o->request_id, &ids, &n, err) : -ERR_NOT_FOUND;
    if (rc == 0) { /* made before */
        int64_t id = ids[0];
        free(ids);
        call->next = NULL;
        return n == 1 ? answer(c, call, id, err)
                      : err_set(err, ERR_CONFLICT, "request %s made %zu runs before", o->request_id, n);
    }
    if (rc != -ERR_NOT_FOUND)
        return rc;
    rc = find_source(c, o, err);
    if (rc == 0)
        rc = read_job(o, err);
    if (rc == 0)
        rc = store_run_spec(c, o->source.id, &spec, err);
    if (rc != 0)
        return rc;
    rc = make_row(call->bakad, o, spec, err);
    free(spec);
    return rc;
}

static void on_parsed(struct api_call *call)
{
    call->run = run_prepare;
    call->next = write_job;
    api_call_read(call);
}

static void handle(struct bakad *b, struct http_request *r)
{
    struct order o = {0};
    o.text = http_request_body(r, &o.size);
    struct api_call *call = api_call_create(b, r, &o, sizeof o);
    if (call == NULL)
        return;
    call->free_arg = order_free;
    call->status = 201;
    api_call_compute(call, parse, on_parsed);
}

const struct http_route api_jobs_routes[] = {
    {.method = "POST", .path = "/v1/jobs", .max_body = JOB_MAX_BYTES, .handle = handle},
    {.method = NULL},
};
