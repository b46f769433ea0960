/* api_submit.c: POST /v1/runs: a submission becomes runs, all of them or none.
 *
 * Parsing, expansion, validation and the plan of each run need no store and take time (10,000 runs), so they run on one
 * of libuv's threads; then one write makes the runs durable, and only then the answer leaves.
 *
 * A request that made its runs before is answered from the store before any of that: what was accepted once must not be
 * refused the second time because a data set has gone since. */
#include "daemon/api.h"

#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "daemon/home.h"
#include "daemon/config.h"
#include "daemon/supervisor.h"
#include "daemon/sweep.h"
#include "schema/plan.h"

enum { SUBMIT_MAX_BYTES = 1 << 20, SUBMIT_MAX_DEPTH = SPEC_MAX_DEPTH + 2 };

struct submission {
    const char *text; /* the request's: there until it is answered */
    size_t size;
    cJSON *body;
    struct sweep_request request; /* views into body */
    struct sweep_run *runs;
    struct store_new_run *rows;
    char (*hashes)[SHA256_HEX_SIZE];
    char **specs;
};

static void submission_free(void *arg)
{
    struct submission *m = arg;
    for (size_t i = 0; m->specs != NULL && i < m->request.run_count; i++)
        cJSON_free(m->specs[i]);
    free(m->specs);
    free(m->hashes);
    free(m->rows);
    free(m->runs);
    cJSON_Delete(m->body);
    free(m);
}

/* What this machine can never run is refused at the door. */
static int check_resources(const struct bakad *b, const struct spec *s, struct err *err)
{
    const struct sched_demand demand = {
        .cpus = (int)s->resources.cpus,
        .gpus = (int)s->resources.gpus,
        .gpu_memory_mib = s->resources.gpu_memory,
    };
    int rc = scheduler_check(&b->machine, &demand, err);
    if (rc == 0 && s->resources.gpus > 0 && !BAKA_HAVE_CUDA)
        return err_set_at(err, ERR_INVALID, "train.device",
                          "this build has no CUDA backend: cpu, or auto without GPUs");
    return rc;
}

/* What the run will be planned for: the largest GPU of this machine, or its memory. */
static struct plan_device planned_device(const struct bakad *b, const struct spec *s)
{
    if (s->resources.gpus == 0) {
        struct plan_device cpu = plan_device_cpu;
        cpu.memory_bytes = b->memory_bytes;
        return cpu;
    }
    struct plan_device gpu = plan_device_cuda(s->train.precision == PRECISION_BF16 ? 2 : 4);
    for (int i = 0; i < b->machine.gpu_count; i++) {
        uint64_t bytes = (uint64_t)b->machine.gpu_memory_mib[i] << 20;
        gpu.memory_bytes = bytes > gpu.memory_bytes ? bytes : gpu.memory_bytes;
    }
    uint64_t allowed = (uint64_t)s->resources.gpu_memory << 20;
    if (allowed > 0 && allowed < gpu.memory_bytes)
        gpu.memory_bytes = allowed;
    return gpu;
}

int api_plan_run(const struct bakad *b, const struct spec *s, int64_t vocab, struct plan *out, struct err *err)
{
    const struct plan_device device = planned_device(b, s);
    int rc = check_resources(b, s, err);
    return rc ? rc : plan_make(s, vocab, &device, out, err);
}

struct data_seen {
    char name[NAME_SIZE];
    struct home_data data;
};

static int prepare_run(const struct bakad *b, struct submission *m, size_t i, struct data_seen *seen, struct err *err)
{
    const struct spec *s = &m->runs[i].spec;
    struct plan plan;
    int rc = 0;
    if (strcmp(seen->name, s->data.name) != 0)
        rc = home_data_probe(b->config->home, s->data.name, &seen->data, err);
    if (rc != 0) {
        snprintf(err->path, sizeof err->path, "data.name");
        return rc == -ERR_NOT_FOUND ? -(int)(err->code = ERR_INVALID) : rc;
    }
    if (seen->data.train_tokens < 2)
        return err_set_at(err, ERR_INVALID, "data.name", "'%s' has %llu training tokens; a run needs at least 2",
                          s->data.name, (unsigned long long)seen->data.train_tokens);
    memcpy(seen->name, s->data.name, sizeof seen->name);
    if (s->train.init_from[0] != '\0' && !home_has_model(b->config->home, s->train.init_from))
        return err_set_at(err, ERR_INVALID, "train.init_from",
                          "there is no model '%s': bring it with `bakactl import --hf`", s->train.init_from);
    rc = api_plan_run(b, s, (int64_t)seen->data.vocab, &plan, err);
    if (rc != 0)
        return rc;
    int64_t params = plan.params;
    double flops = plan.flops_per_token;
    int64_t checkpoint = (int64_t)(plan.bytes.by_class[PLAN_PARAMETERS] + plan.bytes.by_class[PLAN_MOMENTS]);
    plan_finish(&plan);

    cJSON *whole = spec_to_json(s);
    m->specs[i] = whole != NULL ? cJSON_PrintUnformatted(whole) : NULL;
    cJSON_Delete(whole);
    if (m->specs[i] == NULL)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    spec_hash(s, m->hashes[i]);
    m->rows[i] = (struct store_new_run){
        .name = m->runs[i].name,
        .spec = m->specs[i],
        .spec_hash = m->hashes[i],
        .data = s->data.name,
        .priority = m->request.priority,
        .cpus = s->resources.cpus,
        .gpus = s->resources.gpus,
        .gpu_memory = s->resources.gpu_memory,
        .total_steps = STORE_UNKNOWN,
        .params = params,
        .checkpoint_bytes = checkpoint,
        .flops_per_token = {.known = true, .value = flops},
    };
    return 0;
}

