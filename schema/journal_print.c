/* journal_print.c: one record, one line. Cannot fail: the longest strings of every kind, escaped at six characters a
 * byte, fit JOURNAL_LINE_MAX. Bytes that are not UTF-8 (a file name in a message) become '?': a line is always JSON. */
#include "schema/journal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/json.h"
#include "base/json_check.h"

static const char *const reason_words[] = {
    [END_FINISHED] = "finished",
    [END_STOPPED] = "stopped",
    [END_DIVERGED] = "diverged",
    [END_BAD_SPEC] = "bad_spec",
    [END_BAD_DATA] = "bad_data",
    [END_BAD_CHECKPOINT] = "bad_checkpoint",
    [END_DISK_FULL] = "disk_full",
    [END_OOM_GPU] = "oom_gpu",
    [END_OOM_HOST] = "oom_host",
    [END_BACKEND_ERROR] = "backend_error",
    [END_SILENT_CORRUPTION] = "silent_corruption",
    [END_INTERNAL_ERROR] = "internal_error",
};

const char *journal_end_reason_word(enum journal_end_reason reason)
{
    return (unsigned)reason < sizeof reason_words / sizeof *reason_words ? reason_words[reason] : "unknown";
}

struct line {
    char *text;
    size_t used;
};

static void put(struct line *l, const char *text, size_t size)
{
    memcpy(l->text + l->used, text, size);
    l->used += size;
}

static void put_key(struct line *l, const char *key)
{
    put(l, l->used > 1 ? ",\"" : "\"", l->used > 1 ? 2 : 1);
    put(l, key, strlen(key));
    put(l, "\":", 2);
}

static void put_string(struct line *l, const char *key, const char *text, size_t size)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *p = (const unsigned char *)text, *end = p + strnlen(text, size);
    put_key(l, key);
    put(l, "\"", 1);
    while (p < end) {
        size_t n = json_utf8_length(p, end);
        if (n == 0) {
            put(l, "?", 1);
            p++;
            continue;
        }
        if (*p == '"' || *p == '\\') {
            put(l, "\\", 1);
            put(l, (const char *)p, 1);
        } else if (*p < 0x20) {
            char escape[6] = {'\\', 'u', '0', '0', hex[*p >> 4], hex[*p & 15]};
            put(l, escape, 6);
        } else {
            put(l, (const char *)p, n);
        }
        p += n;
    }
    put(l, "\"", 1);
}

static void put_integer(struct line *l, const char *key, int64_t value)
{
    char text[24];
    put_key(l, key);
    put(l, text, (size_t)snprintf(text, sizeof text, "%" PRId64, value));
}

static void put_double(struct line *l, const char *key, double value)
{
    char text[JSON_NUMBER_SIZE];
    bool finite = isfinite(value);
    json_number_text(value, text);
    put_key(l, key);
    put(l, "\"", !finite);
    put(l, text, strlen(text));
    put(l, "\"", !finite);
}

static void put_null(struct line *l, const char *key)
{
    put_key(l, key);
    put(l, "null", 4);
}

static void put_double_known(struct line *l, const char *key, double value, bool known)
{
    if (known)
        put_double(l, key, value);
    else
        put_null(l, key);
}

static void put_integer_known(struct line *l, const char *key, int64_t value)
{
    if (value == GPU_UNKNOWN)
        put_null(l, key);
    else
        put_integer(l, key, value);
}

static void put_start(struct line *l, const struct journal_start *s)
{
    put_string(l, "kind", "start", 5);
    put_integer(l, "attempt", s->attempt);
    put_integer(l, "resume_step", s->resume_step);
    put_string(l, "spec_hash", s->spec_hash, sizeof s->spec_hash);
    put_string(l, "data_hash", s->data_hash, sizeof s->data_hash);
    put_string(l, "numerics_id", s->numerics_id, sizeof s->numerics_id);
    put_string(l, "build", s->build, sizeof s->build);
    put_string(l, "backend", s->backend, sizeof s->backend);
    put_string(l, "device", s->device, sizeof s->device);
    put_integer(l, "threads", s->threads);
    put_integer(l, "micro_batch", s->micro_batch);
    put_integer(l, "params", s->params);
    put_integer(l, "tokens_per_epoch", s->tokens_per_epoch);
    put_integer(l, "steps_per_epoch", s->steps_per_epoch);
    put_integer(l, "total_steps", s->total_steps);
    put_integer(l, "memory_bytes", s->memory_bytes);
    put_integer(l, "pid", s->pid);
    put_integer(l, "time", s->time_ms);
    put_double_known(l, "flops_per_token", s->flops_per_token, s->flops_per_token != 0);
    put_double_known(l, "peak_flops", s->peak_flops, s->peak_flops != 0);
}

