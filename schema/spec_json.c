/* spec_json.c: a spec as JSON: whole for the run's folder, canonical for the hash; and field by field as text. */
#include "schema/spec.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "schema/spec_fields.h"

static void add_at(cJSON *object, const char *path, cJSON *value)
{
    char component[96];
    for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
        snprintf(component, sizeof component, "%.*s", (int)(dot - path), path);
        cJSON *next = cJSON_GetObjectItemCaseSensitive(object, component);
        if (!next)
            next = cJSON_AddObjectToObject(object, component);
        if (!next)
            abort();
        object = next;
    }
    cJSON_AddItemToObject(object, path, value);
}

static bool at_its_default(const struct spec_field *f, const struct spec *s)
{
    struct spec other = *s;
    char value[128], fallback[128];
    /* cannot fail: a unit test reads every default of the table */
    if (spec_value_from_text(f, f->fallback ? f->fallback : "null", &other, NULL) < 0)
        abort();
    spec_value_to_text(f, s, value, sizeof value);
    spec_value_to_text(f, &other, fallback, sizeof fallback);
    return strcmp(value, fallback) == 0;
}

static cJSON *fields_to_json(const struct spec *s, unsigned flags)
{
    cJSON *object = cJSON_CreateObject();
    if (!object)
        abort();
    for (int i = 0; i < spec_field_count; i++) {
        const struct spec_field *f = &spec_fields[i];
        bool left_out = flags & FIELD_RESULT && f->flags & FIELD_LATER && at_its_default(f, s);
        if ((f->flags & flags) == flags && !left_out)
            add_at(object, f->path, spec_value_to_json(f, s));
    }
    return object;
}

cJSON *spec_to_json(const struct spec *s)
{
    return fields_to_json(s, 0);
}

char *spec_canonical(const struct spec *s)
{
    struct spec resolved = *s;
    if (resolved.model.d_ff == 0)
        resolved.model.d_ff = 4 * resolved.model.dim;
    if (resolved.memory.xl.eval_len == 0)
        resolved.memory.xl.eval_len = resolved.memory.xl.len;
    cJSON *object = fields_to_json(&resolved, FIELD_RESULT);
    json_add_int64(object, "version", SPEC_VERSION);
    char *text = json_canonical(object);
    cJSON_Delete(object);
    return text;
}

void spec_hash(const struct spec *s, char hex[SHA256_HEX_SIZE])
{
    char *text = spec_canonical(s);
    sha256_hex(text, strlen(text), hex);
    free(text);
}

int spec_get_text(const struct spec *s, const char *path, char *out, size_t size, struct err *err)
{
    const struct spec_field *f = spec_field_find(path);
    if (!f)
        return spec_refuse_unknown(path, err);
    spec_value_to_text(f, s, out, size);
    return 0;
}

void spec_diff(const struct spec *a, const struct spec *b,
               void (*visit)(void *arg, const char *path, const char *a_text, const char *b_text), void *arg)
{
    for (int i = 0; i < spec_field_count; i++) {
        char a_text[128], b_text[128];
        spec_value_to_text(&spec_fields[i], a, a_text, sizeof a_text);
        spec_value_to_text(&spec_fields[i], b, b_text, sizeof b_text);
        if (strcmp(a_text, b_text) != 0)
            visit(arg, spec_fields[i].path, a_text, b_text);
    }
}
