/* Jobs: their keys, ranges and canonical text, and what of them contradicts a model's spec. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "schema/job.h"
#include "schema/spec.h"

static struct err err;

static struct job parsed(const char *text)
{
    struct job j;
    if (job_parse(text, strlen(text), &j, &err) != 0)
        fail_msg("%s: %s: %s", text, err.path, err.message);
    return j;
}

static void refused(const char *text, const char *path, const char *word)
{
    struct job j;
    err = (struct err){0};
    assert_int_equal(job_parse(text, strlen(text), &j, &err), -ERR_INVALID);
    assert_string_equal(err.path, path);
    if (!strstr(err.message, word))
        fail_msg("\"%s\" does not say \"%s\"", err.message, word);
}

/* Printed and read again it is the same text. */
static void goes_round(const char *text, const char *canonical)
{
    struct job j = parsed(text), again;
    char *once = job_print(&j);
    assert_string_equal(once, canonical);
    again = parsed(once);
    char *twice = job_print(&again);
    assert_string_equal(twice, once);
    free(once);
    free(twice);
    job_finish(&j);
    job_finish(&again);
}

static void test_goes_round(void **state)
{
    (void)state;
    goes_round("{\"kind\":\"eval\",\"source\":\"b00012\",\"data\":\"kjv\"}",
               "{\"cpu\":false,\"data\":\"kjv\",\"kind\":\"eval\",\"memory\":0,\"source\":\"b00012\",\"split\":\"val\","
               "\"tokens_per_epoch\":0,\"windowing\":\"disjoint\"}");
    goes_round(
        "{\"source\":\"b00012\",\"kind\":\"eval\",\"data\":\"kjv\",\"windowing\":\"sliding:64\",\"memory\":512,"
        "\"split\":\"train\",\"cpu\":true,\"tokens_per_epoch\":9007199254740991}",
        "{\"cpu\":true,\"data\":\"kjv\",\"kind\":\"eval\",\"memory\":512,\"source\":\"b00012\",\"split\":\"train\","
        "\"tokens_per_epoch\":9007199254740991,\"windowing\":\"sliding:64\"}");
    goes_round(
        "{\"kind\":\"sample\",\"source\":\"b00012\",\"ids\":[0,2147483647],\"temperature\":0.1,\"prompt\":\"a\","
        "\"stop\":null,\"seed\":\"9223372036854775807\"}",
        "{\"cpu\":false,\"ids\":[0,2147483647],\"kind\":\"sample\",\"prompt\":\"a\",\"seed\":"
        "\"9223372036854775807\",\"source\":\"b00012\",\"stop\":-1,\"temperature\":0.1,\"tokens\":200,\"top_k\":0,"
        "\"top_p\":1,\"vocab\":0}");
}

#define EVAL "{\"kind\":\"eval\",\"source\":\"b00012\",\"data\":\"kjv\""
#define SAMPLE "{\"kind\":\"sample\",\"source\":\"b00012\",\"ids\":[1]"

static void test_refuses(void **state)
{
    (void)state;
    refused("[]", "", "is a JSON object");
    refused("{}", "kind", "eval");
    refused("{\"kind\":\"train\"}", "kind", "eval");
    refused("{\"kind\":\"eval\",\"data\":\"kjv\"}", "source", "missing");
    refused("{\"kind\":\"eval\",\"source\":\"b00012\",\"data\":null}", "data", "missing");
    refused("{\"kind\":\"sample\",\"source\":\"b00012\"}", "ids", "missing");
    refused(EVAL ",\"tokens\":5}", "tokens", "unknown key of a job of kind eval");
    refused(SAMPLE ",\"data\":\"kjv\"}", "data", "unknown key of a job of kind sample");
    refused("{\"kind\":\"eval\",\"source\":\"b00012\",\"data\":\"../kjv\"}", "data", "a name");
    refused(EVAL ",\"split\":\"test\"}", "split", "train");
    refused(EVAL ",\"windowing\":\"sliding:0\"}", "windowing", "sliding:STRIDE");
    refused(EVAL ",\"windowing\":\"sliding:07\"}", "windowing", "sliding:STRIDE");
    refused(EVAL ",\"windowing\":\"sliding:7 \"}", "windowing", "sliding:STRIDE");
    refused(EVAL ",\"windowing\":8}", "windowing", "sliding:STRIDE");
    refused(EVAL ",\"memory\":-1}", "memory", "from 0 to 1048576");
    refused(EVAL ",\"memory\":1048577}", "memory", "from 0 to 1048576");
    refused(EVAL ",\"memory\":1.5}", "memory", "from 0 to 1048576");
    refused(EVAL ",\"cpu\":1}", "cpu", "true or false");
    refused(SAMPLE ",\"tokens\":0}", "tokens", "from 1");
    refused(SAMPLE ",\"temperature\":-0.1}", "temperature", "from 0 to 1000");
    refused(SAMPLE ",\"temperature\":\"nan\"}", "temperature", "from 0 to 1000");
    refused(SAMPLE ",\"top_p\":1.01}", "top_p", "from 0 to 1");
    refused(SAMPLE ",\"seed\":-1}", "seed", "at least 0");
    refused("{\"kind\":\"sample\",\"source\":\"b00012\",\"ids\":[]}", "ids", "1 to");
    refused("{\"kind\":\"sample\",\"source\":\"b00012\",\"ids\":[1,-1]}", "ids", "entry 1");
    refused("{\"kind\":\"sample\",\"source\":\"b00012\",\"ids\":[1,2,2147483648]}", "ids", "entry 2");
}

