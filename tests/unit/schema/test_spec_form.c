/* test_spec_form.c: the canonical form and its hash: what must change it and what must not; diff; the generated schema.
 */
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

static struct spec parsed(const char *text)
{
    struct err err = {0};
    struct spec s;
    if (spec_parse(text, strlen(text), &s, &err) != 0)
        fail_msg("%s: %s", text, err.message);
    return s;
}

static void hash_of(const char *text, char hex[SHA256_HEX_SIZE])
{
    struct spec s = parsed(text);
    spec_hash(&s, hex);
}

static void same_hash(const char *a, const char *b)
{
    char first[SHA256_HEX_SIZE], second[SHA256_HEX_SIZE];
    hash_of(a, first);
    hash_of(b, second);
    assert_string_equal(first, second);
}

#define MINIMAL "{\"data\":{\"name\":\"d\"}}"
#define D "{\"data\":{\"name\":\"d\"},"

static void test_canonical_text(void **state)
{
    (void)state;
    struct spec s = parsed(MINIMAL);
    char *text = spec_canonical(&s), hex[SHA256_HEX_SIZE], expected[SHA256_HEX_SIZE];
    /* pinned: a change here makes every stored hash another */
    assert_string_equal(
        text,
        "{\"data\":{\"name\":\"d\",\"order\":\"shuffle\",\"reset\":\"epoch\"},"
        "\"memory\":{\"pause\":{\"mode\":\"drop\",\"tokens\":0},\"rmt\":{\"bptt\":1,\"tokens\":0},\"xl\":{\"eval_len\":"
        "null,\"len\":0}},\"model\":{"
        "\"bias\":true,\"d_ff\":512,"
        "\"dim\":128,\"ffn\":{\"elephant\":{\"a\":1,\"bias_std\":0,\"d\":8,\"learnable\":false,\"pre_norm\":false},"
        "\"gelu\":\"erf\",\"match\":\"none\",\"mini_moe\":{\"gate\":\"scalar\",\"units\":4},\"sdpa\":{\"n\":null},"
        "\"type\":\"gelu\"},"
        "\"heads\":4,\"layers\":4,\"norm\":\"layernorm\",\"norms\":2,\"parallel_residual\":true,\"rotary_base\":10000,"
        "\"rotary_pct\":0.25,\"tie_embeddings\":false,\"vocab\":null},\"train\":{\"batch\":8,\"clip\":1,\"epochs\":1,"
        "\"init_from\":null,"
        "\"min_lr_ratio\":0.1,\"on_nonfinite\":\"stop\",\"optimizer\":{\"betas\":[0.9,0.95],\"eps\":1e-08,\"lr\":0.001,"
        "\"type\":\"adamw\"},\"precision\":\"fp32\",\"schedule\":\"cosine\",\"seed\":1,\"seq_len\":128,\"steps\":null,"
        "\"warmup\":0.01,\"weight_decay\":0.1},\"version\":1}");
    spec_hash(&s, hex);
    sha256_hex(text, strlen(text), expected);
    assert_string_equal(hex, expected);
    free(text);
}

static void test_same_experiment(void **state)
{
    (void)state;
    same_hash(MINIMAL, " { \"data\" : { \"name\" : \"d\" } }\n");
    same_hash(D "\"model\":{\"dim\":64,\"heads\":2}}",
              "{\"model\":{\"heads\":2.0,\"dim\":64},\"data\":{\"name\":\"d\"}}");
    same_hash(D "\"train\":{\"optimizer\":{\"lr\":1e-3}}}", D "\"train\":{\"optimizer\":{\"lr\":0.001}}}");
    same_hash(MINIMAL, D "\"model\":{\"d_ff\":512}}");
    same_hash(MINIMAL, D "\"train\":{\"clip\":1.0,\"min_lr_ratio\":1e-1}}");
    same_hash(D "\"train\":{\"min_lr_ratio\":0}}", D "\"train\":{\"min_lr_ratio\":-0.0}}");
    same_hash(D "\"memory\":{\"xl\":{\"len\":64}}}",
              "{\"data\":{\"name\":\"d\",\"order\":\"stream\"},\"memory\":{\"xl\":{\"len\":64,\"eval_len\":64}}}");
    /* fields that change no loss */
    same_hash(MINIMAL, D "\"name\":\"x\",\"resources\":{\"cpus\":2,\"time\":60},\"train\":{\"eval_every\":5,"
                         "\"checkpoint_every\":7,\"device\":\"cpu\",\"micro_batch\":2}}");
    /* fields younger than the form are in it where they say something: the pinned text above has none of them */
    char without[SHA256_HEX_SIZE], with[SHA256_HEX_SIZE];
    hash_of(D "\"train\":{\"schedule\":\"wsd\"}}", without);
    hash_of(D "\"train\":{\"schedule\":\"wsd\",\"cooldown\":0.3}}", with);
    assert_string_not_equal(with, without);
    /* a preset is what it sets */
    same_hash(D "\"model\":{\"preset\":\"pythia-14m\"}}", D "\"model\":{\"layers\":6,\"vocab\":50304,\"d_ff\":512}}");
}

