/* test_spec_fields.c: walks every field of the table, so that a new field is tested by being there: its default, a
 * wrong type, values beyond both ends, unknown neighbours, and both ways through text and JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/json.h"
#include "schema/spec.h"
#include "schema/spec_fields.h"

/* {"data":{"name":"d"}} with `json` at the path of the field; caller frees. */
static char *text_with(const char *path, const char *json)
{
    char *text = malloc(4096 + strlen(json));
    size_t used = 0;
    int depth = 0;
    assert_non_null(text);
    bool in_data = strncmp(path, "data.", 5) == 0;
    used += (size_t)sprintf(text, "%s", in_data ? "{" : "{\"data\":{\"name\":\"d\"},");
    for (const char *at = path;; depth++) {
        size_t n = strcspn(at, ".");
        used += (size_t)sprintf(text + used, "\"%.*s\":", (int)n, at);
        if (!at[n])
            break;
        used += (size_t)sprintf(text + used, "{");
        if (depth == 0 && in_data && strcmp(path, "data.name") != 0)
            used += (size_t)sprintf(text + used, "\"name\":\"d\",");
        at += n + 1;
    }
    used += (size_t)sprintf(text + used, "%s", json);
    for (; depth >= 0; depth--)
        used += (size_t)sprintf(text + used, "}");
    return text;
}

static void refused(const struct spec_field *f, const char *json)
{
    struct err err = {0};
    struct spec s, before;
    memset(&s, 0x5a, sizeof s);
    before = s;
    char *text = text_with(f->path, json);
    int rc = spec_parse(text, strlen(text), &s, &err);
    bool good = rc == -ERR_INVALID && strcmp(err.path, f->path) == 0 &&
                strncmp(err.message, f->path, strlen(f->path)) == 0 && strstr(err.message, "must be") &&
                !strchr(err.message, '\n');
    if (!good)
        fail_msg("%s = %s: %d [%s] %s", f->path, json, rc, err.path, err.message);
    assert_memory_equal(&s, &before, sizeof s);
    free(text);
}

static void test_defaults(void **state)
{
    struct err err = {0};
    struct spec s;
    const char *text = "{\"data\":{\"name\":\"d\"}}";
    (void)state;
    for (int i = 0; i < spec_field_count; i++) {
        const struct spec_field *f = &spec_fields[i];
        assert_true(f->doc && strlen(f->doc) > 10 && f->unit);
        assert_ptr_equal(spec_field_find(f->path), f); /* no path twice */
        assert_false(spec_group_exists(f->path));
        assert_true((f->type == FIELD_WORD) == (f->words != NULL));
        assert_true(f->fallback || f->flags & (FIELD_NULLABLE | FIELD_NEEDED));
        /* a 0 that is not taken at its word must be told */
        if (f->flags & FIELD_NULLABLE && (f->type == FIELD_INTEGER || f->type == FIELD_NUMBER))
            assert_non_null(strstr(f->doc, "0 or null: not set"));
        memset(&s, 0, sizeof s);
        if (f->fallback)
            assert_int_equal(spec_value_from_text(f, f->fallback, &s, &err), 0);
    }
    assert_int_equal(spec_parse(text, strlen(text), &s, &err), 0);
    for (int i = 0; i < spec_field_count; i++) {
        const struct spec_field *f = &spec_fields[i];
        char value[128];
        if (f->flags & FIELD_NEEDED)
            continue;
        assert_int_equal(spec_get_text(&s, f->path, value, sizeof value, &err), 0);
        assert_string_equal(value, f->fallback ? f->fallback : "null");
    }
}