static int parse(struct api_call *call, struct err *err)
{
    struct submission *m = call->arg;
    const struct json_limits limits = {SUBMIT_MAX_BYTES, SUBMIT_MAX_DEPTH};
    int rc = json_parse(m->text, m->size, &limits, "body", &m->body, err);
    return rc == 0 ? sweep_parse(m->body, &m->request, err) : rc;
}

static int prepare(struct api_call *call, struct err *err)
{
    struct submission *m = call->arg;
    struct data_seen seen = {0};
    int rc = sweep_expand(&m->request, &m->runs, err);
    if (rc != 0)
        return rc;
    size_t n = m->request.run_count;
    m->rows = calloc(n, sizeof *m->rows);
    m->hashes = calloc(n, sizeof *m->hashes);
    m->specs = calloc(n, sizeof *m->specs);
    if (m->rows == NULL || m->hashes == NULL || m->specs == NULL)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = prepare_run(call->bakad, m, i, &seen, err);
    return rc;
}

static int answer(struct store_conn *c, struct api_call *call, const int64_t *ids, bool repeated, struct err *err)
{
    const struct submission *m = call->arg;
    struct jsonw *w = &call->out;
    int rc = 0;
    jsonw_begin_object(w, NULL);
    jsonw_begin_array(w, "runs");
    for (size_t i = 0; i < m->request.run_count && rc == 0; i++) {
        char id_text[STORE_ID_SIZE];
        struct store_run run;
        store_id_text(ids[i], id_text);
        jsonw_begin_object(w, NULL);
        jsonw_string(w, "id", id_text);
        /* a repeated request answers what is there, which has its own name and may have moved on */
        if (repeated)
            rc = store_run_get(c, ids[i], &run, err);
        if (rc == 0) {
            jsonw_string(w, "name", repeated ? run.name : m->runs[i].name);
            jsonw_string(w, "state", run_state_word(repeated ? run.state : RUN_QUEUED));
        }
        if (rc == 0 && repeated)
            store_run_finish(&run);
        jsonw_end_object(w);
    }
    jsonw_end_array(w);
    jsonw_end_object(w);
    return rc;
}

static int run_submit(struct store_conn *c, struct api_call *call, struct err *err)
{
    const struct submission *m = call->arg;
    const struct sweep_request *q = &m->request;
    bool repeated;
    int64_t *ids = malloc(q->run_count * sizeof *ids);
    if (ids == NULL)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    int rc = store_submit(c, q->request_id, m->rows, q->run_count, q->tags, (size_t)q->tag_count, call->now_ms, ids,
                          &repeated, err);
    if (rc == 0)
        rc = answer(c, call, ids, repeated, err);
    free(ids);
    return rc;
}

/* Answers a request that was here before; any other goes on to `next`. */
static int run_look(struct store_conn *c, struct api_call *call, struct err *err)
{
    const struct sweep_request *q = &((const struct submission *)call->arg)->request;
    int64_t *ids;
    size_t n;
    int rc = store_request_runs(c, q->request_id, &ids, &n, err);
    if (rc == -ERR_NOT_FOUND)
        return 0;
    if (rc != 0)
        return rc;
    call->next = NULL;
    if (n != q->run_count)
        rc = err_set(err, ERR_CONFLICT, "request %s made %zu runs before, not %zu", q->request_id, n, q->run_count);
    else
        rc = answer(c, call, ids, true, err);
    free(ids);
    return rc;
}

static void after_submit(struct api_call *call)
{
    supervisor_wake(call->bakad->supervisor);
}

static void write_runs(struct api_call *call)
{
    call->run = run_submit;
    call->after = after_submit;
    api_call_write(call);
}

static void make_runs(struct api_call *call)
{
    api_call_compute(call, prepare, write_runs);
}

static void on_parsed(struct api_call *call)
{
    const struct submission *m = call->arg;
    if (m->request.request_id == NULL) {
        make_runs(call);
        return;
    }
    call->run = run_look;
    call->next = make_runs;
    api_call_read(call);
}

static void handle(struct bakad *b, struct http_request *r)
{
    struct submission m = {0};
    m.text = http_request_body(r, &m.size);
    struct api_call *call = api_call_create(b, r, &m, sizeof m);
    if (call == NULL)
        return;
    call->free_arg = submission_free;
    call->status = 201;
    api_call_compute(call, parse, on_parsed);
}

const struct http_route api_submit_routes[] = {
    {.method = "POST", .path = "/v1/runs", .max_body = SUBMIT_MAX_BYTES, .handle = handle},
    {.method = NULL},
};
