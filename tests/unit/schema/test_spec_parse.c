/* test_spec_parse.c: what a user sees for each kind of bad input, presets, rules and --set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/json.h"
#include "schema/spec.h"

static void refused_bytes(const char *text, size_t size, const char *path, const char *message)
{
    struct err err = {0};
    struct spec s;
    int rc = spec_parse(text, size, &s, &err);
    if (rc != -ERR_INVALID || strcmp(err.path, path) != 0 || !strstr(err.message, message))
        fail_msg("%s: %d [%s] %s", text, rc, err.path, err.message);
    assert_null(strchr(err.message, '\n'));
}

static void refused(const char *text, const char *path, const char *message)
{
    refused_bytes(text, strlen(text), path, message);
}

static struct spec parsed(const char *text)
{
    struct err err = {0};
    struct spec s;
    if (spec_parse(text, strlen(text), &s, &err) != 0)
        fail_msg("%s: %s", text, err.message);
    return s;
}

static void test_texts(void **state)
{
    (void)state;
    refused("", "", "the spec is empty");
    refused("[]", "", "must be a JSON object");
    refused("3", "", "must be a JSON object");
    refused("\"x\"", "", "must be a JSON object");
    refused("{}", "data.name", "data.name is missing");
    refused("{\"data\":{}}", "data.name", "data.name is missing");
    refused("{\"data\":{\"name\":\"\"}}", "data.name", "must be a name");
    refused("{\"data\":{\"name\":\"../etc\"}}", "data.name", "must be a name");
    refused("{\"data\":{\"name\":\"d\"}} {}", "", "line 1, column 23");
    refused("{\"data\":{\"name\":\"d\",\n\"name\":\"e\"}}", "data.name",
            "line 2, column 1: the key \"name\" stands twice");
    refused("{\"train\":{\"optimizer\":{\"lr\":1e400}}}", "train.optimizer.lr", "1e400 is beyond the range");
    refused("{\"train\":{\"clip\":1e-400}}", "train.clip", "1e-400 is beyond the range");
    refused("{\"train\":{\"clip\":NaN}}", "train.clip", "\"NaN\"");
    refused_bytes("{\"name\":\"\xff\"}", 12, "name", "not valid UTF-8");
    char deep[200];
    memset(deep, '[', sizeof deep);
    refused_bytes(deep, sizeof deep,
                  "[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]"
                  "[0][0][0]",
                  "nested deeper than 32 levels");
}

static void test_too_large(void **state)
{
    struct err err = {0};
    struct spec s;
    size_t size = 10 << 20;
    char *text = malloc(size);
    (void)state;
    assert_non_null(text);
    memset(text, '[', size);
    assert_int_equal(spec_parse(text, size, &s, &err), -ERR_TOO_LARGE);
    /* the largest text that is read, one key over all of it */
    memset(text, 'k', SPEC_MAX_BYTES);
    memcpy(text, "{\"", 2);
    memcpy(text + SPEC_MAX_BYTES - 4, "\":1}", 4);
    assert_int_equal(spec_parse(text, SPEC_MAX_BYTES, &s, &err), -ERR_INVALID);
    assert_non_null(strstr(err.message, "... is not a field"));
    free(text);
}

#define D "{\"data\":{\"name\":\"d\"},"

