/* test_model_aside.c: the gradients' squares, summed beside the rest of the backward pass.
 *
 * A backend may run them as late as at the join: here they do, so a sum that begins before its gradient is whole, or
 * whose gradient is written afterwards, shows in the norm. */
#include "model_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "worker/model_parts.h"

enum { CALLS = 256 };

static const struct backend_ops *real;
static struct grad_squares_args held[CALLS];
static int held_count, joins;
static bool aside;

static void begin(struct backend *b)
{
    (void)b;
    assert_false(aside);
    aside = true;
}

static void end(struct backend *b)
{
    (void)b;
    assert_true(aside);
    aside = false;
}

static void squares(struct backend *b, const struct grad_squares_args *a)
{
    assert_true(held_count < CALLS);
    if (aside)
        held[held_count++] = *a;
    else
        real->grad_squares(b, a);
}

static void join(struct backend *b)
{
    assert_false(aside);
    for (int i = 0; i < held_count; i++)
        real->grad_squares(b, &held[i]);
    joins += held_count > 0;
    held_count = 0;
}

/* Norms of two steps. */
static void train(struct model_case *c, double norms[2])
{
    case_randomize(c, 5);
    for (int step = 1; step <= 2; step++)
        norms[step - 1] = case_train(c, step, 0.01).grad_norm;
}

static void compare(const struct spec *spec)
{
    struct model_case plain, late;
    double expected[2], norms[2];
    case_open(&plain, spec, CASE_VOCAB, "cpu-fp64", 1);
    train(&plain, expected);
    case_open(&late, spec, CASE_VOCAB, "cpu-fp64", 1);
    real = late.model->ops;
    struct backend_ops ops = *real;
    ops.aside_begin = begin;
    ops.aside_end = end;
    ops.aside_join = join;
    ops.grad_squares = squares;
    late.model->ops = &ops;
    late.model->aside_least = 0;
    joins = 0;
    train(&late, norms);
    assert_int_equal(joins, 2);
    assert_memory_equal(norms, expected, sizeof norms);
    double *gradients = case_read(&late, CASE_GRADIENTS), sum = 0;
    for (int64_t i = 0; i < late.plan.params; i++)
        sum += gradients[i] * gradients[i];
    assert_true(fabs(sqrt(sum) - norms[1]) <= 1e-13 * norms[1]);
    free(gradients);
    late.model->ops = real;
    case_close(&late);
    case_close(&plain);
}

static void nothing_is_summed_too_early(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * CASE_FFNS; i++) {
        struct spec s = case_spec();
        case_set_ffn(&s, i / 2);
        s.model.parallel_residual = i % 2 == 0;
        s.model.tie_embeddings = i % 3 == 0;
        s.train.recompute = (enum spec_recompute)(RECOMPUTE_NONE + i % 3);
        s.train.micro_batch = 1 + i % 3;
        s.train.optimizer.type = i % 4 ? OPTIMIZER_ADAMW : OPTIMIZER_SGD;
        compare(&s);
    }
}

/* The segments of a window add to the same gradients. */
static void nor_with_memories(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct spec s = case_spec();
        s.train.micro_batch = s.train.batch;
        s.data.order = ORDER_STREAM;
        s.train.seq_len = 6;
        if (i != 1)
            s.memory.xl.len = 4;
        if (i != 0) {
            s.memory.rmt.tokens = 2;
            s.memory.rmt.bptt = 2;
        }
        compare(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_summed_too_early),
        cmocka_unit_test(nor_with_memories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
