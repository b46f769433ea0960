/* safetensors.c: header printer and strict reader. What the format leaves open is narrowed to what we write: dtypes
 * F32, F64 and BF16, one or two dimensions. The reader believes nothing: it is fed files that a crash or a disk may
 * have damaged. Failures: see safetensors.h; no state. */
#include "worker/safetensors.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"

enum { PREFIX_BYTES = 8, HEADER_DEPTH = 8, HEADER_MAX_BYTES = 64 << 20 };

static const char *const dtype_words[] = {[DTYPE_F32] = "F32", [DTYPE_F64] = "F64", [DTYPE_BF16] = "BF16"};

/* rows*cols*element as size_t; false on overflow or a dimension below 1. */
static bool tensor_bytes(const struct safetensors_tensor *t, size_t *bytes)
{
    size_t n = dtype_size(t->dtype);
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
        if (t->rank < 1 || t->rank > 2 || !name_is_plain(t->name))
            return err_set(err, ERR_INVALID, "tensor %d has no plain name or a rank other than 1 and 2", i);
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
        fprintf(f, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%" PRId64, t->name, dtype_words[t->dtype], t->shape[0]);
        if (t->rank == 2)
            fprintf(f, ",%" PRId64, t->shape[1]);
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

static int read_tensor(const cJSON *item, size_t data_bytes, const char *what, struct safetensors_tensor *t,
                       struct err *err)
{
    if (!item->string || strlen(item->string) >= sizeof t->name)
        return err_set(err, ERR_DAMAGED, "%s: a tensor's name is too long", what);
    snprintf(t->name, sizeof t->name, "%s", item->string);
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(item, "dtype");
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(item, "shape");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
    bool known = false;
    for (size_t i = 0; i < sizeof dtype_words / sizeof *dtype_words && cJSON_IsString(dtype); i++)
        if (strcmp(dtype->valuestring, dtype_words[i]) == 0) {
            t->dtype = (enum dtype)i;
            known = true;
        }
    if (!known)
        return err_set(err, ERR_DAMAGED, "%s: tensor %s has a dtype other than F32, F64, BF16", what, t->name);
    t->rank = cJSON_IsArray(shape) ? cJSON_GetArraySize(shape) : 0;
    if (t->rank < 1 || t->rank > 2)
        return err_set(err, ERR_DAMAGED, "%s: tensor %s has not one or two dimensions", what, t->name);
    for (int i = 0; i < t->rank; i++)
        if (!read_count(cJSON_GetArrayItem(shape, i), &t->shape[i]))
            return err_set(err, ERR_DAMAGED, "%s: tensor %s has an impossible shape", what, t->name);
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

int safetensors_parse(const void *bytes, size_t size, const char *what, struct safetensors *out, struct err *err)
{
    const unsigned char *b = bytes;
    if (size < PREFIX_BYTES + 2)
        return err_set(err, ERR_DAMAGED, "%s: %zu bytes are too few for a safetensors file", what, size);
    uint64_t header = 0;
    for (int i = 0; i < PREFIX_BYTES; i++)
        header |= (uint64_t)b[i] << (8 * i);
    if (header > size - PREFIX_BYTES || header > HEADER_MAX_BYTES)
        return err_set(err, ERR_DAMAGED, "%s: the header's length, %" PRIu64 ", is beyond the file", what, header);

    struct safetensors s = {.data = b + PREFIX_BYTES + header, .data_bytes = size - PREFIX_BYTES - (size_t)header};
    const struct json_limits limits = {.max_bytes = HEADER_MAX_BYTES, .max_depth = HEADER_DEPTH};
    cJSON *json = NULL;
    if (json_parse((const char *)b + PREFIX_BYTES, (size_t)header, &limits, what, &json, err) != 0) {
        if (err)
            err->code = ERR_DAMAGED;
        return -ERR_DAMAGED;
    }
    int rc = 0;
    if (!cJSON_IsObject(json))
        rc = err_set(err, ERR_DAMAGED, "%s: the header is not a JSON object", what);
    if (rc == 0) {
        s.tensors = calloc((size_t)cJSON_GetArraySize(json) + 1, sizeof *s.tensors);
        if (!s.tensors)
            rc = err_set(err, ERR_NO_MEMORY, "no memory for the header of %s", what);
    }
    const cJSON *item;
    cJSON_ArrayForEach(item, json) {
        if (rc != 0)
            break;
        if (item->string && strcmp(item->string, "__metadata__") == 0)
            continue;
        rc = read_tensor(item, s.data_bytes, what, &s.tensors[s.count], err);
        if (rc == 0)
            s.count++;
    }
    cJSON_Delete(json);
    if (rc == 0) {
        qsort(s.tensors, (size_t)s.count, sizeof *s.tensors, by_offset);
        size_t at = 0;
        for (int i = 0; i < s.count; at += s.tensors[i++].bytes)
            if (s.tensors[i].offset != at)
                break;
        if (at != s.data_bytes)
            rc = err_set(err, ERR_DAMAGED, "%s: the tensors do not fill the file without holes", what);
    }
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
