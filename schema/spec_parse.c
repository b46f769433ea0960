/* spec_parse.c: a spec from text or JSON: defaults, then the preset and the optimizer that it names, then its own
 * fields, then the rules.
 * Failures: ERR_INVALID with the JSON path, ERR_TOO_LARGE over SPEC_MAX_BYTES. */
#include "schema/spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "schema/plan_optimizer.h"
#include "schema/spec_fields.h"

enum { PATH_LENGTH = 256 };

static void join(char out[PATH_LENGTH], const char *group, const char *key)
{
    snprintf(out, PATH_LENGTH, "%s%s%s", group, *group ? "." : "", key);
}

static int refuse_group(const char *path, struct err *err)
{
    return err_set_at(err, ERR_INVALID, path, "%s is a group of fields and must be an object", path);
}

/* Recursion is as deep as the table's groups: an unknown key ends it. */
static int apply_group(const cJSON *object, const char *group, struct spec *s, struct err *err)
{
    for (const cJSON *item = object->child; item; item = item->next) {
        char path[PATH_LENGTH];
        join(path, group, item->string ? item->string : "");
        /* a key that itself contains a dot is no path: {"data.name": ...} */
        bool known = item->string && *item->string && !strchr(item->string, '.');
        const struct spec_field *f = known ? spec_field_find(path) : NULL;
        int rc;
        if (f)
            rc = spec_value_from_json(f, item, s, err);
        else if (!known || !spec_group_exists(path))
            rc = spec_refuse_unknown(path, err);
        else if (!cJSON_IsObject(item))
            rc = refuse_group(path, err);
        else
            rc = apply_group(item, path, s, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void apply_defaults(struct spec *s)
{
    memset(s, 0, sizeof *s);
    for (int i = 0; i < spec_field_count; i++) {
        const struct spec_field *f = &spec_fields[i];
        /* cannot fail: a unit test reads every default of the table */
        if (f->fallback && spec_value_from_text(f, f->fallback, s, NULL) < 0)
            abort();
    }
}

/* The preset must be known before the fields, whatever their order in the text. */
static int apply_preset(const cJSON *object, struct spec *s, struct err *err)
{
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(object, "model");
    const cJSON *item = cJSON_IsObject(model) ? cJSON_GetObjectItemCaseSensitive(model, "preset") : NULL;
    if (!item)
        return 0;
    int rc = spec_value_from_json(spec_field_find("model.preset"), item, s, err);
    if (rc == 0)
        spec_preset_apply(s->model.preset, s);
    return rc;
}

/* As apply_preset. */
static int apply_optimizer(const cJSON *object, struct spec *s, struct err *err)
{
    const cJSON *train = cJSON_GetObjectItemCaseSensitive(object, "train");
    const cJSON *optimizer = cJSON_IsObject(train) ? cJSON_GetObjectItemCaseSensitive(train, "optimizer") : NULL;
    const cJSON *item = cJSON_IsObject(optimizer) ? cJSON_GetObjectItemCaseSensitive(optimizer, "type") : NULL;
    if (!item)
        return 0;
    int rc = spec_value_from_json(spec_field_find("train.optimizer.type"), item, s, err);
    if (rc == 0)
        spec_optimizer_apply(s->train.optimizer.type, s);
    return rc;
}

/* What the file left open and other fields decide. */
static void resolve(const cJSON *object, struct spec *s)
{
    const cJSON *data = cJSON_GetObjectItemCaseSensitive(object, "data");
    if (spec_has_memory(s) && !cJSON_GetObjectItemCaseSensitive(data, "order"))
        s->data.order = ORDER_STREAM;
    if (s->train.device == DEVICE_CUDA && s->resources.gpus == 0)
        s->resources.gpus = 1;
    if (s->train.micro_batch == MICRO_BATCH_AUTO && plan_optimizer_find(s->train.optimizer.type)->fused)
        s->train.micro_batch = s->train.batch;
}

int spec_from_json(const cJSON *object, struct spec *out, struct err *err)
{
    struct spec s;
    if (!cJSON_IsObject(object))
        return err_set(err, ERR_INVALID, "a spec must be a JSON object, as {\"data\": {\"name\": \"kjv\"}}");
    apply_defaults(&s);
    int rc = apply_preset(object, &s, err);
    if (rc == 0)
        rc = apply_optimizer(object, &s, err);
    if (rc == 0)
        rc = apply_group(object, "", &s, err);
    if (rc < 0)
        return rc;
    resolve(object, &s);
    rc = spec_validate(&s, err);
    if (rc == 0)
        *out = s;
    return rc;
}

int spec_parse(const char *text, size_t size, struct spec *out, struct err *err)
{
    static const struct json_limits limits = {.max_bytes = SPEC_MAX_BYTES, .max_depth = SPEC_MAX_DEPTH};
    cJSON *object;
    int rc = json_parse(text, size, &limits, "the spec", &object, err);
    if (rc < 0)
        return rc;
    rc = spec_from_json(object, out, err);
    cJSON_Delete(object);
    return rc;
}

int spec_validate(const struct spec *s, struct err *err)
{
    for (int i = 0; i < spec_field_count; i++) {
        int rc = spec_value_check(&spec_fields[i], s, err);
        if (rc < 0)
            return rc;
    }
    return spec_rules_check(s, err);
}

int spec_set_text(cJSON *object, const char *path, const char *text, struct err *err)
{
    const struct spec_field *f = spec_field_find(path);
    if (!cJSON_IsObject(object))
        return err_set(err, ERR_INVALID, "a spec must be a JSON object");
    if (!f && *path && spec_group_exists(path))
        return err_set_at(err, ERR_INVALID, path, "%s is a group of fields: set one of them", path);
    if (!f)
        return spec_refuse_unknown(path, err);
    /* all is checked before the object changes */
    cJSON *holder = object;
    const char *key = path;
    char component[PATH_LENGTH];
    for (const char *dot; (dot = strchr(key, '.')); key = dot + 1) {
        snprintf(component, sizeof component, "%.*s", (int)(dot - key), key);
        cJSON *next = holder ? cJSON_GetObjectItemCaseSensitive(holder, component) : NULL;
        if (next && !cJSON_IsObject(next)) {
            snprintf(component, sizeof component, "%.*s", (int)(dot - path), path);
            return refuse_group(component, err);
        }
        holder = next;
    }
    cJSON *value;
    int rc = spec_value_text_to_json(f, text, &value, err);
    if (rc < 0)
        return rc;
    holder = object;
    key = path;
    for (const char *dot; (dot = strchr(key, '.')); key = dot + 1) {
        snprintf(component, sizeof component, "%.*s", (int)(dot - key), key);
        cJSON *next = cJSON_GetObjectItemCaseSensitive(holder, component);
        if (!next)
            next = cJSON_AddObjectToObject(holder, component);
        if (!next)
            abort();
        holder = next;
    }
    if (cJSON_GetObjectItemCaseSensitive(holder, key))
        cJSON_ReplaceItemInObjectCaseSensitive(holder, key, value);
    else
        cJSON_AddItemToObject(holder, key, value);
    return 0;
}
