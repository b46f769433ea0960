/* job.c: see job.h. One table of keys, as for specs: what a key is, for which kinds, within which range. */
#include "schema/job.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "schema/spec.h"

enum type { TYPE_KIND, TYPE_NAME, TYPE_BOOL, TYPE_SPLIT, TYPE_WINDOWING, TYPE_INT, TYPE_DOUBLE, TYPE_TEXT, TYPE_IDS };

enum { EVAL = 1 << JOB_EVAL, SAMPLE = 1 << JOB_SAMPLE, NEEDED = 1 << 8 };

static const struct key {
    const char *name;
    enum type type;
    unsigned flags;
    size_t at;
    double min, max;
} keys[] = {
    {"kind", TYPE_KIND, EVAL | SAMPLE | NEEDED, 0, 0, 0},
    {"source", TYPE_NAME, EVAL | SAMPLE | NEEDED, offsetof(struct job, source), 0, 0},
    {"cpu", TYPE_BOOL, EVAL | SAMPLE, offsetof(struct job, cpu), 0, 0},
    {"data", TYPE_NAME, EVAL | NEEDED, offsetof(struct job, data), 0, 0},
    {"split", TYPE_SPLIT, EVAL, offsetof(struct job, train_split), 0, 0},
    {"windowing", TYPE_WINDOWING, EVAL, offsetof(struct job, stride), 0, 0},
    {"memory", TYPE_INT, EVAL, offsetof(struct job, memory), 0, 1048576},
    {"tokens_per_epoch", TYPE_INT, EVAL, offsetof(struct job, tokens_per_epoch), 0, 0x1p53},
    {"prompt", TYPE_TEXT, SAMPLE, offsetof(struct job, prompt), 0, 0},
    {"ids", TYPE_IDS, SAMPLE | NEEDED, offsetof(struct job, ids), 0, INT32_MAX},
    {"tokens", TYPE_INT, SAMPLE, offsetof(struct job, tokens), 1, INT32_MAX},
    {"temperature", TYPE_DOUBLE, SAMPLE, offsetof(struct job, temperature), 0, 1000},
    {"top_k", TYPE_INT, SAMPLE, offsetof(struct job, top_k), 0, INT32_MAX},
    {"top_p", TYPE_DOUBLE, SAMPLE, offsetof(struct job, top_p), 0, 1},
    {"seed", TYPE_INT, SAMPLE, offsetof(struct job, seed), 0, 0x1p63},
    {"stop", TYPE_INT, SAMPLE, offsetof(struct job, stop), -1, INT32_MAX},
    {"vocab", TYPE_INT, SAMPLE, offsetof(struct job, vocab), 0, INT32_MAX},
};

enum { KEYS = sizeof keys / sizeof *keys };

static const char *const kind_words[] = {[JOB_EVAL] = "eval", [JOB_SAMPLE] = "sample"};

const char *job_kind_word(enum job_kind kind)
{
    assert((size_t)kind < sizeof kind_words / sizeof *kind_words);
    return kind_words[kind];
}

void job_init(struct job *j, enum job_kind kind)
{
    *j = (struct job){.kind = kind, .tokens = 200, .temperature = 1, .top_p = 1, .stop = -1};
}

void job_finish(struct job *j)
{
    free(j->prompt);
    free(j->ids);
    j->prompt = NULL;
    j->ids = NULL;
}

bool job_windowing_parse(const char *text, int64_t *stride)
{
    char again[JOB_WINDOWING_SIZE];
    int64_t n = 0;
    if (strcmp(text, "disjoint") != 0 && (sscanf(text, "sliding:%" SCNd64, &n) != 1 || n < 1 || n > INT32_MAX))
        return false;
    job_windowing_text(n, again);
    if (strcmp(again, text) != 0)
        return false;
    *stride = n;
    return true;
}

