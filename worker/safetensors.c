/* safetensors.c: header printer and strict reader. The reader believes nothing: it is fed files that a crash or a disk
 * may have damaged, and files that somebody else wrote. Failures: see safetensors.h; no state. */
#include "worker/safetensors.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"

enum { PREFIX_BYTES = 8, HEADER_DEPTH = 8 };

static const struct {
    const char *word;
    size_t bytes;
} dtypes[SAFETENSORS_DTYPES] = {
    [SAFETENSORS_F32] = {"F32", 4}, [SAFETENSORS_F64] = {"F64", 8},   [SAFETENSORS_BF16] = {"BF16", 2},
    [SAFETENSORS_F16] = {"F16", 2}, [SAFETENSORS_BOOL] = {"BOOL", 1}, [SAFETENSORS_U8] = {"U8", 1},
    [SAFETENSORS_I8] = {"I8", 1},   [SAFETENSORS_I16] = {"I16", 2},   [SAFETENSORS_I32] = {"I32", 4},
    [SAFETENSORS_I64] = {"I64", 8},
};

const char *safetensors_dtype_word(enum safetensors_dtype dtype)
{
    return dtypes[dtype].word;
}

void safetensors_say_shape(const struct safetensors_tensor *t, char out[64])
{
    size_t used = (size_t)snprintf(out, 64, "[");
    for (int i = 0; i < t->rank && used < 60; i++)
        used += (size_t)snprintf(out + used, 64 - used, "%s%" PRId64, i ? ", " : "", t->shape[i]);
    if (used < 63)
        snprintf(out + used, 64 - used, "]");
}

/* Elements times their size; false on overflow or a dimension below 1. */
static bool tensor_bytes(const struct safetensors_tensor *t, size_t *bytes)
{
    size_t n = dtypes[t->dtype].bytes;
    for (int i = 0; i < t->rank; i++)
        if (t->shape[i] < 1 || __builtin_mul_overflow(n, (size_t)t->shape[i], &n))
            return false;
    *bytes = n;
    return true;
}

static bool name_is_plain(const char *name)
{
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-/", *c))
            return false;
    return name[0] != 0;
}

int safetensors_layout(struct safetensors_tensor *tensors, int count, size_t *data_bytes, struct err *err)
{
    size_t offset = 0;
    for (int i = 0; i < count; i++) {
        struct safetensors_tensor *t = &tensors[i];
        if (t->rank < 0 || t->rank > SAFETENSORS_MAX_RANK || !name_is_plain(t->name))
            return err_set(err, ERR_INVALID, "tensor %d has no plain name or more than %d dimensions", i,
                           SAFETENSORS_MAX_RANK);
        if (!tensor_bytes(t, &t->bytes))
            return err_set(err, ERR_INVALID, "tensor %s has an impossible shape", t->name);
        t->offset = offset;
        if (__builtin_add_overflow(offset, t->bytes, &offset) || offset > INT64_MAX)
            return err_set(err, ERR_TOO_LARGE, "tensors take more than 2^63 bytes");
    }
    *data_bytes = offset;
    return 0;
}

int safetensors_print_header(const struct safetensors_tensor *tensors, int count, char **out, size_t *size,
                             struct err *err)
{
    char *text = NULL;
    size_t length = 0;
    FILE *f = open_memstream(&text, &length);
    if (!f)
        return err_set(err, ERR_NO_MEMORY, "no memory for a checkpoint header");
    fwrite("\0\0\0\0\0\0\0\0", 1, PREFIX_BYTES, f);
    fputs("{\"__metadata__\":{\"format\":\"pt\"}", f);
    for (int i = 0; i < count; i++) {
        const struct safetensors_tensor *t = &tensors[i];
        fprintf(f, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, dtypes[t->dtype].word);
        for (int j = 0; j < t->rank; j++)
            fprintf(f, "%s%" PRId64, j ? "," : "", t->shape[j]);
        fprintf(f, "],\"data_offsets\":[%zu,%zu]}", t->offset, t->offset + t->bytes);
    }
    fputc('}', f);
    while (ftell(f) % 8 != 0)
        fputc(' ', f);
    bool failed = ferror(f);
    if (fclose(f) != 0 || failed) {
        free(text);
        return err_set(err, ERR_NO_MEMORY, "no memory for a checkpoint header");
    }
    uint64_t header = length - PREFIX_BYTES;
    for (int i = 0; i < PREFIX_BYTES; i++)
        text[i] = (char)(header >> (8 * i) & 0xff);
    *out = text;
    *size = length;
    return 0;
}

