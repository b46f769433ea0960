/* spec_value.c: one field's value between struct, JSON and text, by the field's type. Failures are ERR_INVALID with the
 * field's path, the value that was given and what is allowed, on one line. */
#include "schema/spec_fields.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "schema/spec_names.h"

static const void *at(const struct spec_field *f, const struct spec *s)
{
    return (const char *)s + f->offset;
}

static void *at_mutable(const struct spec_field *f, struct spec *s)
{
    return (char *)s + f->offset;
}

static void range_text(const struct spec_field *f, const char *noun, char *out, size_t size)
{
    char min[JSON_NUMBER_SIZE], max[JSON_NUMBER_SIZE];
    json_number_text(f->min, min);
    json_number_text(f->max, max);
    snprintf(out, size, "%s %s %s %s %s", noun, f->flags & FIELD_ABOVE ? "above" : "from", min,
             f->flags & FIELD_BELOW   ? "to below"
             : f->flags & FIELD_ABOVE ? "and at most"
                                      : "to",
             max);
}

void spec_value_allowed(const struct spec_field *f, char *out, size_t size)
{
    size_t used = 0;
    switch (f->type) {
    case FIELD_NAME:
        snprintf(out, size, "a name: at most %d letters, digits, '.', '_' or '-', beginning with a letter or digit",
                 NAME_SIZE - 1);
        break;
    case FIELD_INTEGER:
        range_text(f, "an integer", out, size);
        break;
    case FIELD_NUMBER:
        range_text(f, "a number", out, size);
        break;
    case FIELD_PAIR:
        range_text(f, "an array of two numbers, each", out, size);
        break;
    case FIELD_BOOL:
        snprintf(out, size, "true or false");
        break;
    case FIELD_WORD:
        snprintf(out, size, f->words[1] ? "one of " : "");
        used = strlen(out);
        for (int i = 0; f->words[i] && used < size; i++)
            used += (size_t)snprintf(out + used, size - used, "%s\"%s\"", i ? ", " : "", f->words[i]);
        break;
    }
    used = strlen(out);
    snprintf(out + used, size - used, "%s%s", f->flags & FIELD_AUTO ? " or \"auto\"" : "",
             f->flags & FIELD_NULLABLE ? " or null" : "");
}

/* `value` is JSON text or what the user typed. */
static int refuse(const struct spec_field *f, const char *value, const char *hint, struct err *err)
{
    char allowed[400], shown[64];
    spec_value_allowed(f, allowed, sizeof allowed);
    spec_printable(value, shown, sizeof shown);
    return err_set_at(err, ERR_INVALID, f->path, "%s is %s; it must be %s%s%s%s", f->path, shown, allowed,
                      hint ? "; did you mean \"" : "", hint ? hint : "", hint ? "\"?" : "");
}

static int refuse_json(const struct spec_field *f, const cJSON *item, const char *hint, struct err *err)
{
    char brief[24];
    if (cJSON_IsObject(item) || (cJSON_IsArray(item) && f->type != FIELD_PAIR)) {
        snprintf(brief, sizeof brief, "an %s", cJSON_IsObject(item) ? "object" : "array");
        return refuse(f, brief, hint, err);
    }
    char *text = json_canonical(item);
    int rc = refuse(f, text, hint, err);
    free(text);
    return rc;
}

static bool in_range(const struct spec_field *f, double value)
{
    return isfinite(value) && (f->flags & FIELD_ABOVE ? value > f->min : value >= f->min) &&
           (f->flags & FIELD_BELOW ? value < f->max : value <= f->max);
}

static int word_index(const struct spec_field *f, const char *word)
{
    for (int i = 0; f->words[i]; i++) {
        if (strcmp(f->words[i], word) == 0)
            return i;
    }
    return -1;
}

static int set_unset(const struct spec_field *f, struct spec *s)
{
    static const size_t sizes[] = {
        [FIELD_NAME] = NAME_SIZE,          [FIELD_INTEGER] = sizeof(int64_t), [FIELD_NUMBER] = sizeof(double),
        [FIELD_PAIR] = 2 * sizeof(double), [FIELD_BOOL] = sizeof(bool),       [FIELD_WORD] = sizeof(int)};
    memset(at_mutable(f, s), 0, sizes[f->type]);
    return 0;
}

