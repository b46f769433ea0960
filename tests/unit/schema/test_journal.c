/* test_journal.c: what the worker writes is what bakad reads, bit for bit, by the scanner and by the strict reader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/philox.h"
#include "schema/journal.h"
#include "schema/journal_number.h"

static double random_double(struct philox *p)
{
    union {
        uint64_t bits;
        double value;
    } x;
    switch (philox_below(p, 5)) {
    case 0:
        x.bits = philox_u64(p); /* any bits: nan, inf and subnormal numbers too */
        return x.value;
    case 1:
        return philox_uniform(p) * 12;
    case 2:
        return (double)philox_below(p, 1000000) / 1000;
    case 3:
        return exp(40 * philox_normal(p));
    default:
        return (double)(float)philox_normal(p);
    }
}

static bool same_bits(double a, double b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static bool same_step(const struct journal_step *a, const struct journal_step *b)
{
    return a->step == b->step && a->tokens == b->tokens && same_bits(a->epoch, b->epoch) &&
           same_bits(a->loss, b->loss) && same_bits(a->lr, b->lr) && same_bits(a->grad_norm, b->grad_norm) &&
           same_bits(a->ms, b->ms) && same_bits(a->tok_s, b->tok_s) && same_bits(a->mfu, b->mfu);
}

static struct journal_record random_step(struct philox *p)
{
    struct journal_record r = {.kind = JOURNAL_STEP};
    r.step.step = (int64_t)philox_below(p, UINT64_C(1) << (1 + philox_below(p, 52))) + 1;
    r.step.tokens = (int64_t)philox_below(p, UINT64_C(1) << (1 + philox_below(p, 52)));
    double *numbers[] = {&r.step.epoch, &r.step.loss, &r.step.lr, &r.step.grad_norm, &r.step.ms, &r.step.tok_s};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        *numbers[i] = random_double(p);
    if (philox_below(p, 2)) /* 0: not known, and not in the line */
        r.step.mfu = philox_uniform(p);
    return r;
}

static void test_steps_round_trip(void **state)
{
    struct philox p;
    char line[JOURNAL_LINE_MAX];
    (void)state;
    philox_init(&p, 1, "test", "journal");
    for (int i = 0; i < 50000; i++) {
        struct journal_record r = random_step(&p), back;
        struct err err = {0};
        size_t n = journal_print(&r, line);
        assert_true(n == strlen(line) && line[n - 1] == '\n');
        if (journal_parse(line, n - 1, &back, &err) != 0)
            fail_msg("%s: %s", line, err.message);
        assert_int_equal(back.kind, JOURNAL_STEP);
        if (!same_step(&r.step, &back.step))
            fail_msg("another record from %s", line);
    }
}

/* A blank behind the opening brace sends the same record to the strict reader. */
static void test_scanner_equals_reader(void **state)
{
    struct philox p;
    char line[JOURNAL_LINE_MAX], other[JOURNAL_LINE_MAX + 1];
    (void)state;
    philox_init(&p, 2, "test", "journal");
    for (int i = 0; i < 20000; i++) {
        struct journal_record r = random_step(&p), scanned, read;
        size_t n = journal_print(&r, line) - 1;
        other[0] = '{';
        other[1] = ' ';
        memcpy(other + 2, line + 1, n - 1);
        assert_int_equal(journal_parse(line, n, &scanned, NULL), 0);
        assert_int_equal(journal_parse(other, n + 1, &read, NULL), 0);
        assert_true(read.kind == JOURNAL_STEP && same_step(&scanned.step, &read.step));
    }
}

/* One million texts of numbers as they stand in journals: the fast ways against strtod, which is what cJSON uses. */
static void test_a_million_numbers(void **state)
{
    struct philox p;
    char text[64];
    (void)state;
    philox_init(&p, 3, "test", "numbers");
    for (int i = 0; i < 1000000; i++) {
        uint64_t digits = philox_u64(&p), scale = philox_below(&p, 20);
        int used = 0;
        if (i & 1)
            text[used++] = '-';
        digits >>= philox_below(&p, 64);
        char plain[24];
        int n = 0;
        do
            plain[n++] = (char)('0' + digits % 10);
        while ((digits /= 10) && n < 20);
        while ((uint64_t)n <= scale)
            plain[n++] = '0';
        while (n) {
            text[used++] = plain[--n];
            if (n && (uint64_t)n == scale)
                text[used++] = '.';
        }
        if (i % 7 == 0) {
            text[used++] = 'e';
            text[used++] = i % 2 ? '-' : '+';
            text[used++] = (char)('0' + philox_below(&p, 4));
            text[used++] = (char)('0' + philox_below(&p, 10));
        }
        text[used] = 0;
        const char *at = text;
        double fast;
        assert_true(journal_number_read(&at, text + used, &fast) && at == text + used);
        double slow = strtod(text, NULL);
        if (memcmp(&fast, &slow, sizeof fast) != 0)
            fail_msg("%s: %a, not %a", text, fast, slow);
    }
}

/* Decimals exactly in the middle of two doubles, and their neighbours. */
static void test_halfway_numbers(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "9007199254740993",
        "9007199254740993.0",
        "9007199254740992.9",
        "9007199254740993.1",
        "9007199254740995",
        "18014398509481986",
        "18014398509481990",
        "1.00000000000000011",
        "1.000000000000000111",
        "4503599627370496.5",
        "4503599627370497.5",
        "4503599627370497.25",
        "9223372036854775807",
        "9999999999999999999",
        "1844674407370955161.6",
        "0.1000000000000000055",
        "9007199254740993e0",
        "9007199254740993e-22",
        "9007199254740993e22",
        "1e23",
        "8.5e22",
        "123456789012345678e-18",
        "2.2250738585072011e-308",
        "4.9e-324",
        "2.4e-324",
        "1e-400",
        "-5e-325",
        "0e99999",
        "0.000e-99999",
        "0.0000000000000000000000001",
        "1.7976931348623157e308",
        "00",
        "1.7976931348623159e308",
        "1e",
        "1.",
        ".1",
        "-",
        "",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *at = texts[i], *end = at + strlen(at);
        double fast = 0, slow = strtod(at, NULL);
        bool bad = strcmp(at, "00") == 0 || strcmp(at, "1e") == 0 || strcmp(at, "1.") == 0 || *at == '.' ||
                   strcmp(at, "-") == 0 || !*at || isinf(slow) || (slow == 0 && *at != '0');
        assert_int_equal(journal_number_read(&at, end, &fast), !bad);
        if (!bad && !same_bits(fast, slow))
            fail_msg("%s: %a, not %a", texts[i], fast, slow);
        assert_ptr_equal(at, bad ? texts[i] : end);
    }
}

