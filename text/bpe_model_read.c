/* bpe_model_read.c: a tokenizer.json as a whole, and what the readers of its parts share. */
#include "text/bpe_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/json_check.h"
#include "text/bpe_model_parts.h"

/* What a file says goes on one line of valid UTF-8, also where it was cut. */
static void make_printable(char *text)
{
    unsigned char *p = (unsigned char *)text, *end = p + strlen(text);
    while (p < end) {
        size_t n = *p < 0x20 || *p == 0x7f ? 0 : json_utf8_length(p, end);
        if (n == 0)
            *p = '?';
        p += n ? n : 1;
    }
}

int bpe_refuse(const struct bpe_reader *r, const char *path, const char *format, ...)
{
    char reason[400], where[160];
    va_list ap;
    va_start(ap, format);
    vsnprintf(reason, sizeof reason, format, ap);
    va_end(ap);
    snprintf(where, sizeof where, "%s", path);
    make_printable(reason);
    make_printable(where);
    return err_set_at(r->err, ERR_INVALID, where, "%.200s: %s: %s", r->name, where, reason);
}

int bpe_check_keys(const struct bpe_reader *r, const cJSON *object, const char *path, const char *const *keys)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, object) {
        size_t i = 0;
        while (keys[i] && strcmp(keys[i], item->string) != 0)
            i++;
        char where[160];
        snprintf(where, sizeof where, "%s%s%.60s", path, *path ? "." : "", item->string);
        if (!keys[i])
            return bpe_refuse(r, where, "is not known to this version");
    }
    return 0;
}

int bpe_read_bool(const struct bpe_reader *r, const cJSON *object, const char *path, const char *key, bool *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (item && !cJSON_IsBool(item)) {
        char where[160];
        snprintf(where, sizeof where, "%s.%s", path, key);
        return bpe_refuse(r, where, "true or false is needed");
    }
    if (item)
        *out = cJSON_IsTrue(item);
    return 0;
}

const char *bpe_type_of(const cJSON *object)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "type"));
}

static int read_root(const struct bpe_reader *r, const cJSON *root)
{
    static const char *const keys[] = {"version",       "truncation",     "padding", "added_tokens", "normalizer",
                                       "pre_tokenizer", "post_processor", "decoder", "model",        NULL};
    if (!cJSON_IsObject(root))
        return err_set(r->err, ERR_INVALID, "%.200s: no JSON object: a Hugging Face tokenizer.json is needed", r->name);
    if (!cJSON_HasObjectItem(root, "model"))
        return err_set(r->err, ERR_INVALID, "%.200s: no \"model\": a Hugging Face tokenizer.json is needed", r->name);
    int rc = bpe_check_keys(r, root, "", keys);
    if (rc)
        return rc;
    const char *version = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "version"));
    if (!version || strcmp(version, "1.0") != 0)
        return bpe_refuse(r, "version", "\"1.0\" is needed");
    static const char *const cutting[] = {"truncation", "padding"};
    for (size_t i = 0; i < 2; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, cutting[i]);
        if (item && !cJSON_IsNull(item))
            return bpe_refuse(r, cutting[i], "null is needed: a data set has every token of its text and no other");
    }
    rc = bpe_read_pipeline(r, root);
    return rc ? rc : bpe_read_vocabulary(r, root);
}

int bpe_model_read(const char *name, const char *json, size_t size, struct bpe_model **out, struct err *err)
{
    const struct json_limits limits = {.max_bytes = BPE_FILE_LIMIT, .max_depth = 32};
    cJSON *root;
    int rc = json_parse(json, size, &limits, name, &root, err);
    if (rc)
        return rc;
    struct bpe_model *m = calloc(1, sizeof *m);
    if (!m)
        abort();
    m->end_of_text = -1;
    rc = read_root(&(struct bpe_reader){.name = name, .model = m, .err = err}, root);
    cJSON_Delete(root);
    if (rc) {
        bpe_model_destroy(m);
        return rc;
    }
    bpe_model_set_texts(m);
    m->json = malloc(size + 1);
    if (!m->json)
        abort();
    memcpy(m->json, json, size);
    m->json_size = size;
    sha256_hex(json, size, m->sha256);
    *out = m;
    return 0;
}
