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

static int read_sample(sqlite3_stmt *st, void *row, struct err *err)
{
    (void)err; /* cannot fail: it owns nothing */
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
    *(struct store_gpu *)row = g;
    return 0;
}

static const struct sql_row sample_row = {.size = sizeof(struct store_gpu), .read = read_sample};

int store_gpu_list(struct store_conn *c, int64_t run, struct store_gpu **out, size_t *n, struct err *err)
{
    return sql_rows(c, QUERY_GPU_LIST, SQL_VALUES(SQL_INT(run)), &sample_row, (void **)out, n, err);
}

int store_gpu_newest(struct store_conn *c, int64_t run, struct store_gpu **out, size_t *n, struct err *err)
{
    return sql_rows(c, QUERY_GPU_NEWEST, SQL_VALUES(SQL_INT(run)), &sample_row, (void **)out, n, err);
}