void job_windowing_text(int64_t stride, char out[JOB_WINDOWING_SIZE])
{
    snprintf(out, JOB_WINDOWING_SIZE, stride > 0 ? "sliding:%" PRId64 : "disjoint", stride);
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

static int read_ids(const cJSON *item, struct job *j, struct err *err)
{
    int count = cJSON_IsArray(item) ? cJSON_GetArraySize(item) : 0;
    if (count < 1 || count > JOB_MAX_IDS)
        return err_set_at(err, ERR_INVALID, "ids", "must be an array of 1 to %d token ids", JOB_MAX_IDS);
    j->ids = malloc((size_t)count * sizeof *j->ids);
    if (!j->ids)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    const cJSON *id;
    cJSON_ArrayForEach(id, item) {
        int64_t value;
        if (!cJSON_IsNumber(id) || !json_read_int64(id, &value) || value < 0 || value > INT32_MAX)
            return err_set_at(err, ERR_INVALID, "ids", "entry %" PRId64 " is no token id", j->id_count);
        j->ids[j->id_count++] = (int32_t)value;
    }
    return 0;
}

static int read_number(const struct key *k, const cJSON *item, void *field, struct err *err)
{
    double number;
    int64_t integer;
    if (k->type == TYPE_INT) {
        if (!json_read_int64(item, &integer) || integer < (int64_t)k->min ||
            (k->max < 0x1p63 && integer > (int64_t)k->max))
            return k->max < 0x1p53
                       ? err_set_at(err, ERR_INVALID, k->name, "must be an integer from %.0f to %.0f", k->min, k->max)
                       : err_set_at(err, ERR_INVALID, k->name, "must be an integer of at least %.0f", k->min);
        *(int64_t *)field = integer;
        return 0;
    }
    if (!cJSON_IsNumber(item) && !cJSON_IsRaw(item))
        number = -1;
    else if (!json_read_double(item, &number))
        number = -1;
    if (!(number >= k->min && number <= k->max))
        return err_set_at(err, ERR_INVALID, k->name, "must be a number from %g to %g", k->min, k->max);
    *(double *)field = number;
    return 0;
}

static int read_key(const struct key *k, const cJSON *item, struct job *j, struct err *err)
{
    void *field = (char *)j + k->at;
    const char *text = cJSON_GetStringValue(item);
    switch (k->type) {
    case TYPE_KIND:
        return 0; /* read before the others */
    case TYPE_NAME:
        if (!text || !name_is_valid(text))
            return err_set_at(err, ERR_INVALID, k->name, "must be a name: 1 to 64 letters, digits, '.', '_' or '-'");
        memcpy(field, text, strlen(text) + 1);
        return 0;
    case TYPE_BOOL:
        if (!cJSON_IsBool(item))
            return err_set_at(err, ERR_INVALID, k->name, "must be true or false");
        *(bool *)field = cJSON_IsTrue(item);
        return 0;
    case TYPE_SPLIT:
        if (!text || (strcmp(text, "train") != 0 && strcmp(text, "val") != 0))
            return err_set_at(err, ERR_INVALID, k->name, "must be \"train\" or \"val\"");
        *(bool *)field = strcmp(text, "train") == 0;
        return 0;
    case TYPE_WINDOWING:
        if (!text || !job_windowing_parse(text, field))
            return err_set_at(err, ERR_INVALID, k->name, "must be \"disjoint\" or \"sliding:STRIDE\"");
        return 0;
    case TYPE_TEXT:
        if (!text)
            return err_set_at(err, ERR_INVALID, k->name, "must be a string");
        *(char **)field = strdup(text);
        return *(char **)field ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
    case TYPE_IDS:
        return read_ids(item, j, err);
    case TYPE_INT:
    case TYPE_DOUBLE:
        return read_number(k, item, field, err);
    }
    return 0;
}

static int read_kind(const cJSON *object, enum job_kind *out, struct err *err)
{
    const char *word = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "kind"));
    for (size_t i = 0; word && i < sizeof kind_words / sizeof *kind_words; i++)
        if (strcmp(word, kind_words[i]) == 0) {
            *out = (enum job_kind)i;
            return 0;
        }
    return err_set_at(err, ERR_INVALID, "kind", "must be \"eval\" or \"sample\"");
}

static const struct key *find_key(const char *name, enum job_kind kind)
{
    for (size_t i = 0; i < KEYS; i++)
        if (strcmp(keys[i].name, name) == 0 && (keys[i].flags & 1u << kind))
            return &keys[i];
    return NULL;
}

int job_from_json(const cJSON *object, struct job *out, struct err *err)
{
    struct job j;
    enum job_kind kind = JOB_EVAL;
    const cJSON *item;
    if (!cJSON_IsObject(object))
        return err_set_at(err, ERR_INVALID, "", "a job is a JSON object");
    int rc = read_kind(object, &kind, err);
    if (rc != 0)
        return rc;
    job_init(&j, kind);
    cJSON_ArrayForEach(item, object) {
        const struct key *k = find_key(item->string, kind);
        if (!k)
            rc = err_set_at(err, ERR_INVALID, item->string, "unknown key of a job of kind %s", job_kind_word(kind));
        else if (!cJSON_IsNull(item))
            rc = read_key(k, item, &j, err);
        if (rc != 0)
            break;
    }
    for (size_t i = 0; i < KEYS && rc == 0; i++) {
        item = cJSON_GetObjectItemCaseSensitive(object, keys[i].name);
        if ((keys[i].flags & NEEDED) && (keys[i].flags & 1u << kind) && (!item || cJSON_IsNull(item)))
            rc = err_set_at(err, ERR_INVALID, keys[i].name, "is missing");
    }
    if (rc == 0)
        *out = j;
    else
        job_finish(&j);
    return rc;
}