static void round_trip(const struct journal_record *r)
{
    char line[JOURNAL_LINE_MAX], again[JOURNAL_LINE_MAX];
    struct journal_record back;
    struct err err = {0};
    size_t n = journal_print(r, line);
    assert_true(n < JOURNAL_LINE_MAX && line[n - 1] == '\n' && line[n] == 0);
    if (journal_parse(line, n - 1, &back, &err) != 0)
        fail_msg("%s: %s", line, err.message);
    assert_int_equal(back.kind, r->kind);
    journal_print(&back, again);
    assert_string_equal(line, again);
}

static void test_other_kinds(void **state)
{
    (void)state;
    struct journal_record r = {.kind = JOURNAL_START};
    r.start = (struct journal_start){.attempt = 2,
                                     .resume_step = 120,
                                     .threads = 2,
                                     .micro_batch = 8,
                                     .params = 1573376,
                                     .tokens_per_epoch = 299999,
                                     .steps_per_epoch = 293,
                                     .total_steps = 879,
                                     .memory_bytes = 71303168,
                                     .pid = 4242,
                                     .time_ms = 1790000000000};
    memset(r.start.spec_hash, 'a', 64);
    strcpy(r.start.backend, "cpu");
    strcpy(r.start.device, "cpu-avx512");
    round_trip(&r);
    char line[JOURNAL_LINE_MAX];
    journal_print(&r, line);
    assert_non_null(strstr(line, "\"flops_per_token\":null,\"peak_flops\":null}"));
    r.start.flops_per_token = 9.4e6;
    r.start.peak_flops = 989.4e12;
    round_trip(&r);
    r = (struct journal_record){.kind = JOURNAL_EVAL,
                                .eval = {.step = 15,
                                         .tokens = 15360,
                                         .predictions = 15788,
                                         .epoch = 0.05,
                                         .loss = 3.1,
                                         .perplexity = INFINITY,
                                         .bits_per_byte = NAN,
                                         .word_perplexity = NAN,
                                         .ms = 210,
                                         .split = "val"}};
    round_trip(&r);
    journal_print(&r, line);
    assert_non_null(strstr(line, "\"perplexity\":\"inf\",\"bits_per_byte\":null,\"predictions\""));
    r.eval.bits_per_byte = 4.47;
    r.eval.word_perplexity = 61.5;
    round_trip(&r);
    r = (struct journal_record){
        .kind = JOURNAL_CHECKPOINT,
        .checkpoint = {.step = 120, .bytes = 18880512, .path = "checkpoints/120-a1", .ms = 14.1}};
    round_trip(&r);
    r = (struct journal_record){.kind = JOURNAL_NOTE, .note = "resumed\nunder \"another\" id \xc3\xa9"};
    round_trip(&r);
    for (enum journal_end_reason reason = END_FINISHED; reason <= END_INTERNAL_ERROR; reason++) {
        r = (struct journal_record){.kind = JOURNAL_END, .end = {.reason = reason, .step = 9, .text = "t"}};
        round_trip(&r);
    }
}