static void put_step(struct line *l, const struct journal_step *s)
{
    put_string(l, "kind", "step", 4);
    put_integer(l, "step", s->step);
    put_double(l, "epoch", s->epoch);
    put_integer(l, "tokens", s->tokens);
    put_double(l, "loss", s->loss);
    put_double(l, "lr", s->lr);
    put_double(l, "grad_norm", s->grad_norm);
    put_double(l, "ms", s->ms);
    put_double(l, "tok_s", s->tok_s);
    if (s->mfu != 0)
        put_double(l, "mfu", s->mfu);
}

static void put_eval(struct line *l, const struct journal_eval *e)
{
    put_string(l, "kind", "eval", 4);
    put_integer(l, "step", e->step);
    put_double(l, "epoch", e->epoch);
    put_integer(l, "tokens", e->tokens);
    put_string(l, "split", e->split, sizeof e->split);
    put_double(l, "loss", e->loss);
    put_double(l, "perplexity", e->perplexity);
    put_double_known(l, "bits_per_byte", e->bits_per_byte, !isnan(e->bits_per_byte));
    if (!isnan(e->word_perplexity))
        put_double(l, "word_perplexity", e->word_perplexity);
    put_integer(l, "predictions", e->predictions);
    put_double(l, "ms", e->ms);
}

static void put_throttle(struct line *l, int64_t reasons)
{
    const char *before = "";
    if (reasons == GPU_UNKNOWN) {
        put_null(l, "throttle");
        return;
    }
    put_key(l, "throttle");
    put(l, "[", 1);
    for (int i = 0; i < GPU_THROTTLES; i++) {
        const char *word = gpu_throttle_word((enum gpu_throttle)i);
        if (!(reasons & INT64_C(1) << i))
            continue;
        put(l, before, strlen(before));
        put(l, "\"", 1);
        put(l, word, strlen(word));
        put(l, "\"", 1);
        before = ",";
    }
    put(l, "]", 1);
}

static void put_gpu(struct line *l, const struct journal_gpu *g)
{
    const struct gpu_health *h = &g->health;
    put_string(l, "kind", "gpu", 3);
    put_integer(l, "step", g->step);
    put_integer(l, "time", g->time_ms);
    put_integer_known(l, "memory_used", h->memory_used);
    put_integer_known(l, "memory_total", h->memory_total);
    put_integer_known(l, "temperature_c", h->temperature_c);
    put_integer_known(l, "sm_clock_mhz", h->sm_clock_mhz);
    put_double_known(l, "power_w", h->power_w, !isnan(h->power_w));
    put_double_known(l, "energy_j", h->energy_j, !isnan(h->energy_j));
    put_throttle(l, h->throttle);
    put_integer_known(l, "ecc_uncorrected", h->ecc_uncorrected);
    put_integer_known(l, "xid", h->xid);
}

static void put_checkpoint(struct line *l, const struct journal_checkpoint *c)
{
    put_string(l, "kind", "checkpoint", 10);
    put_integer(l, "step", c->step);
    put_string(l, "path", c->path, sizeof c->path);
    put_integer(l, "bytes", c->bytes);
    put_double(l, "ms", c->ms);
}

size_t journal_print(const struct journal_record *r, char out[JOURNAL_LINE_MAX])
{
    struct line l = {.text = out};
    put(&l, "{", 1);
    switch (r->kind) {
    case JOURNAL_START:
        put_start(&l, &r->start);
        break;
    case JOURNAL_STEP:
        put_step(&l, &r->step);
        break;
    case JOURNAL_EVAL:
        put_eval(&l, &r->eval);
        break;
    case JOURNAL_GPU:
        put_gpu(&l, &r->gpu);
        break;
    case JOURNAL_CHECKPOINT:
        put_checkpoint(&l, &r->checkpoint);
        break;
    case JOURNAL_NOTE:
        put_string(&l, "kind", "note", 4);
        put_string(&l, "text", r->note, sizeof r->note);
        break;
    case JOURNAL_END:
        put_string(&l, "kind", "end", 3);
        put_string(&l, "reason", journal_end_reason_word(r->end.reason), 32);
        put_integer(&l, "step", r->end.step);
        put_string(&l, "text", r->end.text, sizeof r->end.text);
        break;
    case JOURNAL_OTHER:
        put_string(&l, "kind", r->other, sizeof r->other);
        break;
    }
    put(&l, "}\n", 3); /* with the NUL */
    return l.used - 1;
}