int spec_value_from_json(const struct spec_field *f, const cJSON *item, struct spec *s, struct err *err)
{
    double number = 0, pair[2];
    int index;
    if (cJSON_IsNull(item) && f->flags & FIELD_NULLABLE)
        return set_unset(f, s);
    bool numeric = !cJSON_IsString(item) && json_read_double(item, &number);
    switch (f->type) {
    case FIELD_NAME:
        if (!cJSON_IsString(item) || !name_is_valid(item->valuestring))
            return refuse_json(f, item, NULL, err);
        memset(at_mutable(f, s), 0, NAME_SIZE); /* equal specs are equal bytes */
        memcpy(at_mutable(f, s), item->valuestring, strlen(item->valuestring));
        return 0;
    case FIELD_INTEGER:
        if (f->flags & FIELD_AUTO && cJSON_IsString(item) && strcmp(item->valuestring, "auto") == 0)
            return set_unset(f, s);
        if (!numeric || !in_range(f, number) || number != trunc(number))
            return refuse_json(f, item, NULL, err);
        *(int64_t *)at_mutable(f, s) = (int64_t)number;
        return 0;
    case FIELD_NUMBER:
        if (!numeric || !in_range(f, number))
            return refuse_json(f, item, NULL, err);
        *(double *)at_mutable(f, s) = number + 0.0; /* -0 becomes 0 */
        return 0;
    case FIELD_PAIR:
        if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) != 2)
            return refuse_json(f, item, NULL, err);
        for (int i = 0; i < 2; i++) {
            const cJSON *element = cJSON_GetArrayItem(item, i);
            if (cJSON_IsString(element) || !json_read_double(element, &pair[i]) || !in_range(f, pair[i]))
                return refuse_json(f, item, NULL, err);
            pair[i] += 0.0;
        }
        memcpy(at_mutable(f, s), pair, sizeof pair);
        return 0;
    case FIELD_BOOL:
        if (!cJSON_IsBool(item))
            return refuse_json(f, item, NULL, err);
        *(bool *)at_mutable(f, s) = cJSON_IsTrue(item);
        return 0;
    case FIELD_WORD:
        index = cJSON_IsString(item) ? word_index(f, item->valuestring) : -1;
        if (index < 0)
            return refuse_json(f, item, cJSON_IsString(item) ? spec_nearest_word(item->valuestring, f->words) : NULL,
                               err);
        memcpy(at_mutable(f, s), &index, sizeof index);
        return 0;
    }
    return err_set(err, ERR_INTERNAL, "%s has no type", f->path);
}

/* A number as JSON has it, but for a leading '+' and missing digits. 01 is none: it may be meant as octal. */
static int read_number(const char *text, double *out)
{
    const char *digits = text + strspn(text, "+-");
    bool padded = digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9';
    return padded ? -ERR_INVALID : json_number_read(text, out);
}

static cJSON *must(cJSON *item)
{
    if (!item)
        abort();
    return item;
}

static cJSON *pair_from_text(const char *text)
{
    char copy[80];
    double pair[2];
    size_t n = strlen(text);
    if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
        text++;
        n -= 2;
    }
    if (n >= sizeof copy)
        return NULL;
    memcpy(copy, text, n);
    copy[n] = 0;
    char *comma = strchr(copy, ',');
    if (!comma)
        return NULL;
    *comma++ = 0;
    comma += *comma == ' ';
    if (read_number(copy, &pair[0]) < 0 || read_number(comma, &pair[1]) < 0)
        return NULL;
    return must(cJSON_CreateDoubleArray(pair, 2));
}

static int refuse_text(const struct spec_field *f, const char *text, bool beyond_double, struct err *err)
{
    char shown[64];
    snprintf(shown, sizeof shown, "%.24s (beyond what a double holds)", text);
    return refuse(f, beyond_double ? shown : *text ? text : "empty", NULL, err);
}

int spec_value_text_to_json(const struct spec_field *f, const char *text, cJSON **out, struct err *err)
{
    cJSON *item = NULL;
    double number;
    int rc = 0;
    if (f->flags & FIELD_NULLABLE && strcmp(text, "null") == 0)
        item = must(cJSON_CreateNull());
    else if (f->type == FIELD_NAME || f->type == FIELD_WORD || (f->flags & FIELD_AUTO && strcmp(text, "auto") == 0))
        item = must(cJSON_CreateString(text));
    else if (f->type == FIELD_BOOL && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0))
        item = must(cJSON_CreateBool(text[0] == 't'));
    else if (f->type == FIELD_PAIR)
        item = pair_from_text(text);
    else if ((f->type == FIELD_INTEGER || f->type == FIELD_NUMBER) && (rc = read_number(text, &number)) == 0)
        item = must(cJSON_CreateNumber(number));
    if (!item)
        return refuse_text(f, text, rc == -ERR_TOO_LARGE, err);
    struct spec scratch; /* only to check type and range */
    memset(&scratch, 0, sizeof scratch);
    bool typed = cJSON_IsNumber(item) || cJSON_IsArray(item); /* shown as it was typed, not as JSON would print it */
    rc = spec_value_from_json(f, item, &scratch, typed ? NULL : err);
    if (rc < 0) {
        cJSON_Delete(item);
        return typed ? refuse_text(f, text, false, err) : rc;
    }
    *out = item;
    return 0;
}

int spec_value_from_text(const struct spec_field *f, const char *text, struct spec *s, struct err *err)
{
    cJSON *item;
    int rc = spec_value_text_to_json(f, text, &item, err);
    if (rc < 0)
        return rc;
    rc = spec_value_from_json(f, item, s, err);
    cJSON_Delete(item);
    return rc;
}

