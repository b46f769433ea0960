/* api_query.c: POST /v1/query and GET /v1/query. They run on one of libuv's threads with connections of their own, so
 * that a long query keeps neither the loop nor a store reader. */
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "daemon/api.h"
#include "daemon/config.h"
#include "daemon/query.h"

enum { BODY_MAX = 2 * QUERY_SQL_MAX + 1024, BODY_DEPTH = 4 };

struct asked {
    const char *body; /* the request's: there until it is answered; NULL: the views are asked for */
    size_t size;
};

static int read_int(const cJSON *body, const char *key, int64_t max, int64_t *out, struct err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(body, key);
    if (item && (!json_read_int64(item, out) || *out < 1 || *out > max))
        return err_set_at(err, ERR_INVALID, key, "must be an integer from 1 to %lld", (long long)max);
    return 0;
}

static int ask(const cJSON *body, struct query *q, struct api_call *call, struct err *err)
{
    const cJSON *sql = cJSON_GetObjectItemCaseSensitive(body, "sql");
    if (!cJSON_IsString(sql))
        return err_set_at(err, ERR_INVALID, "sql", "must be a string, a SELECT");
    if (strlen(sql->valuestring) > QUERY_SQL_MAX)
        return err_set_at(err, ERR_TOO_LARGE, "sql", "has more than %d bytes", QUERY_SQL_MAX);
    for (const cJSON *item = body->child; item; item = item->next)
        if (strcmp(item->string, "sql") != 0 && strcmp(item->string, "limit") != 0 &&
            strcmp(item->string, "timeout_ms") != 0)
            return err_set_at(err, ERR_INVALID, item->string, "is not known; a query has sql, limit, timeout_ms");
    int rc = read_int(body, "limit", QUERY_ROWS_MAX, &q->rows, err);
    if (rc == 0)
        rc = read_int(body, "timeout_ms", QUERY_TIME_MS, &q->time_ms, err);
    q->sql = sql->valuestring;
    return rc ? rc : query_run(q, &call->out, err);
}

static int work(struct api_call *call, struct err *err)
{
    const struct asked *a = call->arg;
    char database[PATH_SIZE];
    int rc = path_format(database, err, "%s/baka.db", call->bakad->config->home);
    if (rc)
        return rc;
    if (!a->body)
        return query_describe(database, &call->out, err);
    cJSON *body;
    rc = json_parse(a->body, a->size, &(struct json_limits){BODY_MAX, BODY_DEPTH}, "body", &body, err);
    if (rc)
        return rc;
    struct query q = {.database = database, .rows = QUERY_ROWS_DEFAULT, .time_ms = QUERY_TIME_MS};
    rc = cJSON_IsObject(body) ? ask(body, &q, call, err) : err_set(err, ERR_INVALID, "body: must be an object");
    cJSON_Delete(body);
    return rc;
}

/* All is written already: what is read from the store is nothing. */
static int run_nothing(struct store_conn *c, struct api_call *call, struct err *err)
{
    (void)c;
    (void)call;
    (void)err;
    return 0;
}

static void start(struct bakad *b, struct http_request *r, const struct asked *asked)
{
    struct api_call *call = api_call_create(b, r, asked, sizeof *asked);
    if (!call)
        return;
    call->run = run_nothing;
    api_call_compute(call, work, api_call_read);
}

static void handle_query(struct bakad *b, struct http_request *r)
{
    struct asked a = {0};
    a.body = http_request_body(r, &a.size);
    start(b, r, &a);
}

static void handle_views(struct bakad *b, struct http_request *r)
{
    start(b, r, &(struct asked){0});
}

const struct http_route api_query_routes[] = {
    {"POST", "/v1/query", "", BODY_MAX, handle_query},
    {"GET", "/v1/query", "", 0, handle_views},
    {NULL, NULL, NULL, 0, NULL},
};
