/* spec_docs.c: what the field table says, as JSON Schema (2020-12) and as the reference page docs/spec.md. Failures:
 * those of the stream, which the caller checks with ferror. */
#include "schema/spec.h"

#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "schema/spec_fields.h"

static cJSON *must(cJSON *item)
{
    if (!item)
        abort();
    return item;
}

static void add_range(cJSON *schema, const struct spec_field *f)
{
    json_add_double(schema, f->flags & FIELD_ABOVE ? "exclusiveMinimum" : "minimum", f->min);
    json_add_double(schema, f->flags & FIELD_BELOW ? "exclusiveMaximum" : "maximum", f->max);
}

static void add_type(cJSON *schema, const char *type, bool nullable)
{
    if (!nullable) {
        must(cJSON_AddStringToObject(schema, "type", type));
        return;
    }
    cJSON *types = must(cJSON_AddArrayToObject(schema, "type"));
    cJSON_AddItemToArray(types, must(cJSON_CreateString(type)));
    cJSON_AddItemToArray(types, must(cJSON_CreateString("null")));
}

static void add_integer(cJSON *schema, const struct spec_field *f)
{
    cJSON *numbers = schema;
    if (f->flags & FIELD_AUTO) {
        cJSON *choices = must(cJSON_AddArrayToObject(schema, "anyOf")), *word = must(cJSON_CreateObject());
        must(cJSON_AddStringToObject(word, "const", "auto"));
        numbers = must(cJSON_CreateObject());
        cJSON_AddItemToArray(choices, numbers);
        cJSON_AddItemToArray(choices, word);
    }
    add_type(numbers, "integer", f->flags & FIELD_NULLABLE);
    add_range(numbers, f);
}

static cJSON *field_schema(const struct spec_field *f)
{
    cJSON *schema = must(cJSON_CreateObject()), *inner;
    bool nullable = f->flags & FIELD_NULLABLE;
    must(cJSON_AddStringToObject(schema, "description", f->doc));
    switch (f->type) {
    case FIELD_NAME:
        add_type(schema, "string", nullable);
        must(cJSON_AddStringToObject(schema, "pattern", "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"));
        break;
    case FIELD_INTEGER:
        add_integer(schema, f);
        break;
    case FIELD_NUMBER:
        add_type(schema, "number", nullable);
        add_range(schema, f);
        break;
    case FIELD_PAIR:
        add_type(schema, "array", nullable);
        inner = must(cJSON_AddObjectToObject(schema, "items"));
        add_type(inner, "number", false);
        add_range(inner, f);
        json_add_int64(schema, "minItems", 2);
        json_add_int64(schema, "maxItems", 2);
        break;
    case FIELD_BOOL:
        add_type(schema, "boolean", nullable);
        break;
    case FIELD_WORD:
        inner = must(cJSON_AddArrayToObject(schema, "enum"));
        for (int i = 0; f->words[i]; i++)
            cJSON_AddItemToArray(inner, must(cJSON_CreateString(f->words[i])));
        if (nullable)
            cJSON_AddItemToArray(inner, must(cJSON_CreateNull()));
        break;
    }
    if (f->flags & FIELD_NEEDED)
        return schema;
    cJSON *value = NULL;
    if (!f->fallback)
        value = must(cJSON_CreateNull());
    else if (spec_value_text_to_json(f, f->fallback, &value, NULL) < 0)
        abort(); /* cannot be: a unit test reads every default */
    cJSON_AddItemToObject(schema, "default", value);
    return schema;
}

static cJSON *object_schema(void)
{
    cJSON *schema = must(cJSON_CreateObject());
    must(cJSON_AddStringToObject(schema, "type", "object"));
    must(cJSON_AddFalseToObject(schema, "additionalProperties"));
    must(cJSON_AddObjectToObject(schema, "properties"));
    return schema;
}

static void require(cJSON *group, const char *key)
{
    cJSON *required = cJSON_GetObjectItemCaseSensitive(group, "required");
    if (!required)
        required = must(cJSON_AddArrayToObject(group, "required"));
    cJSON_AddItemToArray(required, must(cJSON_CreateString(key)));
}

