/* Foreign curves: what is tolerated, and that each error names its line. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/err.h"
#include "cli/curve_csv.h"

static void parse_good(const char *text, struct curve_csv *out)
{
    struct err err = {0};
    int rc = curve_csv_parse(text, strlen(text), "f.csv", out, &err);
    if (rc)
        fail_msg("%s", err.message);
}

static void expect_error(const char *text, const char *part)
{
    struct err err = {0};
    struct curve_csv csv = {0};
    assert_int_equal(curve_csv_parse(text, strlen(text), "f.csv", &csv, &err), -ERR_INVALID);
    if (!strstr(err.message, part))
        fail_msg("\"%s\" is not in \"%s\"", part, err.message);
    assert_null(csv.rows);
}

static void test_plain(void **state)
{
    (void)state;
    struct curve_csv csv;
    parse_good("step,epoch,tokens,loss,val_loss\n1,0.5,1024,5.5451774444795623,\n2,1,2048,nan,4.25\n", &csv);
    assert_int_equal(csv.count, 2);
    assert_true(csv.rows[0].step == 1 && csv.rows[0].tokens == 1024 && csv.rows[0].epoch == 0.5);
    assert_true(csv.rows[0].loss == 5.5451774444795623 && !csv.rows[0].has_val_loss);
    assert_true(isnan(csv.rows[1].loss) && csv.rows[1].has_val_loss && csv.rows[1].val_loss == 4.25);
    assert_string_equal(csv.ignored, "");
    curve_csv_finish(&csv);
}

static void test_tolerated(void **state)
{
    (void)state;
    struct curve_csv csv;
    parse_good("\xef\xbb\xbf\"loss\", \"lr\" ,tokens,\"epoch\",step\r\n"
               "\r\n"
               "\"2.5\",1e-3, 1e6 ,\"0.25\",10.0\r\n"
               "   \r\n"
               "-Infinity,,2000000,0.5,20\r\n"
               "NaN,,2000000,0.5,21",
               &csv);
    assert_int_equal(csv.count, 3);
    assert_true(csv.rows[0].step == 10 && csv.rows[0].tokens == 1000000 && csv.rows[0].loss == 2.5);
    assert_true(isinf(csv.rows[1].loss) && csv.rows[1].loss < 0 && isnan(csv.rows[2].loss) && csv.rows[1].step == 20);
    assert_string_equal(csv.ignored, "lr");
    curve_csv_finish(&csv);
}

#define HEADER "step,epoch,tokens,loss\n"

static void test_errors(void **state)
{
    (void)state;
    expect_error("", "f.csv is empty");
    expect_error("\n \n", "f.csv is empty");
    expect_error("step,epoch,loss\n1,1,1\n", "f.csv:1: the header has no column 'tokens'");
    expect_error("1,0,1,2\n", "f.csv:1: the header has no column 'step'");
    expect_error(HEADER, "no rows");
    expect_error("step,step,epoch,tokens,loss\n", "f.csv:1: the column 'step' stands there twice");
    expect_error(HEADER "1,0,1,2\n\n1,0,2,2\n", "f.csv:4: column 'step': 1 follows 1: steps have to ascend");
    expect_error(HEADER "2,0,1,2\r\n1,0,2,2\r\n", "f.csv:3: column 'step': 1 follows 2");
    expect_error(HEADER "1,0,9,2\n2,0,8,2\n", "f.csv:3: column 'tokens': 8 follows 9: tokens must not fall");
    expect_error(HEADER "1,0.5,1,2\n2,0.25,1,2\n", "f.csv:3: column 'epoch': 0.25 follows 0.5");
    expect_error(HEADER "1,0,1\n", "f.csv:2: fewer cells");
    expect_error(HEADER "1,0,1,2,3\n", "f.csv:2: more cells");
    expect_error(HEADER "1.5,0,1,2\n",
                 "f.csv:2: column 'step': a whole number from 0 to 9007199254740991 is needed, not \"1.5\"");
    expect_error(HEADER "-1,0,1,2\n", "f.csv:2: column 'step'");
    expect_error(HEADER "99999999999999999999,0,1,2\n", "f.csv:2: column 'step'");
    expect_error(HEADER ",0,1,2\n",
                 "f.csv:2: column 'step': a whole number from 0 to 9007199254740991 is needed, and it is empty");
    expect_error(HEADER "1,nan,1,2\n", "f.csv:2: column 'epoch'");
    expect_error(HEADER "1,0,1,abc\n",
                 "f.csv:2: column 'loss': a number that a double holds, nan, inf or -inf is needed, not \"abc\"");
    expect_error(HEADER "1,0,1,\n",
                 "f.csv:2: column 'loss': a number that a double holds, nan, inf or -inf is needed, and it is empty");
    expect_error(HEADER "1,0,1,1e400\n", "f.csv:2: column 'loss'");
    expect_error(HEADER "1,0,1,1e-400\n", "f.csv:2: column 'loss'");
    expect_error(HEADER "1,0,1,0x10\n", "f.csv:2: column 'loss'");
    expect_error(HEADER "1,0,1,nan(7)\n", "f.csv:2: column 'loss'");
    expect_error("step,epoch,tokens,loss,val_loss\n1,0,1,2,-1e400\n", "f.csv:2: column 'val_loss'");
    expect_error(HEADER "1,0,1,\"2\n", "f.csv:2: a quote is not closed");
    expect_error(HEADER "1,0,1,\"2\"3\n", "f.csv:2: text follows a closing quote");
}

static void test_nul_and_long(void **state)
{
    (void)state;
    struct err err = {0};
    struct curve_csv csv = {0};
    const char nul[] = "step,epoch,tokens,loss\n1,0,1,2\0\n";
    assert_int_equal(curve_csv_parse(nul, sizeof nul - 1, "f.csv", &csv, &err), -ERR_INVALID);
    assert_non_null(strstr(err.message, "f.csv:2: a NUL byte"));
    char *garbage = malloc(100000);
    memset(garbage, 'x', 100000);
    assert_int_equal(curve_csv_parse(garbage, 100000, "f.csv", &csv, &err), -ERR_INVALID);
    memset(garbage, ',', 100000);
    assert_int_equal(curve_csv_parse(garbage, 100000, "f.csv", &csv, &err), -ERR_INVALID);
    free(garbage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_tolerated),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_nul_and_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
