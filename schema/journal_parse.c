/* journal_parse.c: a line of the journal to a record. Step lines, nearly all of a journal, are scanned for their fixed
 * keys in the order in which journal_print writes them; whatever the scanner does not know goes through the strict JSON
 * reader, and both give the same records. Keys and kinds that are not known are passed over, so that a newer worker may
 * say more; a key that is missing (but those that workers did not always write) or of a wrong type is damage. */
#include "schema/journal.h"

#include <limits.h>
#include <math.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "schema/journal_number.h"

struct scan {
    const char *at, *end;
};

/* `expected` is a literal: its length is known to the compiler and memcmp becomes a few moves. */
#define SCAN_TEXT(s, expected) scan_text(s, expected, sizeof(expected) - 1)

static inline bool scan_text(struct scan *s, const char *expected, size_t size)
{
    if ((size_t)(s->end - s->at) < size || memcmp(s->at, expected, size) != 0)
        return false;
    s->at += size;
    return true;
}

/* 1 to 15 digits: below 2^53 without looking. */
static bool scan_count(struct scan *s, int64_t *out)
{
    const char *from = s->at, *p = from;
    int64_t value = 0;
    for (; p < s->end && (unsigned char)(*p - '0') < 10; p++) {
        if (p - from == 15)
            return false;
        value = value * 10 + (*p - '0');
    }
    if (p == from || (*from == '0' && p - from > 1))
        return false;
    s->at = p;
    *out = value;
    return true;
}

static bool scan_double(struct scan *s, double *out)
{
    if (s->at < s->end && *s->at != '"')
        return journal_number_read(&s->at, s->end, out);
    if (SCAN_TEXT(s, "\"nan\""))
        *out = NAN;
    else if (SCAN_TEXT(s, "\"inf\""))
        *out = INFINITY;
    else if (SCAN_TEXT(s, "\"-inf\""))
        *out = -INFINITY;
    else
        return false;
    return true;
}

static bool scan_step(const char *line, size_t size, struct journal_step *out)
{
    struct scan s = {.at = line, .end = line + size};
    struct journal_step r = {0};
    bool fine = SCAN_TEXT(&s, "{\"kind\":\"step\",\"step\":") && scan_count(&s, &r.step) && r.step > 0 &&
                SCAN_TEXT(&s, ",\"epoch\":") && scan_double(&s, &r.epoch) && SCAN_TEXT(&s, ",\"tokens\":") &&
                scan_count(&s, &r.tokens) && SCAN_TEXT(&s, ",\"loss\":") && scan_double(&s, &r.loss) &&
                SCAN_TEXT(&s, ",\"lr\":") && scan_double(&s, &r.lr) && SCAN_TEXT(&s, ",\"grad_norm\":") &&
                scan_double(&s, &r.grad_norm) && SCAN_TEXT(&s, ",\"ms\":") && scan_double(&s, &r.ms) &&
                SCAN_TEXT(&s, ",\"tok_s\":") && scan_double(&s, &r.tok_s) &&
                (!SCAN_TEXT(&s, ",\"mfu\":") || scan_double(&s, &r.mfu)) && SCAN_TEXT(&s, "}") && s.at == s.end;
    if (fine)
        *out = r;
    return fine;
}

/* Reading of one object's keys: the first that is missing or wrong is kept, all later reads do nothing. */
struct reader {
    const cJSON *object;
    const char *bad_key;
};

static const cJSON *find(struct reader *r, const char *key)
{
    return r->bad_key ? NULL : cJSON_GetObjectItemCaseSensitive(r->object, key);
}

static void read_double(struct reader *r, const char *key, double *out)
{
    const cJSON *item = find(r, key);
    if (!r->bad_key && !json_read_double(item, out))
        r->bad_key = key;
}

/* null, or a key that older workers did not write: `unknown`. */
static void read_double_known(struct reader *r, const char *key, double unknown, double *out)
{
    const cJSON *item = find(r, key);
    if (r->bad_key)
        return;
    *out = unknown;
    if (item && !cJSON_IsNull(item))
        read_double(r, key, out);
}

static void read_count(struct reader *r, const char *key, int64_t min, int64_t *out)
{
    const cJSON *item = find(r, key);
    if (!r->bad_key && (!cJSON_IsNumber(item) || !json_read_int64(item, out) || *out < min))
        r->bad_key = key;
}

