/* test_json.c: what the door lets in and what it says to the rest; numbers that survive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "base/philox.h"

static const struct json_limits limits = {.max_bytes = 1000, .max_depth = 8};

static void refused(const char *text, size_t size, const char *path, const char *message)
{
    struct err err = {0};
    cJSON *item = NULL;
    int rc = json_parse(text, size, &limits, "t", &item, &err);
    if (rc != -ERR_INVALID || !strstr(err.message, message) || strcmp(err.path, path) != 0)
        fail_msg("%s: %d [%s] %s", text, rc, err.path, err.message);
    assert_null(item);
    assert_null(strchr(err.message, '\n'));
}
#define REFUSED(text, path, message) refused(text, sizeof(text) - 1, path, message)

static void accepted(const char *text, const char *canonical)
{
    struct err err = {0};
    cJSON *item = NULL;
    if (json_parse(text, strlen(text), &limits, "t", &item, &err) != 0)
        fail_msg("%s: %s", text, err.message);
    char *printed = json_canonical(item);
    assert_string_equal(printed, canonical);
    free(printed);
    cJSON_Delete(item);
}

static void test_accepted(void **state)
{
    (void)state;
    accepted("{}", "{}");
    accepted(" [ ] \r\n\t", "[]");
    accepted("{\"b\":1,\"a\":[true,false,null,\"x\"]}", "{\"a\":[true,false,null,\"x\"],\"b\":1}");
    accepted("{\"a\":{\"x\":1},\"b\":{\"x\":1}}", "{\"a\":{\"x\":1},\"b\":{\"x\":1}}");
    accepted("[0,-0,1e2,1.50,1E+2,9007199254740991]", "[0,-0,100,1.5,100,9007199254740991]");
    accepted("[\"\\u00e9\\ud83d\\ude00\\n\\/\\u001f\"]", "[\"\xc3\xa9\xf0\x9f\x98\x80\\n/\\u001f\"]");
    accepted("\"\xf4\x8f\xbf\xbf\"", "\"\xf4\x8f\xbf\xbf\"");
    accepted("[[[[[[[[1]]]]]]]]", "[[[[[[[[1]]]]]]]]");
    accepted("{\"A\":1,\"a\":2}", "{\"A\":1,\"a\":2}");
}

static void test_refused_grammar(void **state)
{
    (void)state;
    REFUSED("", "", "t is empty");
    REFUSED(" \n ", "", "t is empty");
    REFUSED("\xef\xbb\xbf{}", "", "byte order mark");
    REFUSED("{} x", "", "line 1, column 4: \"x\" stands behind the end");
    REFUSED("{}{}", "", "behind the end");
    REFUSED("{\n\"a\": tru}", "a", "line 2, column 6: found \"tru\"");
    REFUSED("[NaN]", "[0]", "found \"NaN\"");
    REFUSED("[1,Infinity]", "[1]", "found \"Infinity\"");
    REFUSED("[-]", "[0]", "is not a JSON number");
    REFUSED("[-Infinity]", "[0]", "is not a JSON number");
    REFUSED("[+1]", "[0]", "found");
    REFUSED("[.5]", "[0]", "found");
    REFUSED("[1.]", "[0]", "digits must follow the decimal point");
    REFUSED("[1e]", "[0]", "digits must follow the exponent");
    REFUSED("[01]", "[0]", "does not begin with 0");
    REFUSED("[-01]", "[0]", "does not begin with 0");
    REFUSED("[0x10]", "[0]", "where a comma or ] must stand");
    REFUSED("{\"a\":{\"b\":1e400}}", "a.b", "1e400 is beyond the range of a double");
    REFUSED("{\"a\":[0e-400,-0.0,5e-324,-1e-324]}", "a[3]", "-1e-324 is beyond the range of a double");
    REFUSED("[-1e999]", "[0]", "beyond the range");
    REFUSED("[1,]", "[1]", "found \"]\"");
    REFUSED("[,1]", "[0]", "found \",1\"");
    REFUSED("{\"a\":1,}", "a", "where a key in double quotes must stand");
    REFUSED("{a:1}", "", "where a key in double quotes must stand");
    REFUSED("{'a':1}", "", "where a key in double quotes must stand");
    REFUSED("{\"a\" 1}", "a", "a colon must follow");
    REFUSED("{\"a\":}", "a", "found \"}\"");
    REFUSED("{\"a\":1", "a", "ends inside an object");
    REFUSED("[1", "[0]", "ends inside an array");
    REFUSED("[1 2]", "[0]", "where a comma or ] must stand");
    REFUSED("{\"a\":1]", "a", "where a comma or } must stand");
    REFUSED("{\"a", "", "ends inside a string");
    REFUSED("[\"\\", "[0]", "backslash");
    REFUSED("[\"\\x\"]", "[0]", "backslash");
    REFUSED("[\"\\u12g4\"]", "[0]", "four hexadecimal digits");
    REFUSED("[\"\\u0000\"]", "[0]", "\\u0000");
    REFUSED("[\"\\ud800\"]", "[0]", "without the second");
    REFUSED("[\"\\ud800\\u0041\"]", "[0]", "without the second");
    REFUSED("[\"\\udc00\"]", "[0]", "without the first");
    REFUSED("[\"a\nb\"]", "[0]", "control byte 0x0a");
    REFUSED("[\"a\0b\"]", "[0]", "control byte 0x00");
    REFUSED("[1]\0", "", "behind the end");
    REFUSED("// x\n1", "", "found \"//\"");
    REFUSED("[[[[[[[[[1]]]]]]]]]", "[0][0][0][0][0][0][0][0]", "nested deeper than 8 levels");
    REFUSED("[1234567890123456789012345678901234567890123456789012345678901234]", "[0]", "at most 63 are read");
}

static void test_refused_utf8(void **state)
{
    (void)state;
    REFUSED("[\"\xff\"]", "[0]", "byte 0xff is not valid UTF-8");
    REFUSED("\xff", "", "byte 0xff is not valid UTF-8");
    REFUSED("[\"\xc0\xaf\"]", "[0]", "not valid UTF-8");         /* overlong */
    REFUSED("[\"\xe0\x80\xaf\"]", "[0]", "not valid UTF-8");     /* overlong */
    REFUSED("[\"\xed\xa0\x80\"]", "[0]", "not valid UTF-8");     /* surrogate */
    REFUSED("[\"\xf4\x90\x80\x80\"]", "[0]", "not valid UTF-8"); /* beyond U+10FFFF */
    REFUSED("[\"\xf0\x80\x80\x80\"]", "[0]", "not valid UTF-8");
    REFUSED("[\"\xe2\x82", "[0]", "not valid UTF-8"); /* cut */
    REFUSED("[\"\x80\"]", "[0]", "not valid UTF-8");
    REFUSED("{\"\xc3\xa9\": x}", "??", "line 1, column 7");
}

