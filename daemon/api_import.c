/* api_import.c: POST /v1/import: somebody else's curve as a finished run to compare with.
 *
 * The body may be 64 MiB, so it is parsed on one of libuv's threads, then stored as one write: all rows or none. */
#include "daemon/api.h"

#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "daemon/store_curve.h"
#include "daemon/sweep.h"

enum { IMPORT_MAX_BYTES = 64 << 20, IMPORT_MAX_DEPTH = 8 };

struct import {
    const char *body; /* the request's: there until it is answered */
    size_t size;
    char request_id[NAME_SIZE], name[NAME_SIZE];
    char tags[SUBMISSION_MAX_TAGS][NAME_SIZE];
    size_t tag_count;
    struct store_import_row *rows;
    size_t row_count;
};

static void import_free(void *arg)
{
    struct import *m = arg;
    free(m->rows);
    free(m);
}

static int read_name(const cJSON *body, const char *key, bool required, char out[NAME_SIZE], struct err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(body, key);
    if (item == NULL && !required)
        return 0;
    if (!cJSON_IsString(item) || !name_is_valid(item->valuestring))
        return err_set_at(err, ERR_INVALID, key,
                          "must be a name: 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit");
    memcpy(out, item->valuestring, strlen(item->valuestring) + 1);
    return 0;
}

static int read_tags(const cJSON *body, struct import *m, struct err *err)
{
    const cJSON *tags = cJSON_GetObjectItemCaseSensitive(body, "tags"), *tag;
    if (tags == NULL)
        return 0;
    if (!cJSON_IsArray(tags) || cJSON_GetArraySize(tags) > SUBMISSION_MAX_TAGS)
        return err_set_at(err, ERR_INVALID, "tags", "must be an array of at most %d names", SUBMISSION_MAX_TAGS);
    cJSON_ArrayForEach(tag, tags) {
        int rc = submission_check_name(cJSON_IsString(tag) ? tag->valuestring : "", "tags", err);
        if (rc != 0)
            return rc;
        memcpy(m->tags[m->tag_count++], tag->valuestring, strlen(tag->valuestring) + 1);
    }
    return 0;
}

/* [step, epoch, tokens, loss, val_loss or null] */
static bool read_row(const cJSON *row, struct store_import_row *out)
{
    const cJSON *item = cJSON_IsArray(row) ? row->child : NULL;
    double *const reals[] = {NULL, &out->epoch, NULL, &out->loss};
    int64_t *const ints[] = {&out->step, NULL, &out->tokens, NULL};
    for (int i = 0; i < 4; i++, item = item->next)
        if (item == NULL || !(ints[i] != NULL ? json_read_int64(item, ints[i]) : json_read_double(item, reals[i])))
            return false;
    out->val_loss = NAN;
    out->has_val_loss = item != NULL && !cJSON_IsNull(item);
    if (out->has_val_loss && !json_read_double(item, &out->val_loss))
        return false;
    return item == NULL || item->next == NULL;
}

static int read_rows(const cJSON *body, struct import *m, struct err *err)
{
    const cJSON *rows = cJSON_GetObjectItemCaseSensitive(body, "rows"), *row;
    if (!cJSON_IsArray(rows) || rows->child == NULL)
        return err_set_at(err, ERR_INVALID, "rows",
                          "must be an array of at least one [step,epoch,tokens,loss,val_loss]");
    m->rows = malloc((size_t)cJSON_GetArraySize(rows) * sizeof *m->rows);
    if (m->rows == NULL)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    cJSON_ArrayForEach(row, rows) {
        struct store_import_row *to = &m->rows[m->row_count];
        char path[64];
        snprintf(path, sizeof path, "rows[%zu]", m->row_count);
        if (!read_row(row, to))
            return err_set_at(err, ERR_INVALID, path, "must be [step,epoch,tokens,loss] and val_loss or null");
        if (to->step < 0 || to->tokens < 0 || !isfinite(to->epoch) || to->epoch < 0)
            return err_set_at(err, ERR_INVALID, path, "step, epoch and tokens must not be negative");
        if (m->row_count > 0 && (to->tokens < to[-1].tokens || to->epoch < to[-1].epoch))
            return err_set_at(err, ERR_INVALID, path, "epoch and tokens must not fall from row to row");
        m->row_count++;
    }
    return 0;
}

static int parse(struct api_call *call, struct err *err)
{
    static const char *const known[] = {"request_id", "name", "tags", "rows"};
    struct import *m = call->arg;
    cJSON *body;
    int rc =
        json_parse(m->body, m->size, &(struct json_limits){IMPORT_MAX_BYTES, IMPORT_MAX_DEPTH}, "body", &body, err);
    if (rc != 0)
        return rc;
    if (!cJSON_IsObject(body))
        rc = err_set(err, ERR_INVALID, "body: must be an object");
    for (const cJSON *item = rc == 0 ? body->child : NULL; item != NULL && rc == 0; item = item->next) {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            found |= strcmp(known[i], item->string) == 0;
        if (!found)
            rc = err_set_at(err, ERR_INVALID, item->string, "is not known; an import has request_id, name, tags, rows");
    }
    if (rc == 0)
        rc = read_name(body, "request_id", false, m->request_id, err);
    if (rc == 0)
        rc = read_name(body, "name", true, m->name, err);
    if (rc == 0)
        rc = submission_check_name(m->name, "name", err);
    if (rc == 0)
        rc = read_tags(body, m, err);
    if (rc == 0)
        rc = read_rows(body, m, err);
    cJSON_Delete(body);
    /* a million rows as cJSON items are half a gigabyte that nobody needs again */
    if (m->size > 1 << 20)
        malloc_trim(0);
    return rc;
}

static int run_import(struct store_conn *c, struct api_call *call, struct err *err)
{
    const struct import *m = call->arg;
    const char *tags[SUBMISSION_MAX_TAGS];
    struct store_run made;
    int64_t id;
    bool repeated;
    for (size_t i = 0; i < m->tag_count; i++)
        tags[i] = m->tags[i];
    int rc = store_import(c, m->request_id[0] != '\0' ? m->request_id : NULL, m->name, tags, m->tag_count, m->rows,
                          m->row_count, call->now_ms, &id, &repeated, err);
    if (rc == 0)
        rc = store_run_get(c, id, &made, err);
    if (rc != 0)
        return rc;
    jsonw_begin_object(&call->out, NULL);
    jsonw_begin_array(&call->out, "runs");
    jsonw_begin_object(&call->out, NULL);
    jsonw_string(&call->out, "id", made.id_text);
    jsonw_string(&call->out, "name", made.name);
    jsonw_string(&call->out, "state", run_state_word(made.state));
    jsonw_end_object(&call->out);
    jsonw_end_array(&call->out);
    jsonw_end_object(&call->out);
    store_run_finish(&made);
    return 0;
}

static void handle(struct bakad *b, struct http_request *r)
{
    struct import m = {0};
    m.body = http_request_body(r, &m.size);
    struct api_call *call = api_call_create(b, r, &m, sizeof m);
    if (call == NULL)
        return;
    call->free_arg = import_free;
    call->run = run_import;
    call->status = 201;
    api_call_compute(call, parse, api_call_write);
}

const struct http_route api_import_routes[] = {
    {.method = "POST", .path = "/v1/import", .max_body = IMPORT_MAX_BYTES, .handle = handle},
    {.method = NULL},
};