static void read_count_known(struct reader *r, const char *key, int64_t *out)
{
    const cJSON *item = find(r, key);
    if (r->bad_key)
        return;
    *out = GPU_UNKNOWN;
    if (item && !cJSON_IsNull(item))
        read_count(r, key, 0, out);
}

static void read_int(struct reader *r, const char *key, int min, int *out)
{
    int64_t value = 0;
    read_count(r, key, min, &value);
    if (value > INT_MAX && !r->bad_key)
        r->bad_key = key;
    *out = (int)value;
}

static void read_string(struct reader *r, const char *key, char *out, size_t size)
{
    const cJSON *item = find(r, key);
    if (r->bad_key)
        return;
    if (!cJSON_IsString(item) || strlen(item->valuestring) >= size) {
        r->bad_key = key;
        return;
    }
    memcpy(out, item->valuestring, strlen(item->valuestring) + 1);
}

static void read_start(struct reader *r, struct journal_start *s)
{
    read_int(r, "attempt", 0, &s->attempt);
    read_count(r, "resume_step", 0, &s->resume_step);
    read_string(r, "spec_hash", s->spec_hash, sizeof s->spec_hash);
    read_string(r, "data_hash", s->data_hash, sizeof s->data_hash);
    read_string(r, "numerics_id", s->numerics_id, sizeof s->numerics_id);
    read_string(r, "build", s->build, sizeof s->build);
    read_string(r, "backend", s->backend, sizeof s->backend);
    read_string(r, "device", s->device, sizeof s->device);
    read_int(r, "threads", 0, &s->threads);
    read_count(r, "micro_batch", 0, &s->micro_batch);
    read_count(r, "params", 0, &s->params);
    read_count(r, "tokens_per_epoch", 0, &s->tokens_per_epoch);
    read_count(r, "steps_per_epoch", 0, &s->steps_per_epoch);
    read_count(r, "total_steps", 0, &s->total_steps);
    read_count(r, "memory_bytes", 0, &s->memory_bytes);
    read_count(r, "pid", 0, &s->pid);
    read_count(r, "time", 0, &s->time_ms);
    read_double_known(r, "flops_per_token", 0, &s->flops_per_token);
    read_double_known(r, "peak_flops", 0, &s->peak_flops);
}

static void read_step(struct reader *r, struct journal_step *s)
{
    read_count(r, "step", 1, &s->step);
    read_double(r, "epoch", &s->epoch);
    read_count(r, "tokens", 0, &s->tokens);
    read_double(r, "loss", &s->loss);
    read_double(r, "lr", &s->lr);
    read_double(r, "grad_norm", &s->grad_norm);
    read_double(r, "ms", &s->ms);
    read_double(r, "tok_s", &s->tok_s);
    read_double_known(r, "mfu", 0, &s->mfu);
}

static void read_eval(struct reader *r, struct journal_eval *e)
{
    read_count(r, "step", 0, &e->step);
    read_double(r, "epoch", &e->epoch);
    read_count(r, "tokens", 0, &e->tokens);
    read_string(r, "split", e->split, sizeof e->split);
    read_double(r, "loss", &e->loss);
    read_double(r, "perplexity", &e->perplexity);
    if (cJSON_IsNull(find(r, "bits_per_byte")))
        e->bits_per_byte = NAN;
    else
        read_double(r, "bits_per_byte", &e->bits_per_byte);
    read_double_known(r, "word_perplexity", NAN, &e->word_perplexity);
    read_count(r, "predictions", 0, &e->predictions);
    read_double(r, "ms", &e->ms);
}

/* Words that are not known are a newer worker's. */
static void read_throttle(struct reader *r, int64_t *out)
{
    const cJSON *list = find(r, "throttle"), *item;
    if (r->bad_key)
        return;
    *out = GPU_UNKNOWN;
    if (!list || cJSON_IsNull(list))
        return;
    int64_t reasons = 0;
    cJSON_ArrayForEach(item, list) {
        if (!cJSON_IsString(item)) {
            r->bad_key = "throttle";
            return;
        }
        enum gpu_throttle reason = gpu_throttle_parse(item->valuestring);
        if (reason != GPU_THROTTLES)
            reasons |= INT64_C(1) << reason;
    }
    if (cJSON_IsArray(list))
        *out = reasons;
    else
        r->bad_key = "throttle";
}