static void add_field(cJSON *group, const struct spec_field *f)
{
    const char *key = f->path;
    char component[96];
    for (const char *dot; (dot = strchr(key, '.')); key = dot + 1) {
        snprintf(component, sizeof component, "%.*s", (int)(dot - key), key);
        if (f->flags & FIELD_NEEDED)
            require(group, component);
        cJSON *properties = cJSON_GetObjectItemCaseSensitive(group, "properties");
        group = cJSON_GetObjectItemCaseSensitive(properties, component);
        if (!group) {
            group = object_schema();
            cJSON_AddItemToObject(properties, component, group);
        }
    }
    if (f->flags & FIELD_NEEDED)
        require(group, key);
    cJSON_AddItemToObject(cJSON_GetObjectItemCaseSensitive(group, "properties"), key, field_schema(f));
}

void spec_print_json_schema(FILE *out)
{
    cJSON *top = must(cJSON_CreateObject());
    must(cJSON_AddStringToObject(top, "$schema", "https://json-schema.org/draft/2020-12/schema"));
    must(cJSON_AddStringToObject(top, "title", "baka experiment"));
    must(cJSON_AddStringToObject(top, "$comment",
                                 "Combinations that are refused although each field is allowed: docs/spec.md."));
    must(cJSON_AddStringToObject(top, "type", "object"));
    must(cJSON_AddFalseToObject(top, "additionalProperties"));
    must(cJSON_AddObjectToObject(top, "properties"));
    for (int i = 0; i < spec_field_count; i++)
        add_field(top, &spec_fields[i]);
    char *text = json_print(top, true);
    fprintf(out, "%s\n", text);
    free(text);
    cJSON_Delete(top);
}

/* A cell of a table: the bars of a formula must not end it. */
static void print_cell(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            fputc('\\', out);
        fputc(*text, out);
    }
    fputs(" |", out);
}

static void print_row(FILE *out, const struct spec_field *f)
{
    char allowed[400];
    spec_value_allowed(f, allowed, sizeof allowed);
    fprintf(out, "| `%s` | ", f->path);
    fputs(allowed, out);
    fprintf(out, "%s%s | ", *f->unit ? "; " : "", f->unit);
    if (f->flags & FIELD_NEEDED)
        fputs("must be given | ", out);
    else
        fprintf(out, f->type == FIELD_PAIR ? "`[%s]` | " : "`%s` | ", f->fallback ? f->fallback : "null");
    fputs(f->flags & FIELD_RESULT ? "yes | " : "no | ", out);
    print_cell(out, f->doc);
    fputc('\n', out);
}

static void print_group(FILE *out, const char *group)
{
    fprintf(out, "\n## %s\n\n", *group ? group : "The run");
    fputs("| field | value | default | changes the result | meaning |\n", out);
    fputs("| --- | --- | --- | --- | --- |\n", out);
    for (int i = 0; i < spec_field_count; i++) {
        size_t size;
        bool inside = *group ? spec_path_in_group(spec_fields[i].path, group, &size) != NULL
                             : strchr(spec_fields[i].path, '.') == NULL;
        if (inside)
            print_row(out, &spec_fields[i]);
    }
}

static void print_presets(FILE *out)
{
    const struct spec_field *f = spec_field_find("model.preset");
    const char *path, *value;
    fputs("\n## Presets\n\nA preset sets model fields only; what the spec itself says wins, wherever it stands.\n\n",
          out);
    for (int preset = PRESET_NONE + 1; f->words[preset]; preset++) {
        fprintf(out, "- `%s`:", f->words[preset]);
        for (int i = 0; (path = spec_preset_setting((enum spec_preset)preset, i, &value)); i++)
            fprintf(out, "%s `%s` %s", i ? "," : "", path + strlen("model."), value);
        fputc('\n', out);
    }
}