/* Not set: as null in JSON. */
static bool is_unset(const struct spec_field *f, const struct spec *s)
{
    if (!(f->flags & FIELD_NULLABLE))
        return false;
    switch (f->type) {
    case FIELD_NAME:
        return *(const char *)at(f, s) == 0;
    case FIELD_INTEGER:
        return *(const int64_t *)at(f, s) == 0;
    case FIELD_NUMBER:
        return *(const double *)at(f, s) == 0;
    default:
        return false;
    }
}

static const char *word_of(const struct spec_field *f, const struct spec *s)
{
    int index, count = 0;
    memcpy(&index, at(f, s), sizeof index);
    while (f->words[count])
        count++;
    return index >= 0 && index < count ? f->words[index] : NULL;
}

static cJSON *exact_number(double value)
{
    char text[JSON_NUMBER_SIZE];
    cJSON *holder = must(cJSON_CreateObject());
    json_number_text(value, text);
    json_add_double(holder, "value", value);
    cJSON *item = cJSON_DetachItemFromObjectCaseSensitive(holder, "value");
    cJSON_Delete(holder);
    return item;
}

cJSON *spec_value_to_json(const struct spec_field *f, const struct spec *s)
{
    cJSON *item;
    const char *word;
    if (is_unset(f, s))
        return must(cJSON_CreateNull());
    switch (f->type) {
    case FIELD_NAME:
        return must(cJSON_CreateString(at(f, s)));
    case FIELD_INTEGER:
        if (f->flags & FIELD_AUTO && *(const int64_t *)at(f, s) == 0)
            return must(cJSON_CreateString("auto"));
        return exact_number((double)*(const int64_t *)at(f, s));
    case FIELD_NUMBER:
        return exact_number(*(const double *)at(f, s));
    case FIELD_PAIR:
        item = must(cJSON_CreateArray());
        for (int i = 0; i < 2; i++)
            cJSON_AddItemToArray(item, exact_number(((const double *)at(f, s))[i]));
        return item;
    case FIELD_BOOL:
        return must(cJSON_CreateBool(*(const bool *)at(f, s)));
    case FIELD_WORD:
        word = word_of(f, s);
        return word ? must(cJSON_CreateString(word)) : must(cJSON_CreateNull());
    }
    return must(cJSON_CreateNull());
}

void spec_value_to_text(const struct spec_field *f, const struct spec *s, char *out, size_t size)
{
    char first[JSON_NUMBER_SIZE], second[JSON_NUMBER_SIZE];
    const char *word;
    if (is_unset(f, s)) {
        snprintf(out, size, "null");
        return;
    }
    switch (f->type) {
    case FIELD_NAME:
        snprintf(out, size, "%s", (const char *)at(f, s));
        return;
    case FIELD_INTEGER:
        if (f->flags & FIELD_AUTO && *(const int64_t *)at(f, s) == 0)
            snprintf(out, size, "auto");
        else
            snprintf(out, size, "%lld", (long long)*(const int64_t *)at(f, s));
        return;
    case FIELD_NUMBER:
        json_number_text(*(const double *)at(f, s), first);
        snprintf(out, size, "%s", first);
        return;
    case FIELD_PAIR:
        json_number_text(((const double *)at(f, s))[0], first);
        json_number_text(((const double *)at(f, s))[1], second);
        snprintf(out, size, "%s,%s", first, second);
        return;
    case FIELD_BOOL:
        snprintf(out, size, "%s", *(const bool *)at(f, s) ? "true" : "false");
        return;
    case FIELD_WORD:
        word = word_of(f, s);
        snprintf(out, size, "%s", word ? word : "?");
        return;
    }
}

int spec_value_check(const struct spec_field *f, const struct spec *s, struct err *err)
{
    bool fine = true;
    const double *pair = at(f, s);
    if (is_unset(f, s))
        return 0;
    switch (f->type) {
    case FIELD_NAME:
        fine = memchr(at(f, s), 0, NAME_SIZE) && name_is_valid(at(f, s));
        if (!fine && f->flags & FIELD_NEEDED && *(const char *)at(f, s) == 0)
            return err_set_at(err, ERR_INVALID, f->path, "%s is missing; %s", f->path, f->doc);
        break;
    case FIELD_INTEGER:
        fine = in_range(f, (double)*(const int64_t *)at(f, s)) ||
               (f->flags & FIELD_AUTO && *(const int64_t *)at(f, s) == 0);
        break;
    case FIELD_NUMBER:
        fine = in_range(f, *(const double *)at(f, s));
        break;
    case FIELD_PAIR:
        fine = in_range(f, pair[0]) && in_range(f, pair[1]);
        break;
    case FIELD_BOOL:
        break;
    case FIELD_WORD:
        fine = word_of(f, s) != NULL;
        break;
    }
    if (fine)
        return 0;
    char text[NAME_SIZE + 64];
    spec_value_to_text(f, s, text, sizeof text);
    return refuse(f, text, NULL, err);
}