static void test_gpu(void **state)
{
    (void)state;
    char line[JOURNAL_LINE_MAX];
    struct journal_record r = {.kind = JOURNAL_GPU,
                               .gpu = {.step = 7, .time_ms = 1790000000000, .health = gpu_health_unknown}},
                          back;
    round_trip(&r);
    journal_print(&r, line);
    assert_string_equal(line, "{\"kind\":\"gpu\",\"step\":7,\"time\":1790000000000,\"memory_used\":null,"
                              "\"memory_total\":null,\"temperature_c\":null,\"sm_clock_mhz\":null,\"power_w\":null,"
                              "\"energy_j\":null,\"throttle\":null,\"ecc_uncorrected\":null,\"xid\":null}\n");
    r.gpu.health = (struct gpu_health){.memory_used = INT64_C(20) << 30,
                                       .memory_total = INT64_C(80) << 30,
                                       .temperature_c = 64,
                                       .sm_clock_mhz = 1755,
                                       .power_w = 312.345,
                                       .energy_j = 1234.5,
                                       .throttle = 0,
                                       .ecc_uncorrected = 0,
                                       .xid = 0};
    round_trip(&r);
    journal_print(&r, line);
    assert_non_null(strstr(line, "\"throttle\":[],\"ecc_uncorrected\":0,\"xid\":0}"));
    r.gpu.health.throttle = 1 << GPU_SW_POWER_CAP | 1 << GPU_HW_THERMAL;
    r.gpu.health.xid = 79;
    round_trip(&r);
    journal_print(&r, line);
    assert_non_null(strstr(line, "\"throttle\":[\"sw_power_cap\",\"hw_thermal\"]"));
    r.gpu.health.throttle = (INT64_C(1) << GPU_THROTTLES) - 1;
    round_trip(&r);
    /* a newer worker's word, and what it leaves out */
    const char *other =
        "{\"kind\":\"gpu\",\"step\":1,\"time\":2,\"throttle\":[\"gnomes\",\"hw_slowdown\"],\"power_w\":3}";
    assert_int_equal(journal_parse(other, strlen(other), &back, NULL), 0);
    assert_int_equal(back.gpu.health.throttle, 1 << GPU_HW_SLOWDOWN);
    assert_true(back.gpu.health.power_w == 3 && isnan(back.gpu.health.energy_j));
    assert_int_equal(back.gpu.health.xid, GPU_UNKNOWN);
}

