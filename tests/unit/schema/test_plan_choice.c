/* test_plan_choice.c: the micro-batch and the recomputation that the plan chooses for a device, what it says where
 * nothing fits, and specs that no machine holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <time.h>
#include "base/err.h"
#include "plan_case.h"

static uint64_t total_of(struct spec s, int64_t micro_batch, enum spec_recompute recompute)
{
    s.train.micro_batch = micro_batch;
    s.train.recompute = recompute;
    struct plan p = plan_ok(&s, 256, &fp32);
    uint64_t total = p.bytes.total;
    assert_int_equal(p.recompute, recompute);
    plan_finish(&p);
    return total;
}

static void check_choice(const struct spec *s, uint64_t memory, int64_t limit, int64_t micro_batch,
                         enum spec_recompute recompute)
{
    struct plan_device device = fp32;
    device.memory_bytes = memory;
    device.micro_batch_limit = limit;
    struct plan p = plan_ok(s, 256, &device);
    assert_int_equal(p.micro_batch, micro_batch);
    assert_int_equal(p.recompute, recompute);
    assert_true(p.bytes.total <= memory);
    plan_finish(&p);
}

static void given_micro_batch_takes_the_first_policy_that_fits(void **state)
{
    (void)state;
    struct spec s = make_spec(128, 4, 4);
    s.train.batch = s.train.micro_batch = 8;
    uint64_t none = total_of(s, 8, RECOMPUTE_NONE), cheap = total_of(s, 8, RECOMPUTE_CHEAP),
             all = total_of(s, 8, RECOMPUTE_ALL);
    assert_true(all < cheap && cheap < none);
    check_choice(&s, none, 0, 8, RECOMPUTE_NONE);
    check_choice(&s, none - 1, 0, 8, RECOMPUTE_CHEAP);
    check_choice(&s, cheap, 0, 8, RECOMPUTE_CHEAP);
    check_choice(&s, cheap - 1, 0, 8, RECOMPUTE_ALL);
    check_choice(&s, all, 0, 8, RECOMPUTE_ALL);
    check_choice(&s, none, 2, 8, RECOMPUTE_NONE); /* a limit is for auto alone */
    s.train.recompute = RECOMPUTE_ALL;            /* as given, though all would fit */
    check_choice(&s, none, 0, 8, RECOMPUTE_ALL);
}

/* With 128 positions a sequence 32 sequences are full. */
static void auto_recomputes_only_for_full_products(void **state)
{
    (void)state;
    struct spec s = make_spec(128, 4, 4);
    s.train.batch = 128;
    check_choice(&s, total_of(s, 32, RECOMPUTE_NONE), 0, 32, RECOMPUTE_NONE); /* full: no need for 64 */
    assert_true(total_of(s, 32, RECOMPUTE_CHEAP) < total_of(s, 32, RECOMPUTE_NONE) - 1);
    check_choice(&s, total_of(s, 32, RECOMPUTE_NONE) - 1, 0, 32, RECOMPUTE_CHEAP);
    check_choice(&s, total_of(s, 32, RECOMPUTE_CHEAP) - 1, 0, 32, RECOMPUTE_ALL);
    /* none of them full: the largest, and of equal ones the cheapest */
    check_choice(&s, total_of(s, 32, RECOMPUTE_ALL) - 1, 0, 16, RECOMPUTE_CHEAP);
    check_choice(&s, total_of(s, 4, RECOMPUTE_ALL), 0, 4, RECOMPUTE_ALL);
    check_choice(&s, total_of(s, 2, RECOMPUTE_CHEAP), 0, 2, RECOMPUTE_CHEAP);
    check_choice(&s, total_of(s, 1, RECOMPUTE_NONE), 0, 2, RECOMPUTE_ALL);
    check_choice(&s, total_of(s, 1, RECOMPUTE_CHEAP), 0, 1, RECOMPUTE_CHEAP);
    s.train.batch = 16; /* the whole batch is enough */
    check_choice(&s, total_of(s, 16, RECOMPUTE_NONE), 0, 16, RECOMPUTE_NONE);
    check_choice(&s, total_of(s, 16, RECOMPUTE_NONE) - 1, 0, 16, RECOMPUTE_CHEAP);
    s.train.recompute = RECOMPUTE_NONE;
    check_choice(&s, total_of(s, 16, RECOMPUTE_NONE) - 1, 0, 8, RECOMPUTE_NONE);
}

