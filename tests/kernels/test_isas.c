/* test_isas.c: fp32 on every instruction set that this CPU has against double, and the same bits on any number of
 * threads. Outputs start as NaN, accumulated ones at a number. */
#include "problem.h"

#include <stdio.h>
#include <string.h>

static const double TOLERANCE = 1e-5;

static void run(struct kernel_test *k, const struct problem *p, struct answer *a)
{
    answer_init(a, p);
    kernel_test_reset(k);
    p->run(k, p, a->output, a->gradient);
    kernel_test_sync(k);
}

enum { MAX_BACKENDS = 8 };

static void check_against_double(struct problem *p, void *arg)
{
    struct kernel_test *k = arg; /* [0] double, then one for each instruction set, then an unused one without ops */
    p->start = 0.5;
    struct answer exact;
    run(k, p, &exact);
    for (int b = 1; k[b].ops; b++) {
        struct answer a;
        run(&k[b], p, &a);
        const char *kind = k[b].ops->device_kind(k[b].backend);
        for (int i = 0; i < p->outputs; i++)
            assert_close(a.output[i], exact.output[i], p->output_n[i], TOLERANCE, "%s, %s: output %d", kind, p->name,
                         i);
        for (int i = 0; i < p->inputs; i++)
            assert_close(a.gradient[i], exact.gradient[i], p->input_n[i], TOLERANCE, "%s, %s: gradient of %s", kind,
                         p->name, p->input_name[i]);
        answer_finish(&a);
    }
    answer_finish(&exact);
}

static void test_fp32_against_fp64(void **state)
{
    (void)state;
    struct kernel_test k[MAX_BACKENDS] = {0};
    int n = 0;
    kernel_test_open(&k[n++], -1, 2);
    for (int isa = 0; isa < cpu_isa_count; isa++)
        if (cpu_isas[isa].runs_here())
            kernel_test_open(&k[n++], isa, 2);
    assert_true(n >= 2 && n < MAX_BACKENDS);
    problem_each(false, check_against_double, k);
    while (n > 0)
        kernel_test_close(&k[--n]);
}

static void check_same_bits(struct problem *p, void *arg)
{
    struct kernel_test *k = arg;
    p->start = 0.5;
    struct answer one;
    run(k, p, &one);
    for (int b = 1; k[b].ops; b++) {
        struct answer a;
        run(&k[b], p, &a);
        for (int i = 0; i < p->outputs; i++)
            if (memcmp(a.output[i], one.output[i], (size_t)p->output_n[i] * sizeof(double)) != 0)
                fail_msg("%s: output %d differs between numbers of threads", p->name, i);
        for (int i = 0; i < p->inputs; i++)
            if (memcmp(a.gradient[i], one.gradient[i], (size_t)p->input_n[i] * sizeof(double)) != 0)
                fail_msg("%s: gradient of %s differs between numbers of threads", p->name, p->input_name[i]);
        answer_finish(&a);
    }
    answer_finish(&one);
}

static void test_same_bits_on_any_threads(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 3, 8};
    for (int isa = -1; isa < cpu_isa_count; isa++) {
        if (isa >= 0 && !cpu_isas[isa].runs_here())
            continue;
        struct kernel_test k[MAX_BACKENDS] = {0};
        int n = 0;
        for (size_t i = 0; i < sizeof threads / sizeof *threads; i++)
            kernel_test_open(&k[n++], isa, threads[i]);
        problem_each(false, check_same_bits, k);
        while (n > 0)
            kernel_test_close(&k[--n]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fp32_against_fp64),
        cmocka_unit_test(test_same_bits_on_any_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
