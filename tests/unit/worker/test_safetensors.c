/* The safetensors printer against its own reader, and the reader against files that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "worker/safetensors.h"

/* A file with two tensors and data bytes 0, 1, 2, ...; caller frees. */
static unsigned char *make_file(size_t *size)
{
    struct safetensors_tensor t[2] = {{.name = "a.weight", .dtype = SAFETENSORS_F32, .rank = 2, .shape = {3, 5}},
                                      {.name = "b.bias", .dtype = SAFETENSORS_F64, .rank = 1, .shape = {7, 1}}};
    struct err err;
    char *header;
    size_t header_bytes, data_bytes;
    assert_int_equal(safetensors_layout(t, 2, &data_bytes, &err), 0);
    assert_int_equal(data_bytes, 3 * 5 * 4 + 7 * 8);
    assert_int_equal(safetensors_print_header(t, 2, &header, &header_bytes, &err), 0);
    assert_int_equal(header_bytes % 8, 0);
    unsigned char *file = malloc(header_bytes + data_bytes);
    memcpy(file, header, header_bytes);
    for (size_t i = 0; i < data_bytes; i++)
        file[header_bytes + i] = (unsigned char)i;
    free(header);
    *size = header_bytes + data_bytes;
    return file;
}

static void test_round_trip(void **state)
{
    (void)state;
    size_t size;
    unsigned char *file = make_file(&size);
    struct safetensors s;
    struct err err;
    assert_int_equal(safetensors_parse(file, size, "f", &s, &err), 0);
    assert_int_equal(s.count, 2);
    const struct safetensors_tensor *a = safetensors_find(&s, "a.weight"), *b = safetensors_find(&s, "b.bias");
    assert_non_null(a);
    assert_non_null(b);
    assert_null(safetensors_find(&s, "c"));
    assert_int_equal(a->rank, 2);
    assert_int_equal(a->shape[0], 3);
    assert_int_equal(a->shape[1], 5);
    assert_int_equal(a->dtype, SAFETENSORS_F32);
    assert_int_equal(b->rank, 1);
    assert_int_equal(b->dtype, SAFETENSORS_F64);
    assert_int_equal(b->offset, 60);
    assert_int_equal(s.data[b->offset], 60);
    safetensors_finish(&s);
    free(file);
}

static void test_layout_refuses(void **state)
{
    (void)state;
    size_t bytes;
    struct err err;
    struct safetensors_tensor t = {.name = "a", .dtype = SAFETENSORS_F32, .rank = 2, .shape = {INT64_MAX, 3}};
    assert_int_equal(safetensors_layout(&t, 1, &bytes, &err), -ERR_INVALID);
    t.shape[0] = 0;
    assert_int_equal(safetensors_layout(&t, 1, &bytes, &err), -ERR_INVALID);
    t.shape[0] = 1;
    strcpy(t.name, "a\"b");
    assert_int_equal(safetensors_layout(&t, 1, &bytes, &err), -ERR_INVALID);
    struct safetensors_tensor two[2] = {
        {.name = "a", .dtype = SAFETENSORS_F32, .rank = 1, .shape = {INT64_MAX / 8, 1}},
        {.name = "b", .dtype = SAFETENSORS_F64, .rank = 1, .shape = {INT64_MAX / 8, 1}}};
    assert_int_equal(safetensors_layout(two, 2, &bytes, &err), -ERR_TOO_LARGE);
}

static int parse_text(const char *header, size_t data_bytes)
{
    size_t n = strlen(header);
    unsigned char *file = calloc(1, 8 + n + data_bytes);
    for (int i = 0; i < 8; i++)
        file[i] = (unsigned char)(n >> (8 * i));
    memcpy(file + 8, header, n);
    struct safetensors s;
    struct err err;
    int rc = safetensors_parse(file, 8 + n + data_bytes, "f", &s, &err);
    if (rc == 0)
        safetensors_finish(&s);
    free(file);
    return rc;
}

