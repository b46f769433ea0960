/* run_view.h: reading the API's RUN objects, and their values as people read them. A field that is null, absent or of
 * another type reads as "" or NaN. Text results are written to the caller's buffer and returned. Thread: any. */
#ifndef BAKA_CLI_RUN_VIEW_H
#define BAKA_CLI_RUN_VIEW_H

#include <stdbool.h>
#include <cjson/cJSON.h>

struct err;
struct client;
struct table;

enum { RUN_VIEW_SIZE = 48 };

#define RUN_STATES "queued, blocked, starting, running, paused, finished, stopped, failed, diverged, cancelled"

const char *run_text(const cJSON *run, const char *key);
double run_number(const cJSON *run, const char *key);
/* One of RUN_STATES. */
bool run_state_is_known(const char *state);
/* finished, stopped, failed, diverged, cancelled. */
bool run_state_is_ended(const char *state);

/* All of these give "-" for NaN. */
const char *run_format_loss(double loss, char out[RUN_VIEW_SIZE]);   /* "1.5123", "inf" */
const char *run_format_count(double n, char out[RUN_VIEW_SIZE]);     /* "1.57M" */
const char *run_format_epoch(double epoch, char out[RUN_VIEW_SIZE]); /* "3", "1.86" */
const char *run_format_seconds(double seconds, char out[RUN_VIEW_SIZE]);
const char *run_format_bytes(double bytes, char out[RUN_VIEW_SIZE]);
const char *run_format_percent(double share, char out[RUN_VIEW_SIZE]); /* "41.3%" */
const char *run_format_energy(double joules, char out[RUN_VIEW_SIZE]); /* "512 J", "1.32 kWh" */
/* Share of the steps done: "43%", NaN where the number of steps is not known. */
double run_share(const cJSON *run);
const char *run_format_share(const cJSON *run, char out[RUN_VIEW_SIZE]);

/* A line on standard error where steps of the run are missing: what is shown of its curve is not all of it. */
void run_warn_missing(const cJSON *run);

/* GET /v1/runs/REF: one run by id or name. Caller deletes. */
int run_fetch(struct client *client, const char *ref, cJSON **out, struct err *err);
/* Appends to the array `runs` the RUN objects that each REF or tag stands for, in that order, each run once.
 * ERR_NOT_FOUND names all words that stand for none. */
int run_fetch_all(struct client *client, const char *const *refs, int count, cJSON *runs, struct err *err);

#endif