static void test_unknown_names(void **state)
{
    (void)state;
    refused(D "\"model\":{\"ffn\":{\"typo\":1}}}", "model.ffn.typo", "did you mean model.ffn.type?");
    refused(D "\"model\":{\"fnn\":{\"type\":1}}}", "model.fnn", "did you mean model.ffn?");
    refused(D "\"modle\":{}}", "modle", "did you mean model?");
    refused(D "\"train\":{\"lr\":1}}", "train.lr", "did you mean train.optimizer.lr?");
    refused(D "\"model\":{\"qqqqq\":1}}", "model.qqqqq", "model has preset, dim, layers");
    refused(D "\"qqqqq\":1}", "qqqqq", "a spec has name, data, model, memory, train, resources");
    refused(D "\"\":1}", "", "is not a field");
    refused(D "\"data.name\":\"d\"}", "data.name", "is not a field");
    refused(D "\"model\":{\"a\\nb\":1}}", "model.a?b", "model.a?b is not a field");
    refused(D "\"Model\":{}}", "Model", "did you mean model?");
    refused(D "\"model\":3}", "model", "model is a group of fields and must be an object");
    refused(D "\"model\":null}", "model", "must be an object");
    refused(D "\"model\":{\"ffn\":[]}}", "model.ffn", "must be an object");
    refused(D "\"model\":{\"dim\":{\"x\":1}}}", "model.dim", "is an object");
    refused(D "\"model\":{\"ffn\":{\"type\":\"elefant\"}}}", "model.ffn.type", "did you mean \"elephant\"?");
    refused(D "\"model\":{\"ffn\":{\"type\":\"lstm\"}}}", "model.ffn.type", "one of \"gelu\"");
    refused(D "\"memory\":{\"xl\":512}}", "memory.xl", "must be an object");
    refused(D "\"train\":{\"optimizer\":{\"type\":\"adam\"}}}", "train.optimizer.type",
            "one of \"adamw\", \"sgd\", \"lion\", \"muon\", \"lomo\", \"adalomo\"");
    refused(D "\"model\":{\"preset\":\"pythia\"}}", "model.preset", "did you mean \"pythia-14m\"?");
}

