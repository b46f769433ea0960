/* What is written reads back, through the strict door: every byte value, long strings, numbers, nesting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/err.h"
#include "base/json.h"
#include "daemon/jsonw.h"

static cJSON *read_back(struct jsonw *w)
{
    static const struct json_limits limits = {1 << 24, 32};
    char *text;
    size_t size;
    cJSON *root = NULL;
    struct err err = {0};
    assert_int_equal(jsonw_take(w, &text, &size, &err), 0);
    assert_int_equal(strlen(text), size);
    if (json_parse(text, size, &limits, "written", &root, &err) != 0)
        fail_msg("%s: %s", err.message, text);
    free(text);
    return root;
}

static void test_bytes(void **state)
{
    (void)state;
    for (int first = 0; first < 256; first++)
        for (int second = 0; second < 256; second++) {
            struct jsonw w = {0};
            char bytes[] = {'a', (char)first, (char)second, 'z'};
            jsonw_bytes(&w, NULL, bytes, first == 0 || second == 0 ? 1 : 4);
            cJSON *root = read_back(&w);
            assert_true(cJSON_IsString(root));
            if (first >= 1 && first < 128 && second >= 1 && second < 128)
                assert_memory_equal(root->valuestring, bytes, 4);
            cJSON_Delete(root);
        }
}

static void test_utf8(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"\xc3\xa9", "\xc3\xa9"},
        {"\xe2\x82\xac", "\xe2\x82\xac"},
        {"\xf0\x9f\x90\x98", "\xf0\x9f\x90\x98"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc0\x80x", "\xef\xbf\xbd\xef\xbf\xbdx"},
        {"\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct jsonw w = {0};
        jsonw_string(&w, NULL, pairs[i][0]);
        cJSON *root = read_back(&w);
        assert_string_equal(root->valuestring, pairs[i][1]);
        cJSON_Delete(root);
    }
}

static void test_nesting_and_numbers(void **state)
{
    (void)state;
    struct jsonw w = {0};
    jsonw_begin_object(&w, NULL);
    jsonw_begin_array(&w, "rows");
    for (int i = 0; i < 1000; i++) {
        jsonw_begin_array(&w, NULL);
        jsonw_int(&w, NULL, i);
        jsonw_real(&w, NULL, 0.1 * i);
        jsonw_null(&w, NULL);
        jsonw_end_array(&w);
    }
    jsonw_end_array(&w);
    jsonw_begin_object(&w, "empty");
    jsonw_end_object(&w);
    jsonw_bool(&w, "yes", true);
    jsonw_real(&w, "nan", NAN);
    jsonw_real(&w, "inf", -INFINITY);
    jsonw_real(&w, "tiny", DBL_TRUE_MIN);
    jsonw_string(&w, "none", NULL);
    jsonw_raw(&w, "raw", "{\"a\":[1,2]}");
    jsonw_end_object(&w);
    cJSON *root = read_back(&w);
    const cJSON *rows = cJSON_GetObjectItem(root, "rows");
    assert_int_equal(cJSON_GetArraySize(rows), 1000);
    int i = 0;
    const cJSON *row;
    cJSON_ArrayForEach(row, rows) {
        assert_true(cJSON_GetArrayItem(row, 1)->valuedouble == 0.1 * i);
        i++;
    }
    assert_string_equal(cJSON_GetObjectItem(root, "nan")->valuestring, "nan");
    assert_string_equal(cJSON_GetObjectItem(root, "inf")->valuestring, "-inf");
    assert_true(cJSON_GetObjectItem(root, "tiny")->valuedouble == DBL_TRUE_MIN);
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(root, "none")));
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(cJSON_GetObjectItem(root, "raw"), "a")), 2);
    cJSON_Delete(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_nesting_and_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