/* A non-negative integer that a double holds exactly. */
static bool read_count(const cJSON *item, int64_t *out)
{
    return cJSON_IsNumber(item) && json_read_int64(item, out) && *out >= 0;
}

static bool read_dtype(const cJSON *item, enum safetensors_dtype *out)
{
    for (int i = 0; i < SAFETENSORS_DTYPES && cJSON_IsString(item); i++)
        if (strcmp(item->valuestring, dtypes[i].word) == 0) {
            *out = (enum safetensors_dtype)i;
            return true;
        }
    return false;
}

static int read_shape(const cJSON *shape, const char *what, struct safetensors_tensor *t, struct err *err)
{
    int rank = cJSON_IsArray(shape) ? cJSON_GetArraySize(shape) : -1;
    if (rank < 0 || rank > SAFETENSORS_MAX_RANK)
        return err_set(err, ERR_DAMAGED, "%s: tensor %s has no shape, or more than %d dimensions", what, t->name,
                       SAFETENSORS_MAX_RANK);
    const cJSON *dimension;
    t->rank = 0;
    cJSON_ArrayForEach(dimension, shape) {
        if (!read_count(dimension, &t->shape[t->rank++]))
            return err_set(err, ERR_DAMAGED, "%s: tensor %s has an impossible shape", what, t->name);
    }
    return 0;
}

static int read_tensor(const cJSON *item, size_t data_bytes, const char *what, struct safetensors_tensor *t,
                       struct err *err)
{
    if (!item->string || strlen(item->string) >= sizeof t->name)
        return err_set(err, ERR_DAMAGED, "%s: a tensor's name is longer than %d bytes", what,
                       SAFETENSORS_NAME_SIZE - 1);
    if (!name_is_plain(item->string))
        return err_set(err, ERR_DAMAGED,
                       "%s: a tensor's name is empty or has other characters than A-Z a-z 0-9 . _ - /", what);
    snprintf(t->name, sizeof t->name, "%s", item->string);
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
    if (!read_dtype(cJSON_GetObjectItemCaseSensitive(item, "dtype"), &t->dtype))
        return err_set(err, ERR_DAMAGED, "%s: tensor %s has a dtype that is not known", what, t->name);
    int rc = read_shape(cJSON_GetObjectItemCaseSensitive(item, "shape"), what, t, err);
    if (rc != 0)
        return rc;
    int64_t begin, end;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !read_count(cJSON_GetArrayItem(offsets, 0), &begin) || !read_count(cJSON_GetArrayItem(offsets, 1), &end) ||
        begin > end || (uint64_t)end > data_bytes)
        return err_set(err, ERR_DAMAGED, "%s: tensor %s lies outside the file", what, t->name);
    size_t bytes;
    if (!tensor_bytes(t, &bytes) || bytes != (size_t)(end - begin))
        return err_set(err, ERR_DAMAGED, "%s: tensor %s has another size than its shape says", what, t->name);
    t->offset = (size_t)begin;
    t->bytes = bytes;
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct safetensors_tensor *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int read_tensors(const cJSON *json, const char *what, struct safetensors *s, struct err *err)
{
    s->tensors = calloc((size_t)cJSON_GetArraySize(json) + 1, sizeof *s->tensors);
    if (!s->tensors)
        return err_set(err, ERR_NO_MEMORY, "no memory for the header of %s", what);
    const cJSON *item;
    cJSON_ArrayForEach(item, json) {
        if (strcmp(item->string, "__metadata__") == 0)
            continue;
        int rc = read_tensor(item, s->data_bytes, what, &s->tensors[s->count], err);
        if (rc != 0)
            return rc;
        s->count++;
    }
    return 0;
}