static void test_wrong_types(void **state)
{
    static const char *const values[] = {
        [FIELD_NAME] = "\"a\"",      [FIELD_INTEGER] = "1", [FIELD_NUMBER] = "0.5",
        [FIELD_PAIR] = "[0.5, 0.5]", [FIELD_BOOL] = "true", [FIELD_WORD] = "\"no-such-word\"",
    };
    (void)state;
    for (int i = 0; i < spec_field_count; i++) {
        const struct spec_field *f = &spec_fields[i];
        for (enum field_type type = FIELD_NAME; type <= FIELD_WORD; type++) {
            bool integer_is_number = f->type == FIELD_NUMBER && type == FIELD_INTEGER;
            bool word_is_name = f->type == FIELD_NAME && type == FIELD_WORD;
            if (type != f->type && !integer_is_number && !word_is_name)
                refused(f, values[type]);
        }
        refused(f, "{}");
        refused(f, "[]");
        refused(f, "{\"a\":1}");
        refused(f, "\"\"");
        refused(f, "\"\\n\\u001b[2J\"");
        if (f->type != FIELD_NAME)
            refused(f, "\"nan\"");
        refused(f, "[null, null]");
        refused(f, "[1, 1, 1]");
        if (!(f->flags & FIELD_NULLABLE))
            refused(f, "null");
        if (f->type == FIELD_WORD)
            refused(f, "\"no-such-word\"");
    }
}

static void test_ranges(void **state)
{
    char value[64], number[JSON_NUMBER_SIZE];
    (void)state;
    for (int i = 0; i < spec_field_count; i++) {
        const struct spec_field *f = &spec_fields[i];
        if (f->type != FIELD_INTEGER && f->type != FIELD_NUMBER && f->type != FIELD_PAIR)
            continue;
        assert_true(f->min < f->max);
        double step = f->type == FIELD_INTEGER ? 1 : 0;
        const double beyond[] = {f->flags & FIELD_ABOVE ? f->min : f->min - (step ? step : 1e-9 + f->min * 1e-9),
                                 f->flags & FIELD_BELOW ? f->max : f->max + (step ? step : f->max * 1e-9), -1e300,
                                 1e300};
        for (size_t k = 0; k < sizeof beyond / sizeof *beyond; k++) {
            json_number_text(beyond[k], number);
            snprintf(value, sizeof value, f->type == FIELD_PAIR ? "[0.5,%s]" : "%s", number);
            refused(f, value);
        }
        if (f->type == FIELD_INTEGER) {
            json_number_text(f->min + 0.5, number);
            refused(f, number);
        }
    }
}

/* The ends themselves are allowed, unless the table says otherwise: rules may still refuse, but not this field's range.
 */
static void test_ends(void **state)
{
    struct err err = {0};
    struct spec s;
    char number[JSON_NUMBER_SIZE];
    (void)state;
    for (int i = 0; i < spec_field_count; i++) {
        const struct spec_field *f = &spec_fields[i];
        if (f->type != FIELD_INTEGER && f->type != FIELD_NUMBER)
            continue;
        memset(&s, 0, sizeof s);
        json_number_text(f->min, number);
        assert_int_equal(spec_value_from_text(f, number, &s, &err), f->flags & FIELD_ABOVE ? -ERR_INVALID : 0);
        json_number_text(f->max, number);
        assert_int_equal(spec_value_from_text(f, number, &s, &err), f->flags & FIELD_BELOW ? -ERR_INVALID : 0);
        snprintf(number, sizeof number, "%lld.0", (long long)f->max);
        assert_int_equal(spec_value_from_text(f, number, &s, &err), f->flags & FIELD_BELOW ? -ERR_INVALID : 0);
    }
}

static void test_unknown_neighbours(void **state)
{
    (void)state;
    for (int i = 0; i < spec_field_count; i++) {
        const struct spec_field *f = &spec_fields[i];
        struct err err = {0};
        struct spec s;
        char path[128], expected[400];
        snprintf(path, sizeof path, "%sx", f->path); /* one letter too many */
        char *text = text_with(path, "1");
        snprintf(expected, sizeof expected, "%s is not a field; did you mean %s?", path, f->path);
        assert_int_equal(spec_parse(text, strlen(text), &s, &err), -ERR_INVALID);
        assert_string_equal(err.path, path);
        const char *last = strrchr(f->path, '.');
        if (last && strlen(last) == 2) /* nothing is near a name of one letter: what the group holds is listed */
            assert_non_null(
                strstr(err.message, last[1] == 'n' ? "model.ffn.sdpa has n" : "model.ffn.elephant has a, d"));
        else
            assert_string_equal(err.message, expected);
        free(text);
    }
}