static void test_duplicates(void **state)
{
    (void)state;
    REFUSED("{\"a\":1,\n \"a\":2}", "a",
            "line 2, column 2: the key \"a\" stands twice in one object (first at line 1, column 2)");
    REFUSED("{\"m\":{\"x\":1,\"y\":2,\"x\":3}}", "m.x", "column 19");
    REFUSED("{\"a\":1,\"\\u0061\":2}", "\\u0061", "stands twice");
    REFUSED("{\"\xc3\xa9\":1,\"\\u00e9\":2}", "\\u00e9", "stands twice");
    REFUSED("{\"\xf0\x9f\x98\x80\":1,\"\\ud83d\\ude00\":2}", "\\ud83d\\ude00", "stands twice");
    REFUSED("{\"\":1,\"\":2}", "", "stands twice");
    REFUSED("[{\"a\":1},{\"b\":{\"c\":[{\"k\":1,\"k\":2}]}}]", "[1].b.c[0].k", "stands twice");
}

static void test_large(void **state)
{
    const struct json_limits wide = {.max_bytes = 64 << 20, .max_depth = 1 << 30};
    size_t size = 10 << 20, used = 0;
    struct err err = {0};
    cJSON *item = NULL;
    char *text = malloc(size + 1);
    (void)state;
    assert_non_null(text);
    memset(text, '[', size);
    assert_int_equal(json_parse(text, size, &limits, "t", &item, &err), -ERR_TOO_LARGE);
    assert_non_null(strstr(err.message, "at most 1000"));
    assert_int_equal(json_parse(text, size, &wide, "t", &item, &err), -ERR_INVALID);
    assert_non_null(strstr(err.message, "nested deeper"));
    for (size_t i = 0; i + 5 <= size; i += 5)
        memcpy(text + i, "{\"a\":", 5);
    assert_int_equal(json_parse(text, size, &wide, "t", &item, &err), -ERR_INVALID);
    /* many keys in one object: sorted, not compared each with each */
    text[used++] = '{';
    for (int i = 0; i < 100000; i++)
        used += (size_t)sprintf(text + used, "\"k%d\":%d,", i, i);
    used += (size_t)sprintf(text + used, "\"k77777\":0}");
    assert_int_equal(json_parse(text, used, &wide, "t", &item, &err), -ERR_INVALID);
    assert_non_null(strstr(err.message, "\"k77777\" stands twice"));
    assert_null(item);
    free(text);
}