static void auto_stays_below_the_limit(void **state)
{
    (void)state;
    struct spec s = make_spec(128, 4, 4);
    s.train.batch = 12;
    check_choice(&s, UINT64_MAX, 0, 12, RECOMPUTE_NONE);
    check_choice(&s, UINT64_MAX, 12, 12, RECOMPUTE_NONE);
    check_choice(&s, UINT64_MAX, 100, 12, RECOMPUTE_NONE);
    check_choice(&s, UINT64_MAX, 6, 6, RECOMPUTE_ALL); /* 768 positions */
    check_choice(&s, UINT64_MAX, 5, 4, RECOMPUTE_ALL);
    check_choice(&s, UINT64_MAX, 1, 1, RECOMPUTE_ALL);
    s.train.batch = 192;
    check_choice(&s, UINT64_MAX, 96, 96, RECOMPUTE_NONE);
    check_choice(&s, UINT64_MAX, 32, 32, RECOMPUTE_NONE);
    check_choice(&s, total_of(s, 32, RECOMPUTE_NONE) - 1, 32, 32, RECOMPUTE_CHEAP);
    check_choice(&s, UINT64_MAX, 31, 24, RECOMPUTE_ALL);
    s.train.recompute = RECOMPUTE_CHEAP;
    check_choice(&s, UINT64_MAX, 31, 24, RECOMPUTE_CHEAP);
}

static int refuse(const struct spec *s, int64_t vocab, uint64_t memory, struct err *err)
{
    struct plan_device device = {.storage_bytes = 4,
                                 .wide_bytes = 4,
                                 .workspace_bytes = WORKSPACE,
                                 .logits_bytes = LOGITS,
                                 .memory_bytes = memory};
    struct plan untouched, p;
    memset(&untouched, 0x5a, sizeof(untouched));
    memcpy(&p, &untouched, sizeof(p));
    memset(err, 0, sizeof(*err));
    int rc = plan_make(s, vocab, &device, &p, err);
    assert_true(rc < 0);
    assert_memory_equal(&p, &untouched, sizeof(p));
    return rc;
}

static void micro_batch_is_halved_until_it_fits(void **state)
{
    (void)state;
    static const int64_t by_batch[][6] = {{8, 4, 2, 1}, {6, 3, 1}, {10, 5, 2, 1}, {7, 1}, {12, 6, 3, 1}};
    for (size_t b = 0; b < sizeof(by_batch) / sizeof(by_batch[0]); b++) {
        struct spec s = make_spec(128, 2, 4);
        s.train.recompute = RECOMPUTE_NONE;
        s.train.batch = by_batch[b][0];
        struct plan_device device = fp32;
        for (int i = 0; by_batch[b][i] != 0; i++) {
            struct plan p = plan_ok(&s, 256, &device);
            assert_int_equal(p.micro_batch, by_batch[b][i]);
            device.memory_bytes = p.bytes.total; /* exactly enough is enough */
            plan_finish(&p);
            p = plan_ok(&s, 256, &device);
            assert_int_equal(p.micro_batch, by_batch[b][i]);
            plan_finish(&p);
            device.memory_bytes--;
        }
    }
}

static void check_refusal(const struct spec *s, uint64_t memory, const char *expected)
{
    struct err err;
    assert_int_equal(refuse(s, 256, memory, &err), -ERR_TOO_LARGE);
    assert_string_equal(err.path, "train.micro_batch");
    assert_string_equal(err.message, expected);
}

static void refusals_name_what_fits(void **state)
{
    (void)state;
    struct spec s = make_spec(128, 4, 4);
    s.train.micro_batch = 8;
    check_refusal(&s, total_of(s, 8, RECOMPUTE_ALL) - 1,
                  "train.micro_batch 8 needs 59.1 MiB with train.recompute all, the device has 59.1 MiB; "
                  "train.micro_batch 4 fits");
    s.train.recompute = RECOMPUTE_NONE;
    check_refusal(&s, total_of(s, 8, RECOMPUTE_ALL),
                  "train.micro_batch 8 needs 80.2 MiB with train.recompute none, the device has 59.1 MiB; "
                  "train.micro_batch 2 fits, or "
                  "train.recompute all");
    check_refusal(&s, total_of(s, 8, RECOMPUTE_CHEAP),
                  "train.micro_batch 8 needs 80.2 MiB with train.recompute none, the device has 71.2 MiB; "
                  "train.micro_batch 4 fits, or "
                  "train.recompute cheap");
    check_refusal(&s, total_of(s, 4, RECOMPUTE_ALL),
                  "train.micro_batch 8 needs 80.2 MiB with train.recompute none, the device has 52.1 MiB; "
                  "train.micro_batch 1 fits");
    check_refusal(&s, total_of(s, 1, RECOMPUTE_ALL),
                  "train.micro_batch 8 needs 80.2 MiB with train.recompute none, the device has 46.9 MiB; "
                  "train.micro_batch 1 with "
                  "train.recompute all fits");
    s.train.micro_batch = 1;
    check_refusal(&s, total_of(s, 1, RECOMPUTE_ALL),
                  "train.micro_batch 1 needs 49.5 MiB with train.recompute none, the device has 46.9 MiB; "
                  "train.recompute all fits");
    s.train.micro_batch = MICRO_BATCH_AUTO;
    check_refusal(&s, total_of(s, 1, RECOMPUTE_ALL),
                  "the run needs 49.5 MiB with train.micro_batch 1 and train.recompute none, the device has 46.9 MiB; "
                  "train.micro_batch 1 with train.recompute all fits");
    for (int recompute = RECOMPUTE_AUTO; recompute <= RECOMPUTE_ALL; recompute++) {
        s.train.recompute = (enum spec_recompute)recompute;
        check_refusal(
            &s, total_of(s, 1, RECOMPUTE_ALL) - 1,
            "the run needs 46.9 MiB with train.micro_batch 1 and train.recompute all, the device has 46.9 MiB");
    }
}