static void test_text_and_json_round_trip(void **state)
{
    struct err err = {0};
    (void)state;
    for (int i = 0; i < spec_field_count; i++) {
        const struct spec_field *f = &spec_fields[i];
        const char *sample = f->type == FIELD_NAME     ? "some-name"
                             : f->type == FIELD_PAIR   ? "0.1,0.30000000000000004"
                             : f->type == FIELD_BOOL   ? "true"
                             : f->type == FIELD_NUMBER ? "1"
                             : f->type == FIELD_WORD   ? NULL
                                                       : "1";
        for (int w = 0; f->type == FIELD_WORD ? f->words[w] != NULL : w < 1; w++) {
            struct spec a, b;
            char text[128];
            memset(&a, 0, sizeof a);
            memset(&b, 0, sizeof b);
            if (f->flags & FIELD_ABOVE && f->min >= 1)
                sample = "2";
            if (f->flags & FIELD_BELOW && f->type == FIELD_NUMBER)
                sample = "0.5";
            assert_int_equal(spec_value_from_text(f, sample ? sample : f->words[w], &a, &err), 0);
            spec_value_to_text(f, &a, text, sizeof text);
            assert_int_equal(spec_value_from_text(f, text, &b, &err), 0);
            assert_memory_equal(&a, &b, sizeof a);
            cJSON *json = spec_value_to_json(f, &a);
            memset(&b, 0, sizeof b);
            assert_int_equal(spec_value_from_json(f, json, &b, &err), 0);
            assert_memory_equal(&a, &b, sizeof a);
            cJSON_Delete(json);
        }
    }
}

/* The page must say what a reader cannot guess from the range: the 0 of these fields is no size. */
static void test_zero_is_explained(void **state)
{
    (void)state;
    int count = 0;
    for (int i = 0; i < spec_field_count; i++) {
        const struct spec_field *f = &spec_fields[i];
        if (f->type != FIELD_INTEGER && f->type != FIELD_NUMBER)
            continue;
        bool may_be_unset = f->flags & FIELD_NULLABLE;
        count += may_be_unset;
        if (may_be_unset && (f->min != 0 || !strstr(f->doc, "0 or null: not set, ")))
            fail_msg("%s: %s", f->path, f->doc);
    }
    assert_true(count >= 5);
}

/* A spec built by a program, not by the parser: values out of range are found too. */
static void test_validate_struct(void **state)
{
    struct err err = {0};
    struct spec good, s;
    const char *text = "{\"data\":{\"name\":\"d\"}}";
    (void)state;
    assert_int_equal(spec_parse(text, strlen(text), &good, &err), 0);
    for (int i = 0; i < spec_field_count; i++) {
        const struct spec_field *f = &spec_fields[i];
        s = good;
        void *member = (char *)&s + f->offset;
        switch (f->type) {
        case FIELD_NAME:
            memset(member, 'a', NAME_SIZE); /* no NUL */
            break;
        case FIELD_INTEGER:
            *(int64_t *)member = INT64_MIN;
            break;
        case FIELD_NUMBER:
            *(double *)member = 0.0 / 0.0;
            break;
        case FIELD_PAIR:
            ((double *)member)[1] = -1;
            break;
        case FIELD_BOOL:
            continue;
        case FIELD_WORD:
            memset(member, 0x7f, sizeof(int));
            break;
        }
        assert_int_equal(spec_validate(&s, &err), -ERR_INVALID);
        assert_string_equal(err.path, f->path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_wrong_types),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_unknown_neighbours),
        cmocka_unit_test(test_text_and_json_round_trip),
        cmocka_unit_test(test_zero_is_explained),
        cmocka_unit_test(test_validate_struct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