static void test_rules(void **state)
{
    (void)state;
    refused(D "\"model\":{\"dim\":130}}", "model.heads", "model.heads is 4 and model.dim is 130");
    refused(D "\"model\":{\"norms\":1,\"parallel_residual\":false}}", "model.norms",
            "needs model.parallel_residual true");
    refused("{\"data\":{\"name\":\"d\",\"order\":\"shuffle\"},\"memory\":{\"xl\":{\"len\":512}}}", "data.order",
            "data.order is shuffle and memory.xl.len is 512: a memory needs data.order \"stream\"");
    refused(D "\"memory\":{\"xl\":{\"eval_len\":9}}}", "memory.xl.eval_len", "no memory where memory.xl.len is 0");
    refused(D "\"memory\":{\"xl\":{\"eval_len\":9,\"len\":10}}}", "memory.xl.eval_len", "at least as long");
    refused(D "\"memory\":{\"xl\":{\"len\":10}},\"train\":{\"on_nonfinite\":\"skip\"}}", "train.on_nonfinite",
            "train.on_nonfinite is skip and memory.xl.len is 10");
    refused("{\"data\":{\"name\":\"d\",\"order\":\"shuffle\"},\"memory\":{\"rmt\":{\"tokens\":4}}}", "data.order",
            "data.order is shuffle and memory.rmt.tokens is 4");
    refused("{\"data\":{\"name\":\"d\",\"reset\":\"document\"},\"memory\":{\"rmt\":{\"tokens\":4}}}", "data.reset",
            "data.reset is document and memory.rmt.tokens is 4");
    refused(D "\"memory\":{\"rmt\":{\"bptt\":2}}}", "memory.rmt.bptt",
            "memory.rmt.bptt is 2 and memory.rmt.tokens is 0");
    refused(D "\"memory\":{\"rmt\":{\"tokens\":4,\"bptt\":3}}}", "memory.rmt.bptt",
            "memory.rmt.bptt is 3 and train.seq_len is 128");
    refused(D "\"memory\":{\"rmt\":{\"tokens\":4,\"bptt\":2},\"xl\":{\"len\":8}}}", "memory.rmt.bptt",
            "memory.rmt.bptt is 2 and memory.xl.len is 8");
    refused(D "\"memory\":{\"rmt\":{\"tokens\":4,\"bptt\":2},\"pause\":{\"tokens\":8}}}", "memory.rmt.bptt",
            "memory.rmt.bptt is 2 and memory.pause.tokens is 8");
    refused(D "\"memory\":{\"rmt\":{\"tokens\":4}},\"train\":{\"on_nonfinite\":\"skip\"}}", "train.on_nonfinite",
            "train.on_nonfinite is skip and memory.rmt.tokens is 4");
    refused(D "\"memory\":{\"rmt\":{\"tokens\":4}},\"train\":{\"init_from\":\"m\"}}", "train.init_from",
            "train.init_from is m and memory.rmt.tokens is 4");
    refused(D "\"memory\":{\"pause\":{\"tokens\":4}},\"train\":{\"init_from\":\"m\"}}", "train.init_from",
            "train.init_from is m and memory.pause.tokens is 4");
    refused(D "\"memory\":{\"pause\":{\"tokens\":129}}}", "memory.pause.tokens",
            "memory.pause.tokens is 129 and train.seq_len is 128");
    refused(D "\"model\":{\"bias\":false,\"ffn\":{\"elephant\":{\"bias_std\":1}}}}", "model.ffn.elephant.bias_std",
            "with model.bias true only");
    refused(D "\"model\":{\"ffn\":{\"type\":\"elephant_glu\",\"elephant\":{\"bias_std\":1}}}}",
            "model.ffn.elephant.bias_std", "of the plain elephant layer");
    refused(D "\"model\":{\"ffn\":{\"type\":\"sdpa\",\"match\":\"params\",\"sdpa\":{\"n\":64}}}}", "model.ffn.sdpa.n",
            "leave model.ffn.sdpa.n out");
    refused(D "\"model\":{\"ffn\":{\"type\":\"mini_moe\",\"mini_moe\":{\"units\":5}}}}", "model.ffn.mini_moe.units",
            "must be a multiple of model.ffn.mini_moe.units");
    refused(D "\"train\":{\"micro_batch\":9}}", "train.micro_batch", "at most train.batch");
    refused(D "\"train\":{\"precision\":\"bf16\"}}", "train.precision", "the CPU is fp32 only");
    refused(D "\"train\":{\"precision\":\"bf16\",\"device\":\"cpu\"}}", "train.precision", "the CPU is fp32 only");
    refused(D "\"train\":{\"warmup\":1.5}}", "train.warmup", "whole number of steps");
    refused(D "\"train\":{\"epochs\":0}}", "train.epochs", "must be above 0");
    assert_int_equal(parsed(D "\"train\":{\"epochs\":0,\"steps\":3}}").train.steps, 3);
    assert_true(parsed(D "\"train\":{\"epochs\":0,\"init_from\":\"m\"}}").train.epochs == 0);
    refused(D "\"train\":{\"eval_every\":1.5}}", "train.eval_every", "whole number of steps");
    refused(D "\"train\":{\"device\":\"cpu\"},\"resources\":{\"gpus\":1}}", "resources.gpus", "takes no GPU");
    refused(D "\"resources\":{\"gpu_memory\":1000}}", "resources.gpu_memory", "needs resources.gpus 1");
    struct spec s = parsed(D "\"train\":{\"device\":\"cuda\",\"precision\":\"bf16\"}}");
    assert_int_equal(s.resources.gpus, 1);
    s.resources.gpus = 0;
    struct err err = {0};
    assert_int_equal(spec_validate(&s, &err), -ERR_INVALID);
    assert_string_equal(err.path, "resources.gpus");
    assert_true(parsed(D "\"train\":{\"warmup\":3,\"micro_batch\":8,\"epochs\":0.5}}").train.epochs == 0.5);
}