static int check_tiling(struct safetensors *s, const char *what, struct err *err)
{
    qsort(s->tensors, (size_t)s->count, sizeof *s->tensors, by_offset);
    size_t at = 0;
    for (int i = 0; i < s->count; at += s->tensors[i++].bytes)
        if (s->tensors[i].offset != at)
            return err_set(err, ERR_DAMAGED, "%s: tensor %s %s", what, s->tensors[i].name,
                           s->tensors[i].offset < at ? "overlaps the one before" : "follows a hole");
    if (at != s->data_bytes)
        return err_set(err, ERR_DAMAGED, "%s: there are %zu bytes behind the last tensor", what, s->data_bytes - at);
    return 0;
}

int safetensors_parse(const void *bytes, size_t size, const char *what, struct safetensors *out, struct err *err)
{
    const unsigned char *b = bytes;
    if (size < PREFIX_BYTES + 2)
        return err_set(err, ERR_DAMAGED, "%s: %zu bytes are too few for a safetensors file", what, size);
    uint64_t header = 0;
    for (int i = 0; i < PREFIX_BYTES; i++)
        header |= (uint64_t)b[i] << (8 * i);
    if (header > size - PREFIX_BYTES)
        return err_set(err, ERR_DAMAGED, "%s: the header's length, %" PRIu64 ", is beyond the file", what, header);
    if (header > SAFETENSORS_HEADER_MAX)
        return err_set(err, ERR_DAMAGED, "%s: a header of %" PRIu64 " bytes: at most %d are read", what, header,
                       SAFETENSORS_HEADER_MAX);

    struct safetensors s = {.data = b + PREFIX_BYTES + header, .data_bytes = size - PREFIX_BYTES - (size_t)header};
    const struct json_limits limits = {.max_bytes = SAFETENSORS_HEADER_MAX, .max_depth = HEADER_DEPTH};
    cJSON *json = NULL;
    if (json_parse((const char *)b + PREFIX_BYTES, (size_t)header, &limits, what, &json, err) != 0) {
        if (err)
            err->code = ERR_DAMAGED;
        return -ERR_DAMAGED;
    }
    int rc = cJSON_IsObject(json) ? read_tensors(json, what, &s, err)
                                  : err_set(err, ERR_DAMAGED, "%s: the header is not a JSON object", what);
    cJSON_Delete(json);
    if (rc == 0)
        rc = check_tiling(&s, what, err);
    if (rc != 0) {
        free(s.tensors);
        return rc;
    }
    *out = s;
    return 0;
}

void safetensors_finish(struct safetensors *s)
{
    free(s->tensors);
    *s = (struct safetensors){0};
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *s, const char *name)
{
    for (int i = 0; i < s->count; i++)
        if (strcmp(s->tensors[i].name, name) == 0)
            return &s->tensors[i];
    return NULL;
}

/* IEEE binary16: 5 bits of exponent with bias 15, 10 of fraction; all of it is exact in binary32. */
static float half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ff;
    if (exponent == 0) { /* zero and subnormal: fraction * 2^-24 */
        float value = (float)fraction * 0x1p-24f;
        return sign ? -value : value;
    }
    uint32_t bits = sign | (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

bool safetensors_read_floats(const struct safetensors *s, const struct safetensors_tensor *t, float *out)
{
    const unsigned char *data = s->data + t->offset;
    size_t n = t->bytes / dtypes[t->dtype].bytes;
    if (t->dtype == SAFETENSORS_F32) {
        memcpy(out, data, t->bytes);
        return true;
    }
    if (t->dtype != SAFETENSORS_F16 && t->dtype != SAFETENSORS_BF16)
        return false;
    for (size_t i = 0; i < n; i++) {
        uint16_t word = (uint16_t)(data[2 * i] | data[2 * i + 1] << 8);
        uint32_t bits = (uint32_t)word << 16;
        if (t->dtype == SAFETENSORS_F16)
            out[i] = half_to_float(word);
        else
            memcpy(&out[i], &bits, sizeof bits);
    }
    return true;
}
