/* json.c: see json.h. Printing is done here and not by cJSON, whose comparison with a tolerance lets "%1.15g" pass for
 * numbers that need 17 digits. Building and printing abort when memory is out, except that json_parse reports it. */
#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/spare.h"
#include "base/json_check.h"

static const double exact_integer_limit = 9007199254740992.0; /* 2^53 */

int json_parse(const char *text, size_t size, const struct json_limits *limits, const char *what, cJSON **out,
               struct err *err)
{
    int rc = json_check(text, size, limits, what, err);
    if (rc < 0)
        return rc;
    cJSON *item = cJSON_ParseWithLength(text, size);
    if (!item)
        return err_set(err, ERR_NO_MEMORY, "no memory to read %s", what);
    *out = item;
    return 0;
}

void json_number_text(double value, char out[JSON_NUMBER_SIZE])
{
    if (!isfinite(value)) {
        snprintf(out, JSON_NUMBER_SIZE, "%s", isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
        return;
    }
    if (fabs(value) < exact_integer_limit && value == trunc(value)) {
        snprintf(out, JSON_NUMBER_SIZE, "%.0f", value);
        return;
    }
    /* every decimal of up to 15 digits survives a normal double, so where a shorter text exists %.15g finds it */
    for (int digits = fabs(value) < 2.2250738585072014e-308 ? 1 : 15; digits <= 17; digits++) {
        snprintf(out, JSON_NUMBER_SIZE, "%.*g", digits, value);
        if (strtod(out, NULL) == value)
            return;
    }
}

void json_number_text17(double value, char out[JSON_NUMBER_SIZE])
{
    if (!isfinite(value))
        json_number_text(value, out);
    else
        snprintf(out, JSON_NUMBER_SIZE, "%.17g", value);
}

static bool is_written_as_zero(const char *text)
{
    return strchr("eE", text[strcspn(text, "123456789eE")]) != NULL; /* the text's end is found too */
}

int json_number_read(const char *text, double *out)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || strspn(text, "+-.0123456789eE") != strlen(text))
        return -ERR_INVALID;
    if (!isfinite(value) || (value == 0 && !is_written_as_zero(text)))
        return -ERR_TOO_LARGE;
    *out = value;
    return 0;
}

/* True when cJSON's own printer gives the number exactly. */
static bool cjson_prints_exactly(double value)
{
    char text[JSON_NUMBER_SIZE];
    snprintf(text, sizeof text, "%1.15g", value);
    return strtod(text, NULL) == value;
}

void json_add_double(cJSON *object, const char *key, double value)
{
    char text[JSON_NUMBER_SIZE];
    cJSON *added;
    json_number_text(value, text);
    if (!isfinite(value))
        added = cJSON_AddStringToObject(object, key, text);
    else if (cjson_prints_exactly(value))
        added = cJSON_AddNumberToObject(object, key, value);
    else
        added = cJSON_AddRawToObject(object, key, text);
    if (!added)
        abort();
}

void json_add_int64(cJSON *object, const char *key, int64_t value)
{
    char text[JSON_NUMBER_SIZE];
    snprintf(text, sizeof text, "%" PRId64, value);
    cJSON *added;
    if (value > (INT64_C(1) << 53) || value < -(INT64_C(1) << 53))
        added = cJSON_AddStringToObject(object, key, text);
    else if (value < INT64_C(1000000000000000) && value > -INT64_C(1000000000000000))
        added = cJSON_AddNumberToObject(object, key, (double)value);
    else
        added = cJSON_AddRawToObject(object, key, text); /* cJSON would print an exponent */
    if (!added)
        abort();
}

/* The whole of text as a double. */
static bool text_to_double(const char *text, double *out)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end)
        return false;
    *out = value;
    return true;
}

bool json_read_double(const cJSON *item, double *out)
{
    if (cJSON_IsNumber(item)) {
        *out = item->valuedouble;
        return true;
    }
    if (cJSON_IsRaw(item) && item->valuestring)
        return text_to_double(item->valuestring, out);
    if (cJSON_IsString(item)) {
        const char *text = item->valuestring;
        if (strcmp(text, "nan") == 0 || strcmp(text, "inf") == 0 || strcmp(text, "-inf") == 0)
            return text_to_double(text, out);
    }
    return false;
}

