/* spec_fields.h: the field table of the spec, for the sources of this folder. Constant data; any thread. */
#ifndef BAKA_SCHEMA_SPEC_FIELDS_H
#define BAKA_SCHEMA_SPEC_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cjson/cJSON.h>
#include "schema/spec.h"

struct err;

enum field_type {
    FIELD_NAME,    /* char[NAME_SIZE] */
    FIELD_INTEGER, /* int64_t */
    FIELD_NUMBER,  /* double */
    FIELD_PAIR,    /* double[2] */
    FIELD_BOOL,    /* bool */
    FIELD_WORD,    /* an enum of spec.h: index into words */
};

enum {
    FIELD_RESULT = 1,   /* changes the losses: part of the canonical form and its hash */
    FIELD_NULLABLE = 2, /* null (0, "" or the first word in the struct) means "not set" */
    FIELD_ABOVE = 4,    /* min itself is not allowed */
    FIELD_BELOW = 8,    /* max itself is not allowed */
    FIELD_AUTO = 16,    /* the word "auto" is allowed beside numbers, 0 in the struct */
    FIELD_NEEDED = 32,  /* has no default: the text must give it */
    FIELD_LATER = 64,   /* younger than the canonical form: at its default left out, so that older hashes stay */
};

struct spec_field {
    const char *path;
    enum field_type type;
    size_t offset; /* in struct spec */
    unsigned flags;
    double min, max; /* integers, numbers, each of a pair */
    const char *const *words;
    const char *fallback; /* default, as spec_set_text would take it; NULL: not set */
    const char *unit;     /* "" where it has none */
    const char *doc;
};

enum { SPEC_VERSION = 1 }; /* of the canonical form; a change of meaning raises it */

extern const struct spec_field spec_fields[];
extern const int spec_field_count;

const struct spec_field *spec_field_find(const char *path);
/* True for "model", "model.ffn", ...: a path that holds fields. "" is the top. */
bool spec_group_exists(const char *path);
/* First component of `path` behind the group ("ffn" of "model.ffn.type" in "model"), its length in *size; NULL when the
 * path does not lie in the group. */
const char *spec_path_in_group(const char *path, const char *group, size_t *size);
/* The text of a key or value for a message: control bytes become '?', cut to fit at a character's border. */
const char *spec_printable(const char *text, char *out, size_t size);
/* ERR_INVALID for a path that is neither field nor group, with the nearest known name. */
int spec_refuse_unknown(const char *path, struct err *err);

/* One field's value (spec_value.c). The setters check type and range and leave the spec as it was on failure. */
int spec_value_from_json(const struct spec_field *f, const cJSON *item, struct spec *s, struct err *err);
/* Caller deletes *out. ERR_INVALID when the text is not one of the field's type. */
int spec_value_text_to_json(const struct spec_field *f, const char *text, cJSON **out, struct err *err);
int spec_value_from_text(const struct spec_field *f, const char *text, struct spec *s, struct err *err);
cJSON *spec_value_to_json(const struct spec_field *f, const struct spec *s);
void spec_value_to_text(const struct spec_field *f, const struct spec *s, char *out, size_t size);
/* ERR_INVALID when the value in the struct is outside what the table allows. */
int spec_value_check(const struct spec_field *f, const struct spec *s, struct err *err);
/* "an integer from 1 to 65536", "one of gelu, swiglu": for messages and the reference. */
void spec_value_allowed(const struct spec_field *f, char *out, size_t size);

/* Sets the model fields that a preset stands for; PRESET_NONE sets none. */
void spec_preset_apply(enum spec_preset preset, struct spec *s);
/* For the reference: text of what a preset sets, one "path value" after the other; NULL beyond the last. */
const char *spec_preset_setting(enum spec_preset preset, int index, const char **value);

/* The same for the defaults that the type of an optimizer stands for. */
void spec_optimizer_apply(enum spec_optimizer type, struct spec *s);
const char *spec_optimizer_setting(enum spec_optimizer type, int index, const char **value);

/* The table of combinations: text for the reference, NULL beyond the last. */
const char *spec_rule_text(int index, const char **path);
int spec_rules_check(const struct spec *s, struct err *err);

#endif