static struct spec spec_of(const char *text)
{
    struct spec s;
    if (spec_parse(text, strlen(text), &s, &err) != 0)
        fail_msg("%s", err.message);
    return s;
}

static void contradicts(const char *job, const struct spec *s, const char *path, const char *word)
{
    struct job j = parsed(job);
    err = (struct err){0};
    assert_int_equal(job_check(&j, s, &err), -ERR_INVALID);
    assert_string_equal(err.path, path);
    if (!strstr(err.message, word))
        fail_msg("\"%s\" does not say \"%s\"", err.message, word);
    job_finish(&j);
}

static void agrees(const char *job, const struct spec *s)
{
    struct job j = parsed(job);
    if (job_check(&j, s, &err) != 0)
        fail_msg("%s: %s", job, err.message);
    job_finish(&j);
}

static void test_beside_a_spec(void **state)
{
    (void)state;
    struct spec plain = spec_of("{\"data\":{\"name\":\"d\"},\"train\":{\"seq_len\":64}}");
    struct spec xl = spec_of("{\"data\":{\"name\":\"d\"},\"train\":{\"seq_len\":64},\"memory\":{\"xl\":{\"len\":40}}}");
    struct spec pause =
        spec_of("{\"data\":{\"name\":\"d\"},\"train\":{\"seq_len\":64},\"memory\":{\"pause\":{\"tokens\":4}}}");
    agrees(EVAL ",\"windowing\":\"sliding:64\"}", &plain);
    contradicts(EVAL ",\"windowing\":\"sliding:65\"}", &plain, "windowing", "at most train.seq_len, 64");
    agrees(EVAL ",\"windowing\":\"sliding:63\"}", &pause);
    agrees(EVAL ",\"windowing\":\"sliding:64\"}", &xl);
    contradicts(EVAL ",\"windowing\":\"sliding:63\"}", &xl, "windowing", "memory.xl.len");
    agrees(EVAL ",\"memory\":40}", &xl);
    agrees(EVAL ",\"memory\":4000}", &xl);
    contradicts(EVAL ",\"memory\":39}", &xl, "memory", "at least memory.xl.len, 40");
    contradicts(EVAL ",\"memory\":40}", &plain, "memory", "memory.xl.len is 0");
    agrees(SAMPLE "}", &plain);
    contradicts(SAMPLE "}", &xl, "memory.xl.len", "cannot be sampled");
    contradicts(SAMPLE "}", &pause, "memory.pause.tokens", "cannot be sampled");
    agrees(EVAL ",\"cpu\":true}", &xl);
    xl.train.precision = PRECISION_BF16;
    contradicts(EVAL ",\"cpu\":true}", &xl, "memory.xl.len", "bf16");
}

static void test_adapts_a_spec(void **state)
{
    (void)state;
    struct spec s = spec_of("{\"data\":{\"name\":\"d\"},\"train\":{\"device\":\"cuda\",\"precision\":\"bf16\"},"
                            "\"memory\":{\"xl\":{\"len\":40}},\"resources\":{\"gpus\":1,\"time\":60}}");
    struct job j = parsed(EVAL ",\"memory\":90}");
    job_adapt_spec(&j, &s);
    assert_int_equal(s.memory.xl.eval_len, 90);
    assert_int_equal(s.memory.xl.len, 40);
    assert_int_equal(s.resources.gpus, 1);
    assert_true(s.resources.time == 0);
    assert_int_equal(s.train.precision, PRECISION_BF16);
    j.cpu = true;
    j.memory = 0;
    job_adapt_spec(&j, &s);
    assert_int_equal(s.memory.xl.eval_len, 90);
    assert_int_equal(s.resources.gpus, 0);
    assert_int_equal(s.train.device, DEVICE_CPU);
    assert_int_equal(s.train.precision, PRECISION_FP32);
    assert_int_equal(spec_validate(&s, &err), 0);
    job_finish(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goes_round),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_beside_a_spec),
        cmocka_unit_test(test_adapts_a_spec),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
