/* api_gpu.c: what runs' journals said of their GPU: in RUN's detail the newest of each attempt, GET /v1/runs/REF/gpu
 * all. */
#include "daemon/api.h"

#include <math.h>
#include <stdlib.h>
#include "daemon/store_gpu.h"

static void write_known(struct jsonw *w, const char *key, double value)
{
    api_store_real(w, key, &(struct store_real){!isnan(value), value});
}

static void write_throttle(struct jsonw *w, int64_t reasons)
{
    if (reasons == GPU_UNKNOWN) {
        jsonw_null(w, "throttle");
        return;
    }
    jsonw_begin_array(w, "throttle");
    for (int i = 0; i < GPU_THROTTLES; i++)
        if (reasons & INT64_C(1) << i)
            jsonw_string(w, NULL, gpu_throttle_word((enum gpu_throttle)i));
    jsonw_end_array(w);
}

static void write_samples(struct jsonw *w, const char *key, const struct store_gpu *samples, size_t n)
{
    jsonw_begin_array(w, key);
    for (size_t i = 0; i < n; i++) {
        const struct gpu_health *h = &samples[i].sample.health;
        jsonw_begin_object(w, NULL);
        jsonw_int(w, "attempt", samples[i].attempt);
        jsonw_int(w, "step", samples[i].sample.step);
        jsonw_int(w, "time_ms", samples[i].sample.time_ms);
        api_store_int(w, "memory_used", h->memory_used);
        api_store_int(w, "memory_total", h->memory_total);
        api_store_int(w, "temperature_c", h->temperature_c);
        api_store_int(w, "sm_clock_mhz", h->sm_clock_mhz);
        write_known(w, "power_w", h->power_w);
        write_known(w, "energy_j", h->energy_j);
        write_throttle(w, h->throttle);
        api_store_int(w, "ecc_uncorrected", h->ecc_uncorrected);
        api_store_int(w, "xid", h->xid);
        jsonw_end_object(w);
    }
    jsonw_end_array(w);
}

int api_gpu_newest(struct store_conn *c, struct jsonw *w, int64_t id, struct err *err)
{
    struct store_gpu *samples;
    size_t n;
    int rc = store_gpu_newest(c, id, &samples, &n, err);
    if (rc != 0)
        return rc;
    write_samples(w, "gpu", samples, n);
    free(samples);
    return 0;
}

static int run_gpu(struct store_conn *c, struct api_call *call, struct err *err)
{
    struct store_gpu *samples;
    int64_t id;
    size_t n;
    int rc = store_resolve(c, call->ref, &id, err);
    if (rc == 0)
        rc = store_gpu_list(c, id, &samples, &n, err);
    if (rc != 0)
        return rc;
    jsonw_begin_object(&call->out, NULL);
    write_samples(&call->out, "samples", samples, n);
    jsonw_end_object(&call->out);
    free(samples);
    return 0;
}

static void handle_gpu(struct bakad *b, struct http_request *r)
{
    struct api_call *call = api_call_create(b, r, NULL, 0);
    if (call == NULL)
        return;
    call->run = run_gpu;
    api_call_read(call);
}

const struct http_route api_gpu_routes[] = {
    {.method = "GET", .path = "/v1/runs/@/gpu", .handle = handle_gpu},
    {.method = NULL},
};