static void test_lies(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "[]",
        "{",
        "{\"a\":1}",
        "{\"a\":{\"dtype\":\"F17\",\"shape\":[2],\"data_offsets\":[0,8]}}",
        "{\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,8]}}",
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,8],\"data_offsets\":[0,8]}}",
        "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}",
        "{\"a\\nb\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
        "{\"\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2.5],\"data_offsets\":[0,8]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,8]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,3],\"data_offsets\":[0,8]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905,4],\"data_offsets\":[0,8]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
        "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}} x",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (parse_text(bad[i], 8) != -ERR_DAMAGED)
            fail_msg("accepted: %s", bad[i]);
    assert_int_equal(parse_text("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8), 0);
    /* what else lies in files of others: masks, a number alone */
    assert_int_equal(parse_text("{\"bias\":{\"dtype\":\"BOOL\",\"shape\":[1,1,2,3],\"data_offsets\":[0,6]},"
                                "\"masked_bias\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[6,8]}}",
                                8),
                     0);
    assert_int_equal(parse_text("{\"__metadata__\":{\"x\":\"y\"},"
                                "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,1],\"data_offsets\":[4,8]},"
                                "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                                8),
                     0);
}

/* Cut anywhere, and with any one bit of the header turned, the reader stays within the bytes it was given (the copy is
 * exact, so that a sanitizer sees a step beyond) and a shorter file is never accepted. */
static void test_torn(void **state)
{
    (void)state;
    size_t size;
    unsigned char *file = make_file(&size);
    struct safetensors s;
    struct err err;
    for (size_t cut = 0; cut < size; cut++) {
        unsigned char *part = malloc(cut + 1);
        memcpy(part, file, cut);
        assert_int_equal(safetensors_parse(part, cut, "f", &s, &err), -ERR_DAMAGED);
        free(part);
    }
    for (size_t bit = 0; bit < (size - 116) * 8; bit++) {
        file[bit / 8] ^= (unsigned char)(1u << (bit % 8));
        if (safetensors_parse(file, size, "f", &s, &err) == 0)
            safetensors_finish(&s);
        file[bit / 8] ^= (unsigned char)(1u << (bit % 8));
    }
    free(file);
}

/* Values by the definitions of binary16 and bfloat16. */
static void test_floats(void **state)
{
    (void)state;
    static const struct {
        uint16_t bits;
        float value;
    } half[] = {{0x0000, 0},        {0x8000, -0.0f},         {0x3c00, 1},        {0xc000, -2},    {0x3555, 0x1.554p-2f},
                {0x0001, 0x1p-24f}, {0x83ff, -0x1.ff8p-15f}, {0x0400, 0x1p-14f}, {0x7bff, 65504}, {0xfc00, -INFINITY}},
      brain[] = {{0x3f80, 1}, {0xc049, -3.140625f}, {0x0001, 0x1p-133f}, {0x7f80, INFINITY}};
    unsigned char data[32];
    float out[16];
    const struct safetensors s = {.data = data};
    struct safetensors_tensor t = {.dtype = SAFETENSORS_F16, .rank = 1, .bytes = sizeof half / sizeof *half * 2};
    for (size_t i = 0; i < sizeof half / sizeof *half; i++)
        memcpy(data + 2 * i, &half[i].bits, 2);
    assert_true(safetensors_read_floats(&s, &t, out));
    for (size_t i = 0; i < sizeof half / sizeof *half; i++)
        assert_memory_equal(&out[i], &half[i].value, sizeof(float));
    t.dtype = SAFETENSORS_BF16;
    t.bytes = sizeof brain / sizeof *brain * 2;
    for (size_t i = 0; i < sizeof brain / sizeof *brain; i++)
        memcpy(data + 2 * i, &brain[i].bits, 2);
    assert_true(safetensors_read_floats(&s, &t, out));
    for (size_t i = 0; i < sizeof brain / sizeof *brain; i++)
        assert_memory_equal(&out[i], &brain[i].value, sizeof(float));
    t.dtype = SAFETENSORS_I32;
    assert_false(safetensors_read_floats(&s, &t, out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_layout_refuses),
                                       cmocka_unit_test(test_lies), cmocka_unit_test(test_torn),
                                       cmocka_unit_test(test_floats)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