bool json_read_int64(const cJSON *item, int64_t *out)
{
    if (cJSON_IsNumber(item)) {
        double value = item->valuedouble;
        if (!(fabs(value) <= exact_integer_limit) || value != trunc(value))
            return false;
        *out = (int64_t)value;
        return true;
    }
    if (!(cJSON_IsString(item) || cJSON_IsRaw(item)) || !item->valuestring)
        return false;
    const char *text = item->valuestring, *digits = text + (*text == '-');
    size_t n = strspn(digits, "0123456789");
    if (n == 0 || digits[n] || n > 19)
        return false;
    int64_t value = 0;
    for (size_t i = 0; i < n; i++) { /* downwards: the negative range is one larger */
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_sub_overflow(value, digits[i] - '0', &value))
            return false;
    }
    if (*text != '-') {
        if (value == INT64_MIN)
            return false;
        value = -value;
    }
    *out = value;
    return true;
}

struct text {
    char *data;
    size_t used, capacity;
};

static void append(struct text *t, const char *data, size_t size)
{
    if (t->used + size + 1 > t->capacity) {
        t->capacity = (t->used + size + 1) * 2;
        t->data = spare_realloc(t->data, t->capacity);
    }
    memcpy(t->data + t->used, data, size);
    t->used += size;
    t->data[t->used] = 0;
}

static void append_string(struct text *t, const char *string)
{
    append(t, "\"", 1);
    for (const char *at = string ? string : ""; *at;) {
        size_t plain = 0;
        while ((unsigned char)at[plain] >= 0x20 && at[plain] != '"' && at[plain] != '\\')
            plain++;
        append(t, at, plain);
        at += plain;
        if (!*at)
            break;
        char escape[8];
        static const char short_forms[] = "\bb\tt\nn\ff\rr\"\"\\\\";
        const char *form = short_forms;
        while (*form && *form != *at)
            form += 2;
        if (*form)
            snprintf(escape, sizeof escape, "\\%c", form[1]);
        else
            snprintf(escape, sizeof escape, "\\u%04x", (unsigned char)*at);
        append(t, escape, strlen(escape));
        at++;
    }
    append(t, "\"", 1);
}

static int compare_names(const void *a, const void *b)
{
    const cJSON *const *x = a, *const *y = b;
    return strcmp((*x)->string, (*y)->string);
}

struct style {
    int indent; /* blanks a level; 0: none, on one line */
    bool sorted;
};

static void append_break(struct text *t, const struct style *style, int level)
{
    if (!style->indent)
        return;
    append(t, "\n", 1);
    for (int i = 0; i < level * style->indent; i++)
        append(t, " ", 1);
}

/* Recursion ends with the item's depth, which json_parse limits to JSON_DEPTH_LIMIT. */
static void append_item(struct text *t, const cJSON *item, const struct style *style, int level)
{
    char number[JSON_NUMBER_SIZE];
    double value = 0;
    if (cJSON_IsString(item)) {
        append_string(t, item->valuestring);
    } else if (cJSON_IsNumber(item) || (cJSON_IsRaw(item) && json_read_double(item, &value))) {
        value = cJSON_IsNumber(item) ? item->valuedouble : value;
        json_number_text(value, number);
        if (isfinite(value))
            append(t, number, strlen(number));
        else
            append_string(t, number);
    } else if (cJSON_IsRaw(item)) {
        append(t, item->valuestring, strlen(item->valuestring));
    } else if (cJSON_IsBool(item)) {
        append(t, cJSON_IsTrue(item) ? "true" : "false", cJSON_IsTrue(item) ? 4 : 5);
    } else if (cJSON_IsArray(item) || cJSON_IsObject(item)) {
        bool object = cJSON_IsObject(item), broken = object; /* a line for each child */
        size_t n = 0, i = 0;
        for (const cJSON *child = item->child; child; child = child->next) {
            broken = broken || cJSON_IsObject(child) || cJSON_IsArray(child);
            n++;
        }
        const cJSON **children = spare_malloc((n ? n : 1) * sizeof(const cJSON *));
        for (const cJSON *child = item->child; child; child = child->next)
            children[i++] = child;
        if (object && style->sorted && n)
            qsort(children, n, sizeof *children, compare_names);
        append(t, object ? "{" : "[", 1);
        for (i = 0; i < n; i++) {
            if (i)
                append(t, ", ", style->indent && !broken ? 2 : 1);
            if (broken)
                append_break(t, style, level + 1);
            if (object) {
                append_string(t, children[i]->string);
                append(t, ": ", style->indent ? 2 : 1);
            }
            append_item(t, children[i], style, level + 1);
        }
        if (broken && n)
            append_break(t, style, level);
        append(t, object ? "}" : "]", 1);
        free(children);
    } else {
        append(t, "null", 4);
    }
}

char *json_canonical(const cJSON *item)
{
    struct text t = {0};
    append_item(&t, item, &(struct style){.sorted = true}, 0);
    return t.data;
}

char *json_print(const cJSON *item, bool indent)
{
    struct text t = {0};
    append_item(&t, item, &(struct style){.indent = indent ? 2 : 0}, 0);
    return t.data;
}