static void test_forms_of_values(void **state)
{
    (void)state;
    struct spec s =
        parsed(D "\"model\":{\"dim\":256.0,\"layers\":2e0},\"train\":{\"micro_batch\":\"auto\",\"steps\":null,"
                 "\"optimizer\":{\"betas\":[0,0.5]},\"seed\":9007199254740991,\"min_lr_ratio\":-0.0}}");
    assert_int_equal(s.model.dim, 256);
    assert_int_equal(s.model.layers, 2);
    assert_int_equal(s.train.micro_batch, MICRO_BATCH_AUTO);
    assert_int_equal(s.train.steps, 0);
    assert_true(s.train.optimizer.betas[0] == 0 && s.train.optimizer.betas[1] == 0.5);
    assert_true(s.train.seed == INT64_C(9007199254740991));
    assert_true(!__builtin_signbit(s.train.min_lr_ratio));
    refused(D "\"train\":{\"seed\":9007199254740993}}", "train.seed", "must be an integer");
    refused(D "\"train\":{\"micro_batch\":0}}", "train.micro_batch", "or \"auto\"");
    refused(D "\"train\":{\"batch\":\"auto\"}}", "train.batch", "is \"auto\"");
    refused(D "\"train\":{\"optimizer\":{\"betas\":[0.9]}}}", "train.optimizer.betas", "an array of two numbers");
    refused(D "\"train\":{\"optimizer\":{\"betas\":[0.9,\"inf\"]}}}", "train.optimizer.betas",
            "an array of two numbers");
}

/* The type's defaults, whatever the order of the text; what the text says wins. */
static void test_optimizers(void **state)
{
    (void)state;
    struct spec s = parsed(D "\"train\":{\"optimizer\":{\"type\":\"lion\"}}}");
    assert_true(s.train.optimizer.lr == 1e-4 && s.train.optimizer.betas[1] == 0.99 && s.train.weight_decay == 1);
    s = parsed(D "\"train\":{\"weight_decay\":0.5,\"optimizer\":{\"lr\":0.3,\"type\":\"lion\"}}}");
    assert_true(s.train.optimizer.lr == 0.3 && s.train.optimizer.betas[1] == 0.99 && s.train.weight_decay == 0.5);
    s = parsed(D "\"train\":{\"optimizer\":{\"type\":\"muon\"}}}");
    assert_true(s.train.optimizer.lr == 0.02 && s.train.optimizer.momentum == 0.95);
    struct spec sgd = parsed(D "\"train\":{\"optimizer\":{\"type\":\"sgd\"}}}");
    s = parsed(D "\"train\":{\"optimizer\":{\"type\":\"lomo\"}}}");
    assert_true(s.train.micro_batch == s.train.batch);
    s.train.optimizer.type = OPTIMIZER_SGD; /* lomo's are sgd's: the same result */
    s.train.micro_batch = MICRO_BATCH_AUTO;
    assert_memory_equal(&s, &sgd, sizeof s);
    refused(D "\"train\":{\"micro_batch\":2,\"optimizer\":{\"type\":\"lomo\"}}}", "train.micro_batch",
            "lomo and adalomo need train.micro_batch equal to train.batch");
    refused(D "\"train\":{\"on_nonfinite\":\"skip\",\"optimizer\":{\"type\":\"adalomo\"}}}", "train.on_nonfinite",
            "only stop");
    refused(D "\"train\":{\"optimizer\":{\"momentum\":0.9}}}", "train.optimizer.momentum", "only sgd and muon");
    refused(D "\"train\":{\"optimizer\":{\"type\":\"muon\",\"momentum\":0}}}", "train.optimizer.momentum",
            "muon needs a momentum");
}

static void test_presets(void **state)
{
    (void)state;
    struct spec s = parsed(D "\"model\":{\"dim\":64,\"preset\":\"pythia-14m\"}}");
    assert_int_equal(s.model.preset, PRESET_PYTHIA_14M);
    assert_int_equal(s.model.dim, 64); /* the spec's own field wins, wherever it stands */
    assert_int_equal(s.model.layers, 6);
    assert_int_equal(s.model.d_ff, 512);
    assert_int_equal(s.model.vocab, 50304);
    assert_int_equal(parsed(D "\"model\":{\"preset\":\"pythia-14m\",\"vocab\":null}}").model.vocab, 0);
    s = parsed(D "\"model\":{\"preset\":\"pythia-160m\"}}");
    assert_true(s.model.dim == 768 && s.model.layers == 12 && s.model.heads == 12);
    s = parsed(D "\"model\":{\"preset\":\"pythia-70m\"}}");
    assert_true(s.model.dim == 512 && s.model.layers == 6 && s.model.heads == 8 && s.model.bias);
    s = parsed(D "\"model\":{\"preset\":\"bakanet\"}}");
    assert_true(s.model.norms == 1 && !s.model.bias && s.model.rotary_pct == 1 && s.model.vocab == 50277);
    assert_int_equal(s.train.seq_len, 128); /* model fields only */
    assert_int_equal(parsed(D "\"model\":{\"preset\":null}}").model.dim, 128);
}