/* What a worker wrote that knew no MFU, and what one may write that knows more. */
static void test_other_workers(void **state)
{
    struct journal_record r;
    (void)state;
    struct journal_record start = {.kind = JOURNAL_START,
                                   .start = {.attempt = 1, .peak_flops = 1, .flops_per_token = 2}};
    char line[JOURNAL_LINE_MAX];
    journal_print(&start, line);
    char *end = strstr(line, ",\"flops_per_token\"");
    assert_non_null(end);
    strcpy(end, "}");
    assert_int_equal(journal_parse(line, strlen(line), &r, NULL), 0);
    assert_true(r.kind == JOURNAL_START && r.start.peak_flops == 0 && r.start.flops_per_token == 0);
    const char *other = "{\"kind\":\"dance\",\"step\":{\"a\":[1]}}";
    assert_int_equal(journal_parse(other, strlen(other), &r, NULL), 0);
    assert_int_equal(r.kind, JOURNAL_OTHER);
    assert_string_equal(r.other, "dance");
    round_trip(&r);
}

/* The longest strings, each byte of which takes six characters, and bytes that are no UTF-8. */
static void test_longest_lines(void **state)
{
    char line[JOURNAL_LINE_MAX];
    struct journal_record r, back;
    (void)state;
    memset(&r, 1, sizeof r);
    r.kind = JOURNAL_START; /* no string ends: the printer stops at the array's end */
    size_t n = journal_print(&r, line);
    assert_true(n < JOURNAL_LINE_MAX && line[n] == 0);
    memset(&r, 0xff, sizeof r);
    r.kind = JOURNAL_END;
    r.end.reason = END_DISK_FULL;
    r.end.step = 1;
    r.end.text[511] = 0;
    n = journal_print(&r, line);
    assert_int_equal(journal_parse(line, n - 1, &back, NULL), 0);
    assert_int_equal(back.end.text[0], '?');
    memset(&r, 1, sizeof r);
    r.kind = JOURNAL_NOTE;
    r.note[511] = 0;
    n = journal_print(&r, line);
    assert_true(n > 3000 && n < JOURNAL_LINE_MAX);
    assert_int_equal(journal_parse(line, n - 1, &back, NULL), 0);
    assert_string_equal(back.note, r.note);
}

static void damaged(const char *line)
{
    struct journal_record back;
    struct err err = {0};
    memset(&back, 0x5a, sizeof back);
    if (journal_parse(line, strlen(line), &back, &err) != -ERR_DAMAGED)
        fail_msg("taken for a record: %s", line);
    assert_int_equal(back.kind, 0x5a5a5a5a);
    assert_non_null(strstr(err.message, "not a journal record"));
}

#define STEP(step, tokens, loss)                                                                                       \
    "{\"kind\":\"step\",\"step\":" step ",\"epoch\":0.5,\"tokens\":" tokens ",\"loss\":" loss                          \
    ",\"lr\":1,\"grad_norm\":1,\"ms\":1,\"tok_s\":1}"

#define STEP_MORE(more)                                                                                                \
    "{\"kind\":\"step\",\"step\":1,\"epoch\":0.5,\"tokens\":2,\"loss\":3,\"lr\":1,\"grad_norm\":1,\"ms\":1,\"tok_s\":" \
    "1" more "}"

