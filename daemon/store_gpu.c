#include "daemon/store_gpu.h"

#include <stdlib.h>
#include <string.h>
#include "daemon/store_statement.h"

enum { THROTTLE_TEXT_SIZE = 160 }; /* all words, joined */

/* The columns keep finite numbers; a journal can claim others. */
static struct sql_value real_value(double value)
{
    return isfinite(value) ? SQL_REAL(value) : SQL_NULL;
}

static void throttle_text(int64_t reasons, char out[THROTTLE_TEXT_SIZE])
{
    size_t used = 0;
    *out = '\0';
    for (int i = 0; i < GPU_THROTTLES; i++)
        if (reasons & INT64_C(1) << i)
            used += (size_t)snprintf(out + used, THROTTLE_TEXT_SIZE - used, "%s%s", used ? "," : "",
                                     gpu_throttle_word((enum gpu_throttle)i));
}

static int64_t throttle_read(char *text)
{
    int64_t reasons = 0;
    char *rest;
    for (char *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        enum gpu_throttle reason = gpu_throttle_parse(word);
        if (reason != GPU_THROTTLES)
            reasons |= INT64_C(1) << reason;
    }
    return reasons;
}

int store_gpu_add(struct store_conn *c, int64_t run, int64_t attempt, const struct journal_gpu *sample, struct err *err)
{
    const struct gpu_health *h = &sample->health;
    char throttle[THROTTLE_TEXT_SIZE];
    throttle_text(h->throttle, throttle);
    _Static_assert((int)GPU_UNKNOWN == (int)STORE_UNKNOWN, "one word for what is not known");
    return sql_run(c, QUERY_GPU_INSERT,
                   SQL_VALUES(SQL_INT(run), SQL_INT(attempt), SQL_INT(sample->step), SQL_INT(sample->time_ms),
                              SQL_INT_KNOWN(h->memory_used), SQL_INT_KNOWN(h->memory_total),
                              SQL_INT_KNOWN(h->temperature_c), SQL_INT_KNOWN(h->sm_clock_mhz), real_value(h->power_w),
                              real_value(h->energy_j), h->throttle == GPU_UNKNOWN ? SQL_NULL : SQL_TEXT(throttle),
                              SQL_INT_KNOWN(h->ecc_uncorrected), SQL_INT_KNOWN(h->xid)),
                   err);
}

static struct store_gpu read_sample(sqlite3_stmt *st)
{
    char throttle[THROTTLE_TEXT_SIZE];
    struct store_gpu g = {.attempt = sqlite3_column_int64(st, 0),
                          .sample = {.step = sqlite3_column_int64(st, 1), .time_ms = sqlite3_column_int64(st, 2)}};
    struct gpu_health *h = &g.sample.health;
    h->memory_used = sql_int_known(st, 3);
    h->memory_total = sql_int_known(st, 4);
    h->temperature_c = sql_int_known(st, 5);
    h->sm_clock_mhz = sql_int_known(st, 6);
    h->power_w = sql_double(st, 7);
    h->energy_j = sql_double(st, 8);
    sql_text(st, 9, throttle, sizeof throttle);
    h->throttle = sqlite3_column_type(st, 9) == SQLITE_NULL ? GPU_UNKNOWN : throttle_read(throttle);
    h->ecc_uncorrected = sql_int_known(st, 10);
    h->xid = sql_int_known(st, 11);
    return g;
}

static int read_samples(struct store_conn *c, enum store_query query, int64_t run, struct store_gpu **out, size_t *n,
                        struct err *err)
{
    sqlite3_stmt *st;
    struct store_gpu *found = NULL;
    size_t count = 0, capacity = 0;
    int rc = sql_open(c, query, SQL_VALUES(SQL_INT(run)), &st, err);
    if (rc)
        return rc;
    while ((rc = sql_step(c, st, err)) > 0) {
        rc = sql_grow((void **)&found, count, &capacity, sizeof *found, err);
        if (rc) {
            sql_end(st);
            break;
        }
        found[count++] = read_sample(st);
    }
    if (rc) {
        free(found);
        return rc;
    }
    *out = found;
    *n = count;
    return 0;
}

int store_gpu_list(struct store_conn *c, int64_t run, struct store_gpu **out, size_t *n, struct err *err)
{
    return read_samples(c, QUERY_GPU_LIST, run, out, n, err);
}

int store_gpu_newest(struct store_conn *c, int64_t run, struct store_gpu **out, size_t *n, struct err *err)
{
    return read_samples(c, QUERY_GPU_NEWEST, run, out, n, err);
}
