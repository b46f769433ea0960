/* test_output.c: JSON that survives, text that cannot drive a terminal, numbers for people. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>

#include "cli/output.h"

static char *json_text(const cJSON *item)
{
    char *text;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    output_json(stream, item);
    fclose(stream);
    return text;
}

static void test_json_is_exact(void **state)
{
    (void)state;
    cJSON *o = cJSON_CreateObject();
    cJSON_AddNumberToObject(o, "z", 1790000000000.0);
    cJSON_AddNumberToObject(o, "a", 0.1);
    cJSON_AddNumberToObject(o, "next", nextafter(0.1, 1));
    cJSON_AddNumberToObject(o, "nan", (double)NAN);
    cJSON_AddNumberToObject(o, "low", (double)-INFINITY);
    cJSON_AddNumberToObject(o, "minus", -7);
    cJSON_AddStringToObject(o, "s", "a\"\\\n\x01\xc3\xa9");
    cJSON_AddNullToObject(o, "n");
    cJSON *array = cJSON_AddArrayToObject(o, "l");
    cJSON_AddItemToArray(array, cJSON_CreateBool(1));
    cJSON_AddItemToArray(array, cJSON_CreateObject());
    char *text = json_text(o);
    assert_string_equal(text,
                        "{\"z\":1790000000000,\"a\":0.1,\"next\":0.10000000000000002,\"nan\":\"nan\",\"low\":\"-inf\","
                        "\"minus\":-7,\"s\":\"a\\\"\\\\\\n\\u0001\xc3\xa9\",\"n\":null,\"l\":[true,{}]}\n");
    free(text);
    cJSON_Delete(o);
}

static void test_text_is_harmless(void **state)
{
    (void)state;
    char *text;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    output_text(stream, "ok\n\t\033[2J\x7f\xc3\xa9\0.", 13);
    fclose(stream);
    assert_string_equal(text, "ok\n\t\\x1b[2J\\x7f\xc3\xa9\\x00.");
    free(text);
}

static void test_no_colour_off_a_terminal(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    assert_string_equal(output_style(file, STYLE_RED), "");
    fclose(file);
}

static void test_numbers_for_people(void **state)
{
    (void)state;
    static const struct {
        double n;
        const char *count, *bytes;
    } cases[] = {
        {0, "0", "0 B"},
        {999, "999", "999 B"},
        {1000, "1.00k", "1000 B"},
        {1023, "1.02k", "1023 B"},
        {1536, "1.54k", "1.50 KiB"},
        {99960, "100k", "97.6 KiB"},
        {999600, "1.00M", "976 KiB"},
        {4.29e6, "4.29M", "4.09 MiB"},
        {2147483648.0, "2.15G", "2.00 GiB"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[32];
        output_format_count(cases[i].n, out);
        assert_string_equal(out, cases[i].count);
        output_format_bytes(cases[i].n, out);
        assert_string_equal(out, cases[i].bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_is_exact),
        cmocka_unit_test(test_text_is_harmless),
        cmocka_unit_test(test_no_colour_off_a_terminal),
        cmocka_unit_test(test_numbers_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