static void set_refused(cJSON *object, const char *path, const char *text, const char *message)
{
    struct err err = {0};
    char *before = json_canonical(object);
    int rc = spec_set_text(object, path, text, &err);
    if (rc != -ERR_INVALID || !strstr(err.message, message))
        fail_msg("%s=%s: %d [%s] %s", path, text, rc, err.path, err.message);
    char *after = json_canonical(object);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void test_set(void **state)
{
    struct err err = {0};
    (void)state;
    cJSON *object = cJSON_Parse("{\"data\":{\"name\":\"d\"},\"resources\":3}");
    static const char *const settings[][2] = {
        {"model.ffn.elephant.d", "4"},
        {"model.ffn.type", "elephant"},
        {"train.optimizer.lr", "3e-4"},
        {"model.ffn.elephant.d", "6"},
        {"train.optimizer.betas", "0.8,0.9"},
        {"train.optimizer.betas", "[0.9, 0.99]"},
        {"train.micro_batch", "auto"},
        {"train.steps", "null"},
        {"model.bias", "false"},
        {"name", "x"},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        assert_int_equal(spec_set_text(object, settings[i][0], settings[i][1], &err), 0);
    set_refused(object, "model.ffn.type", "elephan", "did you mean \"elephant\"?");
    set_refused(object, "model.ffn", "elephant", "is a group of fields");
    set_refused(object, "model.ffn.typ", "gelu", "did you mean model.ffn.type?");
    set_refused(object, "", "1", "is not a field");
    set_refused(object, "model.ffn.type.x", "1", "is not a field");
    set_refused(object, "train.optimizer.lr", "", "is empty; it must be");
    set_refused(object, "train.optimizer.lr", "0x10", "must be a number");
    set_refused(object, "train.optimizer.lr", "1e400", "lr is 1e400 (beyond what a double holds); it must be a number");
    set_refused(object, "train.epochs", "1.70e308", "epochs is 1.70e308; it must be a number from 0 to 1000000");
    set_refused(object, "train.clip", "1e-400", "clip is 1e-400 (beyond what a double holds); it must be a number");
    set_refused(object, "train.optimizer.betas", "0.9,1e0", "betas is 0.9,1e0; it must be");
    set_refused(object, "train.seed", "01", "seed is 01; it must be an integer");
    set_refused(object, "train.clip", "-00.5", "clip is -00.5; it must be");
    set_refused(object, "train.optimizer.lr", "1 ", "must be a number");
    set_refused(object, "train.optimizer.lr", "nan", "must be a number");
    set_refused(object, "train.batch", "3.5", "must be an integer");
    set_refused(object, "train.batch", "null", "must be an integer");
    set_refused(object, "model.bias", "1", "true or false");
    set_refused(object, "train.optimizer.betas", "0.9", "array of two");
    set_refused(object, "train.optimizer.betas", "0.9,0.9,0.9", "array of two");
    set_refused(object, "resources.cpus", "2", "resources is a group of fields and must be an object");
    char *text = json_canonical(object);
    assert_string_equal(text,
                        "{\"data\":{\"name\":\"d\"},\"model\":{\"bias\":false,\"ffn\":{\"elephant\":{\"d\":6},"
                        "\"type\":\"elephant\"}},\"name\":\"x\",\"resources\":3,\"train\":{\"micro_batch\":\"auto\","
                        "\"optimizer\":{\"betas\":[0.9,0.99],\"lr\":0.0003},\"steps\":null}}");
    free(text);
    cJSON_Delete(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts), cmocka_unit_test(test_too_large),       cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_rules), cmocka_unit_test(test_presets),         cmocka_unit_test(test_optimizers),
        cmocka_unit_test(test_set),   cmocka_unit_test(test_forms_of_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
