/* api.h: what the families of routes share. A call is one request that needs the store: its run function works on a
 * store thread and writes the answer; on the loop the answer leaves. Everything that run needs is put into the call
 * before, for it must not touch the request.
 */
#ifndef BAKA_DAEMON_API_H
#define BAKA_DAEMON_API_H

#include <stdbool.h>
#include <stdint.h>
#include "base/path.h"
#include "daemon/bakad.h"
#include "daemon/http.h"
#include "daemon/jsonw.h"
#include "daemon/store.h"
#include "daemon/store_curve.h"
#include "daemon/store_run.h"

struct plan;
struct spec;

struct api_call {
    struct bakad *bakad;
    struct http_request *request;
    int (*run)(struct store_conn *c, struct api_call *call, struct err *err); /* store thread; fills out */
    void (*next)(struct api_call *call);  /* loop, after a run that went well and left it set: instead of an answer */
    void (*after)(struct api_call *call); /* loop, when run and its commit went well, before the answer; may be NULL */
    void (*free_arg)(void *arg);          /* loop, at the end in every case; may be NULL */
    void *arg;
    char ref[NAME_SIZE]; /* of the path */
    int64_t now_ms;      /* when the request came */
    unsigned status;     /* 200 unless changed */
    struct jsonw out;
    struct store_job job;
    uv_work_t work;
    int rc;
    struct err err;
};

/* With `arg` a copy of the `size` bytes at `arg` (NULL, 0: none), freed at the end unless free_arg is changed. NULL
 * when out of memory: the request is answered then. The call is freed by the api_call_ functions below. */
struct api_call *api_call_create(struct bakad *b, struct http_request *r, const void *arg, size_t size);
/* Each ends with an answer. */
void api_call_read(struct api_call *call);
void api_call_write(struct api_call *call);
void api_call_fail(struct api_call *call, const struct err *err);
/* Work without the store on libuv's threads, then `done` on the loop, which goes on with one of the three above; on
 * failure of `work` the answer is its error. */
void api_call_compute(struct api_call *call, int (*work)(struct api_call *call, struct err *err),
                      void (*done)(struct api_call *call));

/* The fields of RUN (docs/architecture.md), into the object that is open. */
void api_run_fields(struct jsonw *w, const struct bakad *b, const struct store_run *r, int64_t now_ms);
/* RUN as one object. */
void api_run_object(struct jsonw *w, const char *key, const struct bakad *b, const struct store_run *r, int64_t now_ms);
/* "perplexity","bits_per_byte","word_perplexity", into the object that is open. */
void api_quality_fields(struct jsonw *w, const struct store_quality *q);
/* "gpu": the newest sample of each attempt, into the object that is open. */
int api_gpu_newest(struct store_conn *c, struct jsonw *w, int64_t id, struct err *err);
/* What this machine can never run is refused, else *out is the plan for its largest device. Any thread. */
int api_plan_run(const struct bakad *b, const struct spec *s, int64_t vocab, struct plan *out, struct err *err);
/* Of a job: "job" and "result"; of any other run: "evaluations", what jobs found. Into the object that is open. */
int api_job_fields(struct store_conn *c, struct jsonw *w, const struct store_run *r, struct err *err);
/* "evaluations" alone. */
int api_job_evaluations(struct store_conn *c, struct jsonw *w, int64_t run, struct err *err);
void api_store_real(struct jsonw *w, const char *key, const struct store_real *r);
/* null where value is STORE_UNKNOWN */
void api_store_int(struct jsonw *w, const char *key, int64_t value);

extern const struct http_route api_status_routes[], api_runs_routes[], api_change_routes[], api_submit_routes[],
    api_jobs_routes[], api_steps_routes[], api_gpu_routes[], api_log_routes[], api_import_routes[],
    api_compare_routes[], api_query_routes[], stream_routes[];

#endif
