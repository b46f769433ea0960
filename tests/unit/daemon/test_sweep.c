/* Products, names, seeds; every wrong shape with the path that it is reported at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/err.h"
#include "daemon/sweep.h"

#define DATA "\"data\":{\"name\":\"kjv\"},\"model\":{\"dim\":32,\"layers\":2,\"heads\":2}"

static struct sweep_run *expand(const char *body, size_t *n)
{
    struct sweep_request r;
    struct sweep_run *runs;
    struct err err = {0};
    cJSON *root = cJSON_Parse(body);
    assert_non_null(root);
    if (sweep_parse(root, &r, &err) != 0 || sweep_expand(&r, &runs, &err) != 0)
        fail_msg("%s: %s: %s", body, err.path, err.message);
    *n = r.run_count;
    cJSON_Delete(root);
    return runs;
}

static void refuse(const char *body, const char *path, const char *part)
{
    struct sweep_request r;
    struct sweep_run *runs = NULL;
    struct err err = {0};
    cJSON *root = cJSON_Parse(body);
    assert_non_null(root);
    int rc = sweep_parse(root, &r, &err);
    if (rc == 0)
        rc = sweep_expand(&r, &runs, &err);
    if (rc == 0 || strcmp(err.path, path) != 0 || strstr(err.message, part) == NULL)
        fail_msg("%s: rc %d path \"%s\" message \"%s\"", body, rc, err.path, err.message);
    assert_null(runs);
    cJSON_Delete(root);
}

static void test_one(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\"spec\":{" DATA "}}", "run"},
        {"{\"spec\":{\"name\":\"mine\"," DATA "}}", "mine"},
        {"{\"spec\":{\"name\":\"mine\"," DATA "},\"name\":\"yours\"}", "yours"},
        {"{\"spec\":{" DATA "},\"name\":null,\"tags\":null,\"seeds\":1,\"sweep\":[],\"set\":[]}", "run"},
        {"{\"spec\":{" DATA "},\"sweep\":[{\"path\":\"train.batch\",\"values\":[\"4\"]}]}", "run"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n;
        struct sweep_run *runs = expand(cases[i][0], &n);
        assert_int_equal(n, 1);
        assert_string_equal(runs[0].name, cases[i][1]);
        assert_string_equal(runs[0].spec.name, cases[i][1]);
        free(runs);
    }
}

static void test_product(void **state)
{
    (void)state;
    size_t n;
    struct sweep_run *runs =
        expand("{\"spec\":{\"name\":\"e\"," DATA ",\"train\":{\"seed\":5}},\"seeds\":2,"
               "\"set\":[{\"path\":\"train.epochs\",\"text\":\"3\"},{\"path\":\"train.batch\",\"text\":\"6\"}],"
               "\"sweep\":[{\"path\":\"model.ffn.type\",\"values\":[\"gelu\",\"swiglu\"]},"
               "{\"path\":\"train.optimizer.lr\",\"values\":[\"1e-3\",\"0.5\",\"2e-4\"]}]}",
               &n);
    assert_int_equal(n, 12);
    assert_string_equal(runs[0].name, "e-gelu-lr1e-3-s5");
    assert_string_equal(runs[1].name, "e-gelu-lr1e-3-s6");
    assert_string_equal(runs[2].name, "e-gelu-lr0.5-s5");
    assert_string_equal(runs[11].name, "e-swiglu-lr2e-4-s6");
    for (size_t i = 0; i < n; i++) {
        assert_true(runs[i].spec.train.epochs == 3);
        assert_int_equal(runs[i].spec.train.batch, 6);
        assert_int_equal(runs[i].spec.train.seed, 5 + (int)(i % 2));
        assert_int_equal(runs[i].spec.model.ffn.type, i < 6 ? FFN_GELU : FFN_SWIGLU);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(runs[i].name, runs[k].name);
    }
    assert_true(runs[4].spec.train.optimizer.lr == 2e-4);
    free(runs);
}

static void test_long_names(void **state)
{
    (void)state;
    size_t n;
    struct sweep_run *runs = expand("{\"spec\":{" DATA "},\"name\":\"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg\","
                                    "\"sweep\":[{\"path\":\"train.batch\",\"values\":[\"2\",\"4\"]}]}",
                                    &n);
    assert_int_equal(strlen(runs[0].name), 64);
    assert_string_equal(runs[0].name + 64 - 7, "-batch2");
    assert_string_equal(runs[1].name + 64 - 7, "-batch4");
    assert_true(name_is_valid(runs[0].name));
    free(runs);
}

static void test_swept_names(void **state)
{
    (void)state;
    size_t n;
    struct sweep_run *runs = expand("{\"spec\":{\"name\":\"old\"," DATA "},\"sweep\":[{\"path\":\"name\",\"values\":[\"a\",\"b\"]}]}", &n);
    assert_int_equal(n, 2);
    assert_string_equal(runs[0].name, "a");
    assert_string_equal(runs[1].name, "b");
    free(runs);
    runs = expand("{\"spec\":{" DATA "},\"seeds\":2,\"sweep\":[{\"path\":\"train.batch\",\"values\":[\"2\"]},"
                  "{\"path\":\"name\",\"values\":[\"a\",\"b\"]}]}",
                  &n);
    assert_int_equal(n, 4);
    assert_string_equal(runs[3].name, "b-batch2-s2");
    free(runs);
    runs = expand("{\"spec\":{\"name\":\"old\"," DATA "},\"set\":[{\"path\":\"name\",\"text\":\"new\"}]}", &n);
    assert_string_equal(runs[0].name, "new");
    free(runs);
}

static void test_many(void **state)
{
    (void)state;
    size_t n;
    struct sweep_run *runs = expand("{\"spec\":{" DATA "},\"seeds\":10000}", &n);
    assert_int_equal(n, SUBMISSION_MAX_RUNS);
    assert_int_equal(runs[n - 1].spec.train.seed - runs[0].spec.train.seed, SUBMISSION_MAX_RUNS - 1);
    free(runs);
}

static void test_refused(void **state)
{
    (void)state;
    refuse("[]", "", "object");
    refuse("{}", "spec", "missing");
    refuse("{\"spec\":3}", "spec", "object");
    refuse("{\"spec\":{" DATA "},\"sweeps\":[]}", "sweeps", "unknown key");
    refuse("{\"spec\":{" DATA "},\"seeds\":0}", "seeds", "whole number");
    refuse("{\"spec\":{" DATA "},\"seeds\":1.5}", "seeds", "whole number");
    refuse("{\"spec\":{" DATA "},\"seeds\":10001}", "seeds", "whole number");
    refuse("{\"spec\":{" DATA "},\"seeds\":\"2\"}", "seeds", "whole number");
    refuse("{\"spec\":{" DATA "},\"name\":\"b12345\"}", "name", "id");
    refuse("{\"spec\":{\"name\":\"b00001\"," DATA "}}", "name", "id");
    refuse("{\"spec\":{" DATA "},\"name\":\"a/b\"}", "name", "name");
    refuse("{\"spec\":{" DATA "},\"name\":7}", "name", "string");
    refuse("{\"spec\":{" DATA "},\"request_id\":\"..\"}", "request_id", "letters");
    refuse("{\"spec\":{" DATA "},\"tags\":\"x\"}", "tags", "array");
    refuse("{\"spec\":{" DATA "},\"tags\":[\"ok\",\"not ok\"]}", "tags[1]", "name");
    refuse("{\"spec\":{" DATA "},\"tags\":[\"b00007\"]}", "tags[0]", "id");
    refuse("{\"spec\":{" DATA "},\"set\":[{\"path\":\"train.batch\"}]}", "set[0].text", "missing");
    refuse("{\"spec\":{" DATA "},\"set\":[{\"path\":\"a\",\"text\":\"b\",\"c\":1}]}", "set[0].c", "unknown");
    refuse("{\"spec\":{" DATA "},\"sweep\":[{\"path\":\"train.batch\",\"values\":[]}]}", "sweep[0].values", "at least one");
    refuse("{\"spec\":{" DATA "},\"sweep\":[{\"path\":\"train.batch\",\"values\":[1]}]}", "sweep[0].values", "strings");
    refuse("{\"spec\":{" DATA "},\"sweep\":[{\"path\":\"train.batch\",\"values\":[\"1\"]},{\"path\":\"train.batch\",\"values\":[\"2\"]}]}",
           "sweep[1]", "twice");
    refuse("{\"spec\":{" DATA "},\"sweep\":[{\"path\":\"train.batch\",\"values\":[\"8\",\"4\",\"9\",\"4\"]}]}", "sweep[0].values",
           "train.batch has the value 4 twice");
    refuse("{\"spec\":{" DATA "},\"sweep\":[{\"path\":\"train.optimizer.lr\",\"values\":[\"1e-3\",\"2e-3\",\"0.001\"]}]}",
           "sweep[0].values", "as 1e-3 and 0.001");
    refuse("{\"spec\":{" DATA "},\"sweep\":[{\"path\":\"name\",\"values\":[\"x\",\"x\"]}]}", "sweep[0].values", "name has");
    refuse("{\"spec\":{" DATA "},\"name\":\"z\",\"sweep\":[{\"path\":\"name\",\"values\":[\"x\",\"y\"]}]}", "name",
           "name is swept already");
    refuse("{\"spec\":{" DATA "},\"seeds\":2,\"sweep\":[{\"path\":\"train.seed\",\"values\":[\"1\",\"2\"]}]}", "seeds", "swept");
    refuse("{\"spec\":{" DATA "},\"seeds\":5000,\"sweep\":[{\"path\":\"train.batch\",\"values\":[\"1\",\"2\",\"4\"]}]}", "seeds",
           "more than");
    /* the spec's own errors keep the spec's path */
    refuse("{\"spec\":{" DATA ",\"train\":{\"batch\":0}}}", "train.batch", "");
    refuse("{\"spec\":{" DATA "},\"sweep\":[{\"path\":\"train.batch\",\"values\":[\"4\",\"-1\"]}]}", "train.batch", "");
    refuse("{\"spec\":{" DATA "},\"set\":[{\"path\":\"train.bach\",\"text\":\"4\"}]}", "train.bach", "batch");
}

static void test_ids(void **state)
{
    (void)state;
    assert_true(name_looks_like_id("b00001"));
    assert_true(name_looks_like_id("b1234567"));
    assert_false(name_looks_like_id("b1234"));
    assert_false(name_looks_like_id("b00001x"));
    assert_false(name_looks_like_id("a00001"));
    assert_false(name_looks_like_id("b"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one),  cmocka_unit_test(test_product), cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_swept_names),
        cmocka_unit_test(test_many), cmocka_unit_test(test_refused), cmocka_unit_test(test_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
