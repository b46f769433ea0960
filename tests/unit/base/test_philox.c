/* test_philox.c: Random123's known answers (kat_vectors, philox4x32 10), and the shape of what is drawn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/philox.h"

static void test_known_answers(void **state)
{
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        uint32_t out[4];
        philox_block(vectors[i].key, vectors[i].counter, out);
        assert_memory_equal(out, vectors[i].expected, sizeof out);
    }
}

static uint64_t first_of(uint64_t seed, const char *purpose, const char *name)
{
    struct philox p;
    philox_init(&p, seed, purpose, name);
    return philox_u64(&p);
}

static void test_streams_differ(void **state)
{
    (void)state;
    uint64_t base = first_of(1, "init", "embed.weight");
    assert_true(base == first_of(1, "init", "embed.weight"));
    assert_true(base != first_of(2, "init", "embed.weight"));
    assert_true(base != first_of(UINT64_C(1) << 32 | 1, "init", "embed.weight"));
    assert_true(base != first_of(1, "order", "embed.weight"));
    assert_true(base != first_of(1, "init", "head.weight"));
    assert_true(first_of(1, "ab", "c") != first_of(1, "a", "bc"));
}

/* The numbers that checkpoints and runs rely on: a change here changes every run's initial weights. */
static void test_stream_is_pinned(void **state)
{
    struct philox p;
    uint32_t block[4], key[2] = {7, 0};
    (void)state;
    philox_init(&p, 7, "init", "x");
    uint32_t counter[4] = {0, 0, p.counter[2], p.counter[3]};
    philox_block(key, counter, block);
    for (int i = 0; i < 4; i++)
        assert_int_equal(philox_u32(&p), block[i]);
    counter[0] = 1;
    philox_block(key, counter, block);
    assert_true(philox_u64(&p) == (block[0] | (uint64_t)block[1] << 32));
}

static void test_seek(void **state)
{
    struct philox p, q;
    (void)state;
    philox_init(&p, 5, "test", "seek");
    for (int i = 0; i < 1000; i++) {
        philox_init(&q, 5, "test", "seek");
        philox_seek(&q, (uint64_t)i);
        double x = philox_normal(&p), y = philox_normal(&q);
        assert_true(x == y);
    }
}

static void test_below(void **state)
{
    struct philox p;
    int counts[10] = {0};
    (void)state;
    philox_init(&p, 3, "test", "below");
    assert_true(philox_below(&p, 1) == 0);
    for (int i = 0; i < 100000; i++) {
        uint64_t x = philox_below(&p, 10);
        assert_true(x < 10);
        counts[x]++;
    }
    for (int i = 0; i < 10; i++)
        assert_in_range(counts[i], 9600, 10400); /* four standard deviations are 380 */
    for (int i = 0; i < 1000; i++)
        assert_true(philox_below(&p, (UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
}

static void test_moments(void **state)
{
    struct philox p;
    double sum = 0, squares = 0, fourth = 0, uniform = 0;
    int n = 200000;
    (void)state;
    philox_init(&p, 11, "test", "normal");
    for (int i = 0; i < n; i++) {
        double x = philox_normal(&p), u = philox_uniform(&p);
        assert_true(isfinite(x) && u >= 0 && u < 1);
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
        uniform += u;
    }
    assert_true(fabs(sum / n) < 0.01);
    assert_true(fabs(squares / n - 1) < 0.02);
    assert_true(fabs(fourth / n - 3) < 0.15);
    assert_true(fabs(uniform / n - 0.5) < 0.004);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),    cmocka_unit_test(test_streams_differ),
        cmocka_unit_test(test_stream_is_pinned), cmocka_unit_test(test_seek),
        cmocka_unit_test(test_below),
        cmocka_unit_test(test_moments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
