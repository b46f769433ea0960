/* api_status.c: GET /v1/status: who serves, what is free, how many runs are where. */
#include "daemon/api.h"

#include <stdlib.h>
#include <unistd.h>
#include "daemon/config.h"
#include "daemon/nvml.h"
#include "daemon/supervisor.h"

static int run(struct store_conn *c, struct api_call *call, struct err *err)
{
    const struct bakad *b = call->bakad;
    const struct supervisor_usage *usage = call->arg;
    int64_t counts[RUN_STATES];
    struct jsonw *w = &call->out;
    int rc = store_count_states(c, counts, err);
    if (rc != 0)
        return rc;
    jsonw_begin_object(w, NULL);
    jsonw_string(w, "version", BAKA_VERSION);
    jsonw_string(w, "home", b->config->home);
    jsonw_int(w, "pid", getpid());
    jsonw_real(w, "uptime_s", (double)(call->now_ms - b->started_ms) / 1000);
    jsonw_begin_object(w, "slots");
    jsonw_begin_object(w, "cpu");
    jsonw_int(w, "total", b->machine.cpu_slots);
    jsonw_int(w, "used", usage->cpus);
    jsonw_end_object(w);
    jsonw_begin_array(w, "gpu");
    for (int i = 0; i < b->machine.gpu_count; i++) {
        jsonw_begin_object(w, NULL);
        jsonw_string(w, "uuid", b->nvml->gpus[i].uuid);
        jsonw_string(w, "name", b->nvml->gpus[i].name);
        jsonw_int(w, "memory_bytes", (int64_t)b->nvml->gpus[i].memory_bytes);
        jsonw_int(w, "used", usage->gpu_runs[i]);
        jsonw_end_object(w);
    }
    jsonw_end_array(w);
    jsonw_end_object(w);
    jsonw_string(w, "trouble", usage->trouble[0] != '\0' ? usage->trouble : NULL);
    jsonw_begin_object(w, "queue");
    jsonw_bool(w, "paused", usage->queue_paused);
    jsonw_end_object(w);
    jsonw_begin_array(w, "quarantined");
    for (int i = 0; i < usage->quarantined_count; i++) {
        char id[STORE_ID_SIZE];
        store_id_text(usage->quarantined[i].run, id);
        jsonw_begin_object(w, NULL);
        jsonw_string(w, "run", id);
        jsonw_int(w, "attempt", usage->quarantined[i].attempt);
        jsonw_int(w, "pid", usage->quarantined[i].pid);
        jsonw_string(w, "what", usage->quarantined[i].what);
        jsonw_end_object(w);
    }
    jsonw_end_array(w);
    jsonw_begin_object(w, "runs");
    for (int s = 0; s < RUN_STATES; s++)
        jsonw_int(w, run_state_word((enum run_state)s), counts[s]);
    jsonw_end_object(w);
    jsonw_end_object(w);
    return 0;
}

static void handle(struct bakad *b, struct http_request *r)
{
    /* slots are the loop's knowledge, so they are taken here */
    struct supervisor_usage usage = {0};
    supervisor_get_usage(b->supervisor, &usage);
    struct api_call *call = api_call_create(b, r, &usage, sizeof usage);
    if (call == NULL)
        return;
    call->run = run;
    api_call_read(call);
}

const struct http_route api_status_routes[] = {
    {.method = "GET", .path = "/v1/status", .handle = handle},
    {.method = NULL},
};
