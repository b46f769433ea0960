/* test_table.c: alignment by width on the screen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/table.h"

static void prints(const struct table *t, bool bold, const char *expected)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    table_print(t, out, bold);
    fclose(out);
    assert_string_equal(text, expected);
    free(text);
}

static void test_alignment(void **state)
{
    (void)state;
    struct table *t = table_create();
    prints(t, true, "");
    table_column(t, "name", TABLE_LEFT);
    table_column(t, "loss", TABLE_RIGHT);
    table_column(t, "note", TABLE_LEFT);
    prints(t, false, "name  loss  note\n");
    table_cell(t, "%s", "elephant");
    table_cell(t, "%.2f", 4.5);
    table_cell(t, "%s", "won");
    table_cell(t, "%s", "\xc3\xa9\xc3\xa9");
    table_cell(t, "%d", 12345);
    table_cell(t, NULL);
    prints(t, false,
           "name       loss  note\n"
           "elephant   4.50  won\n"
           "\xc3\xa9\xc3\xa9        12345  -\n");
    prints(t, true,
           "\033[1mname       loss  note\033[0m\n"
           "elephant   4.50  won\n"
           "\xc3\xa9\xc3\xa9        12345  -\n");
    table_destroy(t);
    table_destroy(NULL);
}

static void test_odd_cells(void **state)
{
    (void)state;
    struct table *t = table_create();
    table_column(t, "a", TABLE_RIGHT);
    table_column(t, "b", TABLE_RIGHT);
    table_cell(t, "%s", "x\033[2J\n");
    table_cell(t, "%s", "\xff\xc3");
    table_cell(t, "%s", ""); /* a row that ends early */
    prints(t, false,
           "     a   b\n"
           "x?[2J?  \xff\xc3\n"
           "\n");
    table_destroy(t);
}

static void test_wide_characters(void **state)
{
    (void)state;
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        skip();
    struct table *t = table_create();
    table_column(t, "k", TABLE_LEFT);
    table_column(t, "v", TABLE_LEFT);
    table_cell(t, "%s", "\xe8\xb1\xa1"); /* two columns wide */
    table_cell(t, "1");
    table_cell(t, "%s", "abc");
    table_cell(t, "2");
    prints(t, false,
           "k    v\n"
           "\xe8\xb1\xa1   1\n"
           "abc  2\n");
    table_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_alignment), cmocka_unit_test(test_odd_cells),
                                       cmocka_unit_test(test_wide_characters)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