int job_parse(const char *text, size_t size, struct job *out, struct err *err)
{
    cJSON *object;
    int rc = json_parse(text, size, &(struct json_limits){JOB_MAX_BYTES, JOB_MAX_DEPTH}, "job.json", &object, err);
    if (rc != 0)
        return rc;
    rc = job_from_json(object, out, err);
    cJSON_Delete(object);
    return rc;
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

static void print_key(cJSON *o, const struct key *k, const struct job *j)
{
    const void *field = (const char *)j + k->at;
    char windowing[JOB_WINDOWING_SIZE];
    switch (k->type) {
    case TYPE_KIND:
        cJSON_AddStringToObject(o, k->name, job_kind_word(j->kind));
        break;
    case TYPE_NAME:
        cJSON_AddStringToObject(o, k->name, field);
        break;
    case TYPE_BOOL:
        cJSON_AddBoolToObject(o, k->name, *(const bool *)field);
        break;
    case TYPE_SPLIT:
        cJSON_AddStringToObject(o, k->name, *(const bool *)field ? "train" : "val");
        break;
    case TYPE_WINDOWING:
        job_windowing_text(*(const int64_t *)field, windowing);
        cJSON_AddStringToObject(o, k->name, windowing);
        break;
    case TYPE_TEXT:
        if (*(char *const *)field)
            cJSON_AddStringToObject(o, k->name, *(char *const *)field);
        break;
    case TYPE_IDS: {
        cJSON *ids = cJSON_AddArrayToObject(o, k->name);
        for (int64_t i = 0; i < j->id_count; i++)
            cJSON_AddItemToArray(ids, cJSON_CreateNumber(j->ids[i]));
        break;
    }
    case TYPE_INT:
        json_add_int64(o, k->name, *(const int64_t *)field);
        break;
    case TYPE_DOUBLE:
        json_add_double(o, k->name, *(const double *)field);
        break;
    }
}

char *job_print(const struct job *j)
{
    cJSON *o = cJSON_CreateObject();
    for (size_t i = 0; i < KEYS; i++)
        if (keys[i].flags & 1u << j->kind)
            print_key(o, &keys[i], j);
    char *text = json_canonical(o);
    cJSON_Delete(o);
    return text;
}

/* --- beside a spec ----------------------------------------------------------------------------------------------- */

static int check_eval(const struct job *j, const struct spec *s, struct err *err)
{
    const char *field = spec_memory_field(s);
    if (j->stride > s->train.seq_len)
        return err_set_at(err, ERR_INVALID, "windowing",
                          "a stride of %" PRId64 " leaves out text: at most train.seq_len, %" PRId64, j->stride,
                          s->train.seq_len);
    if (j->stride > 0 && j->stride < s->train.seq_len && spec_has_memory(s))
        return err_set_at(err, ERR_INVALID, "windowing",
                          "a stride of %" PRId64 ": with %s each window follows the one before, in train.seq_len",
                          j->stride, field);
    if (j->memory > 0 && s->memory.xl.len == 0)
        return err_set_at(err, ERR_INVALID, "memory",
                          "a memory of %" PRId64 ": the model was trained without one, memory.xl.len is 0", j->memory);
    if (j->memory > 0 && j->memory < s->memory.xl.len)
        return err_set_at(err, ERR_INVALID, "memory",
                          "a memory of %" PRId64 " is shorter than that of training: at least memory.xl.len, %" PRId64,
                          j->memory, s->memory.xl.len);
    return 0;
}

/* One text is read without what stands between its tokens or came before them. A checkpoint's memories are in the type
 * of activations. */
int job_check(const struct job *j, const struct spec *s, struct err *err)
{
    const char *field = spec_memory_field(s);
    if (field && j->kind == JOB_SAMPLE)
        return err_set_at(err, ERR_INVALID, field, "%s: a text cannot be sampled from a model with a memory or pauses",
                          field);
    if (spec_has_memory(s) && j->cpu && s->train.precision != PRECISION_FP32)
        return err_set_at(err, ERR_INVALID, field, "%s: a memory in bf16 cannot be read on a CPU", field);
    return j->kind == JOB_EVAL ? check_eval(j, s, err) : 0;
}

void job_adapt_spec(const struct job *j, struct spec *s)
{
    s->resources.time = 0;
    if (j->memory > 0)
        s->memory.xl.eval_len = j->memory;
    if (!j->cpu)
        return;
    s->train.device = DEVICE_CPU;
    s->train.precision = PRECISION_FP32;
    s->resources.gpus = s->resources.gpu_memory = 0;
}