static void test_damage(void **state)
{
    struct journal_record r;
    (void)state;
    assert_int_equal(journal_parse(STEP("1", "2", "3"), strlen(STEP("1", "2", "3")), &r, NULL), 0);
    damaged("");
    damaged("{}");
    damaged("[]");
    damaged("null");
    damaged("{\"kind\":\"step\"}");
    damaged("{\"kind\":\"\"}");
    damaged("{\"kind\":\"st\\u0000p\"}");
    damaged("{\"kind\":\"st p\"}");
    damaged("{\"kind\":\"a_word_that_is_longer_than_any_kind\"}");
    damaged("{\"kind\":\"gpu\",\"step\":1}");
    damaged("{\"kind\":\"gpu\",\"step\":1,\"time\":2,\"throttle\":\"hw_thermal\"}");
    damaged("{\"kind\":\"gpu\",\"step\":1,\"time\":2,\"throttle\":[1]}");
    damaged("{\"kind\":\"gpu\",\"step\":1,\"time\":2,\"xid\":-1}");
    damaged("{\"kind\":\"gpu\",\"step\":1,\"time\":2,\"power_w\":\"much\"}");
    damaged(STEP_MORE(",\"mfu\":"));
    damaged(STEP_MORE(",\"mfu\":\"half\""));
    damaged("{\"kind\":3}");
    damaged("{\"kind\":\"note\"}");
    damaged("{\"kind\":\"note\",\"text\":null}");
    damaged("{\"kind\":\"end\",\"reason\":\"tired\",\"step\":1,\"text\":\"\"}");
    damaged(
        "{\"kind\":\"checkpoint\",\"step\":1,\"path\":\"ppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp"
        "pppppp\",\"bytes\":1,\"ms\":1}");
    damaged(STEP("0", "2", "3"));
    damaged(STEP("-1", "2", "3"));
    damaged(STEP("01", "2", "3"));
    damaged(STEP("1.5", "2", "3"));
    damaged(STEP("\"1\"", "2", "3"));
    damaged(STEP("99999999999999999999", "2", "3"));
    damaged(STEP("9007199254740994", "2", "3"));
    damaged(STEP("1", "-2", "3"));
    damaged(STEP("1", "2", "nan"));
    damaged(STEP("1", "2", "\"NaN\""));
    damaged(STEP("1", "2", "1e400"));
    damaged(STEP("1", "2", "01"));
    damaged(STEP("1", "2", "+1"));
    damaged(STEP("1", "2", "null"));
    damaged(STEP("1", "2", "3") "x");
    damaged(STEP("1", "2", "3") STEP("2", "2", "3"));
    damaged(
        "{\"kind\":\"step\",\"step\":1,\"epoch\":0.5,\"tokens\":1,\"loss\":1,\"lr\":1,\"grad_norm\":1,\"ms\":1,\"to");
}

/* A newer worker may say more, in any order. */
static void test_other_orders(void **state)
{
    struct journal_record r;
    const char *line = "{\"tok_s\":8,\"extra\":[1,{\"a\":null}],\"ms\":7,\"grad_norm\":6,\"lr\":5,\"loss\":\"-inf\","
                       "\"tokens\":3e0,\"epoch\":2,\"step\":1.0,\"kind\":\"step\"}";
    (void)state;
    assert_int_equal(journal_parse(line, strlen(line), &r, NULL), 0);
    assert_true(r.step.step == 1 && r.step.epoch == 2 && r.step.tokens == 3 && isinf(r.step.loss) && r.step.loss < 0);
    assert_true(r.step.lr == 5 && r.step.grad_norm == 6 && r.step.ms == 7 && r.step.tok_s == 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps_round_trip),
        cmocka_unit_test(test_scanner_equals_reader),
        cmocka_unit_test(test_a_million_numbers),
        cmocka_unit_test(test_halfway_numbers),
        cmocka_unit_test(test_other_kinds),
        cmocka_unit_test(test_gpu),
        cmocka_unit_test(test_other_workers),
        cmocka_unit_test(test_longest_lines),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_other_orders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