static void number_is(double value, const char *expected)
{
    char text[JSON_NUMBER_SIZE];
    json_number_text(value, text);
    assert_string_equal(text, expected);
}

static void test_number_text(void **state)
{
    char text[JSON_NUMBER_SIZE];
    (void)state;
    number_is(0.1, "0.1");
    number_is(1e-5, "1e-05");
    number_is(1.0 / 3, "0.3333333333333333");
    number_is(5e-324, "5e-324");
    number_is(9007199254740991.0, "9007199254740991");
    number_is(1e15, "1000000000000000");
    number_is(1e22, "1e+22");
    number_is(1.7976931348623157e308, "1.7976931348623157e+308");
    number_is(-0.0, "-0");
    number_is(NAN, "nan");
    number_is(INFINITY, "inf");
    number_is(-INFINITY, "-inf");
    json_number_text17(0.1, text);
    assert_string_equal(text, "0.10000000000000001");
    struct philox p;
    philox_init(&p, 1, "test", "numbers");
    for (int i = 0; i < 100000; i++) {
        union {
            uint64_t bits;
            double value;
        } x = {.bits = philox_u64(&p)};
        json_number_text(x.value, text);
        double back = strtod(text, NULL);
        if (isfinite(x.value))
            assert_memory_equal(&back, &x.value, sizeof back);
        assert_true(strlen(text) < JSON_NUMBER_SIZE);
    }
}

/* Through cJSON's own printer, which compares with a tolerance, and back. */
static void test_numbers_survive(void **state)
{
    struct philox p;
    (void)state;
    philox_init(&p, 2, "test", "numbers");
    cJSON *object = cJSON_CreateObject();
    double values[200], back;
    char key[16];
    for (int i = 0; i < 200; i++) {
        values[i] = i == 0 ? 9007199254740991.0 : philox_normal(&p) * pow(10, (double)philox_below(&p, 40) - 20);
        snprintf(key, sizeof key, "k%d", i);
        json_add_double(object, key, values[i]);
    }
    json_add_double(object, "nan", NAN);
    json_add_double(object, "inf", -INFINITY);
    char *printed = cJSON_PrintUnformatted(object), *ours = json_print(object, true);
    cJSON *again = cJSON_Parse(printed), *from_ours = cJSON_Parse(ours);
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_true(json_read_double(cJSON_GetObjectItem(object, key), &back) && back == values[i]);
        assert_true(json_read_double(cJSON_GetObjectItem(again, key), &back) && back == values[i]);
        assert_true(json_read_double(cJSON_GetObjectItem(from_ours, key), &back) && back == values[i]);
    }
    assert_true(json_read_double(cJSON_GetObjectItem(again, "nan"), &back) && isnan(back));
    assert_true(json_read_double(cJSON_GetObjectItem(again, "inf"), &back) && isinf(back) && back < 0);
    free(printed);
    free(ours);
    cJSON_Delete(object);
    cJSON_Delete(again);
    cJSON_Delete(from_ours);
}

static void test_integers(void **state)
{
    static const int64_t values[] = {0,
                                     1,
                                     -1,
                                     123456789012345,
                                     1000000000000000,
                                     (INT64_C(1) << 53) - 1,
                                     INT64_C(1) << 53,
                                     (INT64_C(1) << 53) + 1,
                                     INT64_MAX,
                                     INT64_MIN};
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        int64_t back = 0;
        cJSON *object = cJSON_CreateObject();
        json_add_int64(object, "v", values[i]);
        assert_true(json_read_int64(cJSON_GetObjectItem(object, "v"), &back) && back == values[i]);
        char *printed = cJSON_PrintUnformatted(object);
        assert_null(strchr(printed, '.'));
        cJSON *again = cJSON_Parse(printed);
        assert_true(json_read_int64(cJSON_GetObjectItem(again, "v"), &back) && back == values[i]);
        free(printed);
        cJSON_Delete(again);
        cJSON_Delete(object);
    }
    static const char *const bad[] = {
        "\"\"",  "\"-\"", "\"1x\"", "\"9223372036854775808\"", "\"-9223372036854775809\"", "1.5",
        "1e300", "true",  "null",   "\"99999999999999999999\""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t value = 7;
        cJSON *item = cJSON_Parse(bad[i]);
        assert_non_null(item);
        assert_false(json_read_int64(item, &value));
        assert_int_equal(value, 7);
        cJSON_Delete(item);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),        cmocka_unit_test(test_refused_grammar),
        cmocka_unit_test(test_refused_utf8),    cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_large),           cmocka_unit_test(test_number_text),
        cmocka_unit_test(test_numbers_survive), cmocka_unit_test(test_integers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