static void read_gpu(struct reader *r, struct journal_gpu *g)
{
    struct gpu_health *h = &g->health;
    read_count(r, "step", 0, &g->step);
    read_count(r, "time", 0, &g->time_ms);
    read_count_known(r, "memory_used", &h->memory_used);
    read_count_known(r, "memory_total", &h->memory_total);
    read_count_known(r, "temperature_c", &h->temperature_c);
    read_count_known(r, "sm_clock_mhz", &h->sm_clock_mhz);
    read_double_known(r, "power_w", NAN, &h->power_w);
    read_double_known(r, "energy_j", NAN, &h->energy_j);
    read_throttle(r, &h->throttle);
    read_count_known(r, "ecc_uncorrected", &h->ecc_uncorrected);
    read_count_known(r, "xid", &h->xid);
}

static void read_checkpoint(struct reader *r, struct journal_checkpoint *c)
{
    read_count(r, "step", 0, &c->step);
    read_string(r, "path", c->path, sizeof c->path);
    read_count(r, "bytes", 0, &c->bytes);
    read_double(r, "ms", &c->ms);
}

static void read_end(struct reader *r, struct journal_end *e)
{
    char word[32] = "";
    int reason = END_FINISHED;
    read_string(r, "reason", word, sizeof word);
    while (reason <= END_INTERNAL_ERROR && strcmp(word, journal_end_reason_word((enum journal_end_reason)reason)) != 0)
        reason++;
    if (reason > END_INTERNAL_ERROR && !r->bad_key)
        r->bad_key = "reason";
    e->reason = (enum journal_end_reason)reason;
    read_count(r, "step", 0, &e->step);
    read_string(r, "text", e->text, sizeof e->text);
}

static const char *const kind_words[] = {
    [JOURNAL_START] = "start",           [JOURNAL_STEP] = "step", [JOURNAL_EVAL] = "eval", [JOURNAL_GPU] = "gpu",
    [JOURNAL_CHECKPOINT] = "checkpoint", [JOURNAL_NOTE] = "note", [JOURNAL_END] = "end",
};

static void read_other(struct reader *r, char out[JOURNAL_KIND_SIZE])
{
    read_string(r, "kind", out, JOURNAL_KIND_SIZE);
    if (!r->bad_key && (!*out || strspn(out, "abcdefghijklmnopqrstuvwxyz_") != strlen(out)))
        r->bad_key = "kind";
}

static void read_record(struct reader *r, struct journal_record *out)
{
    const cJSON *kind = find(r, "kind");
    int index = 0;
    while (index <= JOURNAL_END && !(cJSON_IsString(kind) && strcmp(kind->valuestring, kind_words[index]) == 0))
        index++;
    out->kind = (enum journal_kind)index;
    switch (out->kind) {
    case JOURNAL_START:
        read_start(r, &out->start);
        break;
    case JOURNAL_STEP:
        read_step(r, &out->step);
        break;
    case JOURNAL_EVAL:
        read_eval(r, &out->eval);
        break;
    case JOURNAL_GPU:
        read_gpu(r, &out->gpu);
        break;
    case JOURNAL_CHECKPOINT:
        read_checkpoint(r, &out->checkpoint);
        break;
    case JOURNAL_NOTE:
        read_string(r, "text", out->note, sizeof out->note);
        break;
    case JOURNAL_END:
        read_end(r, &out->end);
        break;
    case JOURNAL_OTHER:
        read_other(r, out->other);
        break;
    }
}

int journal_parse(const char *line, size_t size, struct journal_record *out, struct err *err)
{
    static const struct json_limits limits = {.max_bytes = JOURNAL_LINE_MAX, .max_depth = 8};
    struct journal_step step;
    if (scan_step(line, size, &step)) {
        out->kind = JOURNAL_STEP;
        out->step = step;
        return 0;
    }
    cJSON *object;
    struct err reason = {0};
    if (json_parse(line, size, &limits, "the line", &object, &reason) < 0)
        return err_set(err, ERR_DAMAGED, "not a journal record: %.700s", reason.message);
    struct journal_record record;
    memset(&record, 0, sizeof record);
    struct reader r = {.object = object, .bad_key = cJSON_IsObject(object) ? NULL : "kind"};
    if (!r.bad_key)
        read_record(&r, &record);
    cJSON_Delete(object);
    if (r.bad_key)
        return err_set_at(err, ERR_DAMAGED, r.bad_key,
                          "not a journal record: its key \"%s\" is missing or not as it should be", r.bad_key);
    *out = record;
    return 0;
}