/* Each default written out, one at a time and all together. */
static void test_defaults_written_out(void **state)
{
    struct err err = {0};
    char base[SHA256_HEX_SIZE], hex[SHA256_HEX_SIZE];
    (void)state;
    hash_of(MINIMAL, base);
    cJSON *all = cJSON_Parse(MINIMAL);
    for (int i = 0; i < spec_field_count; i++) {
        const struct spec_field *f = &spec_fields[i];
        if (f->flags & FIELD_NEEDED)
            continue;
        cJSON *one = cJSON_Parse(MINIMAL);
        struct spec s;
        assert_int_equal(spec_set_text(one, f->path, f->fallback ? f->fallback : "null", &err), 0);
        assert_int_equal(spec_set_text(all, f->path, f->fallback ? f->fallback : "null", &err), 0);
        assert_int_equal(spec_from_json(one, &s, &err), 0);
        spec_hash(&s, hex);
        assert_string_equal(hex, base);
        assert_int_equal(spec_from_json(all, &s, &err), 0);
        spec_hash(&s, hex);
        assert_string_equal(hex, base);
        cJSON_Delete(one);
    }
    cJSON_Delete(all);
}

struct differences {
    int count;
    char path[64], a[64], b[64];
};

static void on_difference(void *arg, const char *path, const char *a, const char *b)
{
    struct differences *d = arg;
    d->count++;
    snprintf(d->path, sizeof d->path, "%s", path);
    snprintf(d->a, sizeof d->a, "%s", a);
    snprintf(d->b, sizeof d->b, "%s", b);
}

/* Another value for every field: the hash changes exactly where the table says so, and diff names the field. */
static void test_each_field_and_the_hash(void **state)
{
    struct err err = {0};
    char base[SHA256_HEX_SIZE], hex[SHA256_HEX_SIZE];
    (void)state;
    struct spec minimal = parsed(MINIMAL);
    spec_hash(&minimal, base);
    for (int i = 0; i < spec_field_count; i++) {
        const struct spec_field *f = &spec_fields[i];
        if (f->type == FIELD_WORD && !f->words[1])
            continue;
        const char *other = f->type == FIELD_NAME   ? "other"
                            : f->type == FIELD_PAIR ? "0.5,0.6"
                            : f->type == FIELD_BOOL ? (strcmp(f->fallback, "true") == 0 ? "false" : "true")
                            : f->type == FIELD_WORD ? f->words[strcmp(f->words[0], f->fallback) == 0]
                                                    : "0.5";
        char integer[8];
        if (f->type == FIELD_INTEGER) {
            snprintf(integer, sizeof integer, "%d", f->fallback && strcmp(f->fallback, "1") == 0 ? 2 : 1);
            other = integer;
        } else if (f->type == FIELD_NUMBER && f->min >= 1) {
            other = "2";
        }
        struct spec s = minimal;
        struct differences d = {0};
        assert_int_equal(spec_value_from_text(f, other, &s, &err), 0);
        spec_hash(&s, hex);
        if (f->flags & FIELD_RESULT)
            assert_string_not_equal(hex, base);
        else
            assert_string_equal(hex, base);
        spec_diff(&minimal, &s, on_difference, &d);
        assert_int_equal(d.count, 1);
        assert_string_equal(d.path, f->path);
        assert_string_equal(d.b, other);
        spec_diff(&s, &s, on_difference, &d);
        assert_int_equal(d.count, 1);
    }
}

static void test_whole_json(void **state)
{
    struct err err = {0};
    (void)state;
    struct spec s = parsed(D "\"name\":\"n\",\"model\":{\"preset\":\"bakanet\",\"rotary_pct\":0.30000000000000004},"
                             "\"train\":{\"device\":\"cuda\",\"seed\":9007199254740991,\"steps\":77,"
                             "\"optimizer\":{\"betas\":[0.1234567890123456,0.9]}},\"resources\":{\"time\":0.1}}");
    cJSON *json = spec_to_json(&s);
    struct spec again;
    assert_int_equal(spec_from_json(json, &again, &err), 0);
    assert_memory_equal(&s, &again, sizeof s);
    char *texts[] = {json_print(json, true), json_canonical(json), cJSON_Print(json)};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        memset(&again, 0, sizeof again);
        assert_int_equal(spec_parse(texts[i], strlen(texts[i]), &again, &err), 0);
        assert_memory_equal(&s, &again, sizeof s);
        free(texts[i]);
    }
    cJSON_Delete(json);
}

static void test_get(void **state)
{
    struct err err = {0};
    char text[64] = "kept";
    (void)state;
    struct spec s = parsed(MINIMAL);
    assert_int_equal(spec_get_text(&s, "train.optimizer.betas", text, sizeof text, &err), 0);
    assert_string_equal(text, "0.9,0.95");
    assert_int_equal(spec_get_text(&s, "train.optimizer", text, sizeof text, &err), -ERR_INVALID);
    assert_int_equal(spec_get_text(&s, "nope", text, sizeof text, &err), -ERR_INVALID);
    assert_string_equal(text, "0.9,0.95");
}

static void test_schema_is_strict_json(void **state)
{
    const struct json_limits limits = {.max_bytes = 1 << 20, .max_depth = 32};
    struct err err = {0};
    char *text = NULL;
    size_t size;
    (void)state;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    spec_print_json_schema(out);
    fclose(out);
    cJSON *schema;
    assert_int_equal(json_parse(text, size, &limits, "schema", &schema, &err), 0);
    for (int i = 0; i < spec_field_count; i++) {
        const cJSON *at = schema;
        char path[96];
        snprintf(path, sizeof path, "%s", spec_fields[i].path);
        for (char *rest = path, *key; (key = strsep(&rest, "."));)
            at = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(at, "properties"), key);
        assert_non_null(at);
        assert_string_equal(cJSON_GetObjectItemCaseSensitive(at, "description")->valuestring, spec_fields[i].doc);
    }
    cJSON_Delete(schema);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canonical_text),
        cmocka_unit_test(test_same_experiment),
        cmocka_unit_test(test_defaults_written_out),
        cmocka_unit_test(test_each_field_and_the_hash),
        cmocka_unit_test(test_whole_json),
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_schema_is_strict_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