static void given_micro_batch_that_does_not_fit_names_one_that_does(void **state)
{
    (void)state;
    struct spec s = make_spec(128, 2, 4);
    s.train.micro_batch = 2;
    s.train.recompute = RECOMPUTE_NONE;
    struct plan p = plan_ok(&s, 256, &fp32);
    uint64_t enough_for_2 = p.bytes.total;
    plan_finish(&p);
    s.train.micro_batch = 8;
    struct err err;
    assert_int_equal(refuse(&s, 256, enough_for_2, &err), -ERR_TOO_LARGE);
    assert_string_equal(err.path, "train.micro_batch");
    assert_non_null(strstr(err.message, "micro_batch 2 fits"));
    s.train.micro_batch = 3; /* need not divide the batch */
    p = plan_ok(&s, 256, &fp32);
    assert_int_equal(p.micro_batch, 3);
    plan_finish(&p);
    s.train.micro_batch = 9;
    assert_int_equal(refuse(&s, 256, 0, &err), -ERR_INVALID);
}

static void shapes_that_are_none_are_refused(void **state)
{
    (void)state;
    struct err err;
    struct spec s = make_spec(128, 4, 3);
    assert_int_equal(refuse(&s, 256, 0, &err), -ERR_INVALID);
    assert_string_equal(err.path, "model.heads");
    s = make_spec(128, 4, 4);
    s.model.norms = 1;
    s.model.parallel_residual = false;
    assert_int_equal(refuse(&s, 256, 0, &err), -ERR_INVALID);
    assert_string_equal(err.path, "model.norms");
    s = make_spec(128, 4, 4);
    assert_int_equal(refuse(&s, 0, 0, &err), -ERR_INVALID);
    assert_string_equal(err.path, "model.vocab");
    s.model.vocab = 255;
    assert_int_equal(refuse(&s, 256, 0, &err), -ERR_INVALID);
    s = make_spec(-1, 4, 4);
    assert_int_equal(refuse(&s, 256, 0, &err), -ERR_INVALID);
    s = make_spec(128, 4, 4);
    s.train.batch = 0;
    assert_int_equal(refuse(&s, 256, 0, &err), -ERR_INVALID);
}

static void absurd_specs_are_refused_at_once(void **state)
{
    (void)state;
    static const struct {
        int64_t dim, layers, d_ff, seq_len, batch, vocab;
    } cases[] = {
        {1 << 20, 100000, 0, 128, 8, 256},
        {1 << 20, 8192, 0, 128, 8, 256},
        {INT64_C(1) << 40, 8192, INT64_C(1) << 40, INT64_C(1) << 40, INT64_C(1) << 40, INT64_C(1) << 40},
        {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX},
        {128, 4, 0, INT64_C(1) << 39, (INT64_C(1) << 40) - 87, 256},
        {128, 4, INT64_C(1) << 40, 128, 8, 256},
        {128, 4, 0, 128, 8, INT64_C(1) << 40},
        {16, 8192, 0, INT64_C(1) << 30, INT64_C(1) << 40, 256},
    };
    clock_t begin = clock();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct spec s = make_spec(cases[i].dim, cases[i].layers, 1);
        s.model.d_ff = cases[i].d_ff;
        s.train.seq_len = cases[i].seq_len;
        s.train.batch = cases[i].batch;
        struct err err;
        assert_int_equal(refuse(&s, cases[i].vocab, 0, &err), -ERR_TOO_LARGE);
        assert_int_not_equal(err.message[0], 0);
    }
    assert_true((double)(clock() - begin) / CLOCKS_PER_SEC < 1.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(micro_batch_is_halved_until_it_fits),
        cmocka_unit_test(given_micro_batch_that_does_not_fit_names_one_that_does),
        cmocka_unit_test(refusals_name_what_fits),
        cmocka_unit_test(given_micro_batch_takes_the_first_policy_that_fits),
        cmocka_unit_test(auto_recomputes_only_for_full_products),
        cmocka_unit_test(auto_stays_below_the_limit),
        cmocka_unit_test(shapes_that_are_none_are_refused),
        cmocka_unit_test(absurd_specs_are_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