static void print_optimizers(FILE *out)
{
    const struct spec_field *f = spec_field_find("train.optimizer.type");
    const char *path, *value;
    fputs("\n## Optimizers\n\nThe type of an optimizer sets defaults of train fields; what the spec itself says wins,\n"
          "wherever it stands.\n\n",
          out);
    for (int type = 0; f->words[type]; type++) {
        fprintf(out, "- `%s`:", f->words[type]);
        for (int i = 0; (path = spec_optimizer_setting((enum spec_optimizer)type, i, &value)); i++)
            fprintf(out, "%s `%s` %s", i ? "," : "", path + strlen("train."), value);
        fputs(spec_optimizer_setting((enum spec_optimizer)type, 0, &value) ? "\n" : " those of the table\n", out);
    }
}

static void print_rules(FILE *out)
{
    const char *path, *text;
    fputs("\n## Combinations that are refused\n\n", out);
    for (int i = 0; (text = spec_rule_text(i, &path)); i++)
        fprintf(out, "- `%s`: %s.\n", path, text);
}

/* worker/numerics.h makes the id. */
static void print_numerics(FILE *out)
{
    fputs(
        "\n## What is bit for bit equal\n\n"
        "Two attempts with equal numerics ids give equal losses, bit for bit, interrupted or not. The id is the "
        "SHA-256 of\n\n"
        "- the spec's hash: the fields that change the result,\n"
        "- the data set's hash: its tokens, documents and split,\n"
        "- the worker's executable and the C library's version,\n"
        "- the backend, the device (the CPU's instruction set as the kernels use it, such as `cpu-avx512`; the GPU's\n"
        "  name), and the versions of the libraries that compute; on a GPU also the plug-in of the kernels and the "
        "table of\n"
        "  algorithms,\n"
        "- the micro-batch that the plan chose.\n\n"
        "The number of threads, `train.recompute`, `train.eval_every`, `train.checkpoint_every`, `train.verify_every` "
        "and the resources are "
        "no\n"
        "part of it and change no bit. `train.micro_batch` changes no meaning, so it is not in the spec's hash; but "
        "the\n"
        "gradients of a step are added in another order, and their last bits differ. What `auto` chooses depends on "
        "the\n"
        "memory of the device: give a number where two machines are to agree to the bit. A run that resumes keeps the\n"
        "micro-batch of its checkpoint. `train.device` matters by the device that it leads to.\n\n"
        "The tests hold this on one machine. The id does not tell processors of one instruction set apart, and a "
        "library\n"
        "is free to cut a product otherwise on another model: between two machines, compare before you rely on it.\n",
        out);
}

void spec_print_markdown(FILE *out)
{
    fputs("# Spec reference\n\n"
          "Generated from the field table in `schema/spec_fields.c` (`baka-worker --describe markdown`); do not edit.\n"
          "`baka-worker --describe schema` prints the same as JSON Schema.\n\n"
          "A spec is one JSON object. The smallest names its data, all else has defaults:\n\n"
          "    {\"data\": {\"name\": \"kjv\"}}\n\n"
          "A dot in a field's name is one level of nesting: `model.ffn.type` is\n"
          "`{\"model\": {\"ffn\": {\"type\": \"elephant\"}}}`, or `--set model.ffn.type=elephant`. The text is strict "
          "JSON\n"
          "(UTF-8, no key twice, no trailing text, numbers that a double can hold, at most 1 MiB and 32 levels).\n"
          "An integer may be written 3.0 but not 3.5. Where `null` is allowed it means \"not set\", and for a\n"
          "number 0 means the same.\n\n"
          "The fields that change the result, with their values resolved, keys sorted and numbers in their shortest\n"
          "form, are the canonical form; its SHA-256 is the spec's hash. Writing out a default, another order of\n"
          "keys, or 1e-3 for 0.001 does not change it.\n",
          out);
    print_numerics(out);
    print_group(out, "");
    /* groups in the order in which the table first names them */
    char previous[64] = "";
    for (int i = 0; i < spec_field_count; i++) {
        size_t size = strcspn(spec_fields[i].path, ".");
        char group[64];
        snprintf(group, sizeof group, "%.*s", (int)size, spec_fields[i].path);
        if (spec_fields[i].path[size] == '.' && strcmp(group, previous) != 0) {
            print_group(out, group);
            snprintf(previous, sizeof previous, "%s", group);
        }
    }
    print_presets(out);
    print_optimizers(out);
    print_rules(out);
}
